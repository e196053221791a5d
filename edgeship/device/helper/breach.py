"""A crash loop after the confirmation: the device goes back to the release before, once, with nobody connected."""

import os
import signal
import subprocess
import time

from .bake import bake_age, bake_left
from .base import Refusal, boot_identity, boot_seconds, clean_environment, python_command
from .health import helper_path, manager_for
from .state import IN_TRIAL, Place, change_state, read_state
from .store import check_release
from .trial import RETRY_SECONDS, revert_to_from
from .trust import still_trusted


def run_breach(root, app, release=None, crashes=None):
    """Be the crash-loop hook: under the lock, look whether `release` still is what is watched, and go back.

    Started by the service manager; 0: nothing is left to do, 1: to be started again, since storage or lock failed.
    """
    place = Place(root, app)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if not os.path.isdir(place.app):
        return 0
    try:
        with place.held(600):
            answer_crashes(place, release, None if crashes is None else int(crashes))
    except (Refusal, OSError) as error:
        print("edgeship: going back failed and is tried again: %s" % error, flush=True)
        return 1
    return 0


def run_keeper(root, app, release, crashes):
    """Start the crash-loop hook until one comes to its end: where no service manager does, whatever kills a hook."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    argv = python_command(helper_path(), "breach", root, app, release, crashes)
    while subprocess.call(argv, env=clean_environment(), stdin=subprocess.DEVNULL) != 0:
        time.sleep(RETRY_SECONDS)
    return 0


def answer_crashes(place, release, told):
    """Decide what a service that crashes again and again means now; the lock is held.

    A hook that was killed half way is finished. A deployment under way decides for itself. A watched release goes back
    to the one before; without one, or once the device went back already, only the service manager goes on trying.
    """
    record = read_state(place)
    if record["state"] == "REVERTING" and record.get("fell"):
        revert_to_from(place, record["tx"], record.get("reason"), 60, 120)
        return
    if record["state"] in IN_TRIAL or not record.get("to") or release not in (None, record["to"]):
        return
    manager = manager_for(place, record["to"])
    crashes = manager.crash_loop(told)
    if crashes is None:
        return
    if bake_left(record) > 0:
        fall_back(place, manager, record, crashes)
    elif record["state"] == "DEGRADED":
        manager.keep_trying()
    else:
        manager.disarm_bake(True)


def fall_back(place, manager, record, crashes):
    """Go back to the release before the watched one, or say that there is none; the lock is held."""
    bake = record["bake"]
    what = "the service of release %s crashed %d times in %d s%s" % (
        record["to"][:12],
        crashes,
        round(bake_age(record)),
        bake["since"],
    )
    problem = why_not_back(place, bake["back"], record)
    if problem is not None:
        change_state(
            place,
            "DEGRADED",
            bake=None,
            reason="%s%s; %s"
            % ("%s; " % record["reason"][:700] if record.get("fell") else "", what, problem),
        )
        manager.keep_trying()
        return
    change_state(
        place,
        "REVERTING",
        to=record["to"],
        boot=boot_identity(),
        deadline=boot_seconds(),
        reason="went back by itself after the confirmation: " + what,
        result=None,
        fell=record["to"],
        previous=bake["before"],
        **{"from": bake["back"]},
    )
    revert_to_from(place, record["tx"], None, 60, 120)


def why_not_back(place, back, record):
    """Return why there is no release to go back to, or None where there is one that is whole and trusted."""
    if record.get("fell"):
        return (
            "the device went back once already, so it stays here and the service is started again and again"
        )
    if record.get("kept"):
        return "it was gone back to by hand, so it stays, and the service is started again and again"
    if back is None:
        return "there is no release to go back to, so the service is started again and again"
    problems = check_release(place, back)
    if not problems and not still_trusted(place, back):
        problems = ["its signatures no longer suffice"]
    if problems:
        return "release %s before it cannot be used (%s), so the service is started again and again" % (
            back[:12],
            "; ".join(problems[:3]),
        )
    return None
