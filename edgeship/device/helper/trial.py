"""The activation protocol: arm, switch on trial, confirm, or go back by itself."""

import contextlib
import os
import signal
import time

from .bake import arm_bake, bake_left, bake_missing, bake_of, open_bake, result_of
from .base import Refusal, boot_identity, boot_seconds, canonical, python_command, read_json, start_ticks
from .files import point_link, write_whole
from .health import (
    check_listen,
    check_live,
    helper_path,
    manager_as,
    manager_for,
    manager_of,
    read_settings,
    restore_settings,
    serving,
    tried_manager,
    tried_settings,
    write_settings,
)
from .kept import begin_with_next, take_back
from .state import (
    IN_TRIAL,
    Place,
    change_state,
    check_fence,
    raise_fence,
    read_state,
    spending,
    time_left,
)
from .store import check_release, sweep
from .supervise import alive, detach, set_oom_score
from .switching import manager_before, switch, unhook
from .systemd import start_timer, stop_timer, timer_waits
from .trust import admit, check_trusted, pin_unsigned, raise_floor
from .tuning import arm_change

LEAST_SECONDS = 2.0
RETRY_SECONDS = 2.0
SPARED = (-900, 0)
"""How a dead-man that waits wants to stand with the kernel where memory runs out: nearly last, or as others do."""


def lease(place, request):
    """Take the application over for one deployment: finish what is overdue, refuse while a trial runs, raise
    the fence."""
    admit(place, request)
    place.prepare()
    with place.held():
        told = pin_unsigned(place, request)
        record = settle_overdue(place, request.get("ready_seconds", 60), request.get("prove_seconds", 120))
        if record["state"] in IN_TRIAL:
            raise Refusal(
                "busy",
                "another deployment (%s) is on trial for another %d s"
                % (record["tx"], time_left(record) + 1),
                seconds=time_left(record),
                tx=record["tx"],
            )
        if record.get("result") != "committed":  # what could not be taken back then is now
            take_back(place, record.get("tx"))
        raise_floor(place, record)
        fence = raise_fence(place, request.get("fence"))
        sweep(place)
    return {"fence": fence, "to": record.get("to"), "told_unsigned": told}


def dead_man_name(tx):
    """Return the name of the transient unit that goes back when nobody confirms."""
    return "edgeship-deadman-%s" % tx


def start_dead_man(place, manager, tx, ttl):
    """Start what goes back by itself after `ttl` seconds, outliving this call and its SSH session; None: it
    did not."""
    argv = python_command(helper_path(), "deadman", place.root, place.app_name, tx)
    if manager.kind == "systemd":
        return {"unit": dead_man_name(tx)} if start_timer(dead_man_name(tx), ttl, argv) else None
    process = detach(argv + ["told"], place.of("log", "supervisor.log"))
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and alive(process):
        told = read_json(place.of("run", "deadman.json")) or {}
        if told.get("tx") == tx and told.get("process", {}).get("pid") == process["pid"]:
            return {"process": process}
        time.sleep(0.02)
    return None


def dead_man_armed(record):
    """Return whether the dead-man of a record is really there now."""
    dead_man = record.get("deadman") or {}
    if "unit" in dead_man:
        return timer_waits(dead_man["unit"])
    return alive(dead_man.get("process"))


def stop_dead_man(record):
    """Disarm; a process of our own sees the new state by itself and leaves."""
    dead_man = record.get("deadman") or {}
    if "unit" in dead_man:
        stop_timer(dead_man["unit"])


