"""Which release serves, and whether it is right: proofs on a staged release and through the live endpoint."""

import contextlib
import errno
import json
import os
import socket
import sys
import time

from .absent import Absent
from .base import (
    Refusal,
    boot_identity,
    call,
    canonical,
    python_command,
    read_json,
    read_text,
    start_ticks,
)
from .figures import measured_ladder
from .files import write_whole
from .openrc import Openrc
from .state import IN_TRIAL, check_fence, read_state, spending
from .store import check_release
from .supervise import Supervised
from .systemd import Systemd
from .trust import check_trusted

START_MARKS = ("edgeship: starting release", "systemd[1]: Starting")
MANAGERS = (Systemd, Openrc, Supervised)
"""Service managers, the best first. A new one is a class with the methods these share, and a place in this row."""


def helper_path():
    """Return this file's own path: what the dead-man and boot recovery will run."""
    return os.path.abspath(sys.argv[0])


def manager_of(place, wanted, release=None):
    """Return the service manager of that name, or for `auto` the first in MANAGERS that can be had; without root that
    is a process of our own. `release`: what it is going to run. Raises Refusal `no-<manager>`."""
    for manager in MANAGERS:
        if wanted not in ("auto", manager.kind):
            continue
        reason = manager.missing() or (release and manager.lacks(place, release))
        if wanted == manager.kind and reason:
            raise Refusal("no-" + wanted, reason)
        if wanted == manager.kind or (not reason and (manager is Supervised or os.geteuid() == 0)):
            return manager(place, helper_path())
    raise Refusal("bad-request", "no service manager %r" % (wanted,))


def hooked_managers(place):
    """Return the service managers that hold a boot hook of this application below this very root."""
    words = " boot %s %s" % (place.root, place.app_name)
    managers = [manager(place, helper_path()) for manager in MANAGERS]
    return [manager for manager in managers if words in (read_text(manager.hook_path) or "")]


def settings_path(place, release):
    """Return where a release's settings on this device are kept."""
    return place.of("settings", release + ".json")


def tried_settings(place, release):
    """Return {"manager", "listen"} a release was last started with; the manager it must be stopped with."""
    return read_json(settings_path(place, release)) or {"manager": "auto", "listen": None}


def going_back(record):
    """Return whether a trial is being taken back, or has to be since it is from an earlier start of the device."""
    open_trial = record["state"] in IN_TRIAL
    return record["state"] == "REVERTING" or (open_trial and record.get("boot") != boot_identity())


def read_settings(place, release):
    """Return {"manager", "listen"} a release is to be started with: as in its trial, or, once the device goes back
    from that to the same release, as before."""
    record = read_state(place)
    if record.get("before") and record["to"] == release and going_back(record):
        return record["before"]
    return tried_settings(place, release)


def restore_settings(place, record):
    """Have a release that was on trial with other settings keep those it had before."""
    before = record.get("before")
    if before and tried_settings(place, record["to"]) != before:
        spending(place, lambda: write_settings(place, record["to"], before["manager"], before["listen"]))


def write_settings(place, release, manager, listen):
    """Remember how a release is started, so that going back to it starts it the same way."""
    write_whole(settings_path(place, release), canonical({"manager": manager, "listen": listen}))


def manager_for(place, release):
    """Return the service manager that a release is to be started with; see `read_settings`."""
    return manager_as(place, read_settings(place, release), release)


def tried_manager(place, release):
    """Return the service manager that a release was last started with."""
    return manager_as(place, tried_settings(place, release), release)


def manager_as(place, settings, release):
    """Return the service manager of settings; where the device has none of that kind any more, an Absent one."""
    wanted = settings["manager"]
    try:
        return manager_of(place, wanted, release if wanted == "auto" else None)
    except Refusal as refusal:
        return Absent(wanted, refusal)


def run_prove(place, release, seconds, live=None, variant=None):
    """Return (document, reason): what the release's own `prove` said of a variant (None: of the one that serves), and
    why it is not good (None: it is)."""
    folder = place.release(release)
    argv = python_command(os.path.join(folder, "runtime", "main.py"), "prove", "--release", folder)
    argv += (["--live", live] if live else []) + (["--variant", variant] if variant else [])
    status, out, err = call(argv, seconds, cwd=folder)
    if status is None:
        return None, "golden vectors were not through after %d s" % seconds
    try:
        document = json.loads(out.decode("utf-8"))
    except ValueError:
        said = (err or out.decode("utf-8", "replace")).strip().splitlines() or ["no output"]
        return None, "prove ended with status %s: %s" % (status, said[-1][-500:])
    if status == 0 and document.get("failed") == 0 and document.get("vectors", 0) > 0:
        return document, None
    if status == 0 and "error" not in document:
        return document, "prove tried %s vectors, %s failed" % (
            document.get("vectors"),
            document.get("failed"),
        )
    return document, document.get("reason") or document.get("error") or "prove ended with status %s" % status


def other_variants(place, release):
    """Return the names of the variants that a release carries beside the one that serves: each is one that may be told
    to serve, so each is proven."""
    service = read_json(os.path.join(place.release(release), "service.json"))
    variants = service.get("variants") if isinstance(service, dict) else None
    known = [v.get("name", v.get("recipe")) for v in variants or [] if isinstance(v, dict)]
    return [name for name in known if isinstance(name, str) and name != service.get("chosen")]