def arm(place, request):
    """Record what is about to happen and start the dead-man; the reply tells what was read back."""
    release, tx, ttl = request["release"], request["tx"], float(request["ttl"])
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if record["state"] in IN_TRIAL:
            raise Refusal("busy", "another deployment (%s) is on trial" % record["tx"], tx=record["tx"])
        check_trusted(place, release, kept=bool(request.get("kept")))
        problems = check_release(place, release)
        if problems:
            raise Refusal("release-damaged", "release %s: %s" % (release[:12], "; ".join(problems[:3])))
        if os.path.lexists(place.of("current")) and not os.path.islink(place.of("current")):
            raise Refusal("current-not-a-link", "%s is not a symbolic link" % place.of("current"))
        manager = manager_of(place, request["service"], release)
        previous = record.get("to") if record["state"] in ("COMMITTED", "DEGRADED") else None
        check_listen(place, release, request.get("listen"), previous)
        place.keep_reserve()
        arm_change(place, tx, request.get("change"), release)
        settings = {"manager": manager.kind, "listen": request.get("listen")}
        before = read_settings(place, release) if release == previous else settings
        change_state(
            place,
            "ARMED",
            tx=tx,
            fence=request["fence"],
            to=release,
            ttl=ttl,
            boot=boot_identity(),
            deadline=boot_seconds() + ttl,
            helper=os.path.basename(helper_path()),
            reason=None,
            result=None,
            deadman=None,
            kept=bool(request.get("kept")),
            watch=request.get("bake"),
            fell=None,
            before=None if before == settings else before,
            **{"from": previous},
        )
        dead_man = None
        try:
            write_settings(place, release, settings["manager"], settings["listen"])
            dead_man = start_dead_man(place, manager, tx, ttl)
            if dead_man is None:
                raise Refusal("not-armed", "the dead-man did not start, so nothing was switched")
            record = change_state(place, "ARMED", heard=False, deadman=dead_man)
            hook = manager.hook_boot() if request.get("hook_boot") else None
            arm_bake(manager, request.get("bake"))
        except (OSError, Refusal) as error:
            finish(place, tx, previous, "it could not be armed: %s" % error)
            stop_dead_man({"deadman": dead_man})
            raise
    return {"record": record, "armed": dead_man_armed(record), "boot_hook": hook, "manager": manager.kind}


def activate(place, request):
    """Switch to the armed release on trial, check it locally, and go back at once where it is not healthy."""
    tx = request["tx"]
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if record["state"] != "ARMED" or record["tx"] != tx or time_left(record) < LEAST_SECONDS:
            raise Refusal("not-armed", "state is %s of %s" % (record["state"], record["tx"]), record=record)
        record = change_state(place, "TRIAL")
        reason = start_trial(place, record)
    live = {"serving": None, "prove": None, "reason": reason}
    if reason is None:
        ready = min(request["ready_seconds"], max(LEAST_SECONDS, time_left(record) - LEAST_SECONDS))
        live = check_live(place, record["to"], ready, request["prove_seconds"])
        live["reason"] = live["reason"] or bake_missing(record, manager_for(place, record["to"]))
    if live["reason"] is not None:
        with place.held():
            revert_to_from(place, tx, live["reason"], request["ready_seconds"], request["prove_seconds"])
    record = read_state(place)
    return dict(live, record=record, seconds_left=time_left(record))


def start_trial(place, record):
    """Switch to the release on trial, with the settings it came with; return why it could not be started, or None."""
    try:
        begin_with_next(place, record["tx"])
    except OSError as error:
        return "its settings could not be written: %s" % error
    return switch(place, record["to"], manager_before(place, record))


def finish(place, tx, release, reason, hook_runs=False):
    """Record that the device is back on `release` (None: nothing is deployed) and why.

    What crashes here after going back is no single release: it is watched again, with nothing to go back to. Where
    nothing is deployed no boot hook is needed either; `hook_runs`: but the one that runs just now stays.
    """
    record = read_state(place)
    take_back(place, tx)
    if release is None:
        after = change_state(
            place, "NONE", tx=tx, to=None, reason=reason, result="reverted", deadman=None, **{"from": None}
        )
        if not hook_runs:
            unhook(place, record.get("to"), None)
        return after
    stays = record.get("before") or tried_settings(place, release)
    unhook(place, record.get("to"), manager_as(place, stays, release))
    restore_settings(place, record)
    bake = record.get("bake")
    return change_state(
        place,
        "COMMITTED",
        tx=tx,
        to=release,
        reason=reason,
        result=result_of(record),
        deadman=None,
        bake=open_bake(release, None, None, bake) if record.get("fell") else bake,
        before=None,
        **{"from": record.get("previous")},
    )


def revert_to_from(place, tx, reason, ready_seconds, prove_seconds):
    """Go back to the release recorded as `from`; the lock is held. Returns the final record. Idempotent on
    tx."""
    record = read_state(place)
    if record["state"] not in IN_TRIAL or record["tx"] != tx:
        return record
    switched, old, new = record["state"] != "ARMED", record["from"], record["to"]
    if record["state"] == "REVERTING":
        reason = record.get("reason") or reason
    else:
        change_state(place, "REVERTING", reason=reason)
    problem, tried = None, tried_manager(place, new)
    if switched:
        place.spend_reserve()
        take_back(place, tx)
    if switched and old is None:
        tried.remove()
        point_link(place.of("current"), None)
    elif switched:
        problem = switch(place, old, tried)
        if (
            problem is not None
        ):  # storage that failed for a moment must not leave the device without a service
            time.sleep(RETRY_SECONDS)
            problem = switch(place, old, tried)
        if problem is None:
            problem = check_live(place, old, ready_seconds, prove_seconds)["reason"]
    stop_dead_man(record)
    if problem is not None:
        restore_settings(place, record)
        return change_state(
            place,
            "DEGRADED",
            to=old,
            before=None,
            result=result_of(record),
            deadman=None,
            bake=None,
            reason="%s; and the release before it is not healthy either: %s" % (reason[:700], problem),
        )
    return finish(place, tx, old, reason)


def revert(place, request):
    """Go back now, at the controller's word. `last`: the controller is through, and no call of its lease that is still
    on its way may begin anything any more."""
    with place.held():
        check_fence(place, request["fence"])
        if request.get("last"):
            spending(place, lambda: raise_fence(place, request["fence"] + 1))
        record = revert_to_from(
            place, request["tx"], request["reason"], request["ready_seconds"], request["prove_seconds"]
        )
    return {"record": record}


def confirm(place, request):
    """Make the trial final. Idempotent on (tx, fence); refused once the time is over or another release
    serves."""
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if (
            record["state"] == "COMMITTED"
            and record["tx"] == request["tx"]
            and record.get("result") == "committed"
        ):
            return {"record": record}
        if record["state"] != "TRIAL" or record["tx"] != request["tx"]:
            raise Refusal(
                "not-on-trial",
                "state is %s of %s: %s" % (record["state"], record["tx"], record.get("reason")),
                record=record,
            )
        if time_left(record) <= 0:
            record = revert_to_from(place, request["tx"], "nobody confirmed in time", 60, 120)
            raise Refusal("too-late", "the trial's time was over", record=record)
        seen = serving(place, manager_for(place, record["to"]))
        if seen["release"] != record["to"] or seen["restarts"] != request["restarts"]:
            raise Refusal(
                "not-serving",
                "release %s serves with %s restarts" % (seen["release"], seen["restarts"]),
                record=record,
                serving=seen,
            )
        trial = record
        previous = record["from"] if record["from"] != record["to"] else record.get("previous")
        record = change_state(
            place,
            "COMMITTED",
            result="committed",
            reason=request.get("reason"),
            previous=previous,
            deadman=None,
            before=None,
            bake=bake_of(record, previous),
            **{"from": previous},
        )
        stop_dead_man(trial)
        stays = manager_for(place, record["to"])
        unhook(place, previous, stays)
        if trial.get("before"):  # the same release, with other settings
            unhook(place, record["to"], stays, trial["before"])
        with contextlib.suppress(OSError):  # the trial is confirmed; the next lease raises the floor
            raise_floor(place, record)
    return {
        "record": record,
        "bake": bake_left(record),
        "bake_problem": bake_missing(record, manager_for(place, record["to"])),
    }


def settle_overdue(place, ready_seconds, prove_seconds):
    """Finish what an earlier start of the device, or an overdue trial, left open; the lock is held. Returns
    the record.

    A trial of this start with time left is left alone: its dead-man is waiting.
    """
    record = read_state(place)
    if record["state"] in IN_TRIAL and (record["state"] == "REVERTING" or time_left(record) <= 0):
        restarted = record.get("boot") != boot_identity()
        reason = "the device restarted during the trial" if restarted else "nobody confirmed in time"
        record = revert_to_from(place, record["tx"], reason, ready_seconds, prove_seconds)
    return record


def run_dead_man(root, app, tx, told=None):
    """Wait for the trial's deadline and go back unless it was confirmed; the body of the dead-man.

    `told`: whoever arms waits for its note, and must fail where that cannot be written. One that a timer starts writes
    nothing before it goes back: the disk may be full by then.
    """
    place = Place(root, app)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if told:
        process = {"pid": os.getpid(), "start": start_ticks(os.getpid())}
        write_whole(place.of("run", "deadman.json"), canonical({"tx": tx, "process": process}))
    usual = set_oom_score(*SPARED)
    while True:
        try:
            record = read_state(place)
            if record["state"] not in IN_TRIAL or record["tx"] != tx:
                return 0
            left = time_left(record)
            time.sleep(min(left, 0.5))
            if left <= 0:
                if usual is not None:  # what it starts now, inherits that
                    set_oom_score(usual)
                with place.held(3600):
                    revert_to_from(place, tx, "nobody confirmed within %d s" % record.get("ttl", 0), 60, 120)
        except (Refusal, OSError):
            time.sleep(RETRY_SECONDS)  # storage may come back, and nobody else is left to go back then