def prove_all(place, release, seconds):
    """Return (document, reason) of the variant that serves; the document's `also` tells of the others, and one of
    them that does not hold is a reason, too. `seconds` is for all of them together."""
    until = time.monotonic() + seconds
    document, reason = run_prove(place, release, seconds)
    also = []
    for name in other_variants(place, release) if reason is None else []:
        other, reason = run_prove(place, release, max(1.0, until - time.monotonic()), variant=name)
        if other is not None:
            kept = ("vectors", "failed", "worst", "latency_ms", "peak_rss_mb")
            also.append(dict(((key, other[key]) for key in kept if key in other), variant=name))
        if reason is not None:
            reason = "variant %s: %s" % (name, reason)
            break
    if also:
        document["also"] = also
    return document, reason


def prove(place, request):
    """Run golden vectors of every variant of the staged release, and time those of a ladder, while whatever serves goes
    on serving."""
    check_fence(place, request["fence"])
    check_trusted(place, request["release"], kept=True)
    problems = check_release(place, request["release"])
    if problems:
        raise Refusal(
            "release-damaged", "release %s: %s" % (request["release"][:12], "; ".join(problems[:3]))
        )
    begun = time.monotonic()
    document, reason = prove_all(place, request["release"], request["seconds"])
    if reason is None:
        left = request["seconds"] - (time.monotonic() - begun)
        document.update(measured_ladder(place, request["release"], max(5.0, left)))
    return {"prove": document, "reason": reason, "seconds": time.monotonic() - begun}


def listen_address(place, release, listen):
    """Return where a release is to listen: what was asked for, or what it says itself."""
    service = read_json(os.path.join(place.release(release), "service.json")) or {}
    return str(listen or service.get("listen") or "")


def check_listen(place, release, listen, previous):
    """Refuse a TCP address that another program holds, before anything is switched: the service could not start.

    The address that the release before listens on is our own service's, which will make room.
    """
    host, _, port = listen_address(place, release, listen).rpartition(":")
    if not port.isdigit() or int(port) == 0 or host in ("", "unix"):
        return
    if previous:
        old = listen_address(place, previous, read_settings(place, previous)["listen"])
        if old.rpartition(":")[2] == port:
            return
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Refusal(
                    "listen-taken", "another program on the device listens on %s:%s already" % (host, port)
                ) from None


def serving(place, manager):
    """Return what serves now: the manager's view, and what the service announced if its process is the living
    one."""
    seen = manager.observe()
    announced = read_json(manager.announce) if manager.announce else None
    if (
        not isinstance(announced, dict)
        or not seen["running"]
        or not same_service(announced.get("pid"), seen["pid"])
    ):
        announced = None
    seen["release"] = announced["release"] if announced else None
    seen["url"] = announced["url"] if announced else None
    return seen


def same_service(announced, pid):
    """Return whether the announced process is the service's main process or a child of it."""
    for _ in range(4):
        if announced == pid:
            return True
        try:
            with open("/proc/%d/stat" % announced) as stream:
                announced = int(stream.read().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, TypeError):
            return False
    return False


def wait_ready(place, manager, release, seconds):
    """Wait until the service announces `release`; return (what serves, reason why not or None)."""
    deadline = time.monotonic() + seconds
    while True:
        seen = serving(place, manager)
        if seen["release"] == release and start_ticks(seen["pid"]) is not None:
            return seen, None
        if seen["failed"] or seen["restarts"] >= 2:
            return seen, "the service died at start (exit status %s)%s" % (
                seen["last_exit"],
                last_words(manager),
            )
        if seen["release"] is not None:
            return seen, "release %s answers instead" % seen["release"][:12]
        if time.monotonic() > deadline:
            return seen, "the service was not ready after %d s%s" % (seconds, last_words(manager))
        time.sleep(0.05)


def last_words(manager):
    """Return what the service last wrote since it was last started, for a reason's end."""
    runs = [[]]
    for line in manager.log_tail(80):
        if any(mark in line for mark in START_MARKS):
            runs.append([])
        elif "edgeship: " not in line and "systemd[1]" not in line:
            runs[-1].append(line.strip()[-200:])
    # A run that was only just started has said nothing yet: then the one before it tells.
    said = next((run for run in reversed(runs[-2:]) if run), [])
    return ": " + " | ".join(said[-3:]) if said else ""


def check_live(place, release, ready_seconds, prove_seconds):
    """Return {"serving", "prove", "reason"}: readiness, then golden vectors through the live endpoint."""
    manager = manager_for(place, release)
    seen, reason = wait_ready(place, manager, release, ready_seconds)
    document = None
    if reason is None:
        document, reason = run_prove(place, release, prove_seconds, live=seen["url"])
        if reason is not None:
            reason = "golden vectors through the live service: %s" % reason
    if reason is None:
        after = serving(place, manager)
        if after["release"] != release or after["pid"] != seen["pid"]:
            reason = "the service was replaced while it was being checked"
    return {"serving": seen, "prove": document, "reason": reason}


def health(place, request):
    """Check the release that the state record names, through the live endpoint."""
    record = read_state(place)
    if not record.get("to"):
        return {"serving": None, "prove": None, "reason": "nothing is deployed"}
    return check_live(place, record["to"], request["ready_seconds"], request["prove_seconds"])
