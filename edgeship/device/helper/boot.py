"""What happens when the device starts: back to the confirmed release, before anything of the application runs."""

import contextlib
import errno
import os
import sys
import time

from .bake import reopen_bake
from .base import Refusal, boot_identity
from .health import manager_for, read_settings, tried_manager
from .state import IN_TRIAL, NO_ROOM, Place, change_state, read_state
from .store import check_release, sweep
from .supervise import check_room
from .switching import point_current
from .trial import RETRY_SECONDS, finish

BOOT_TRIES = 3


def run_boot(root, app):
    """Bring the application back to its confirmed release before it starts; at any other time, do nothing.

    Run by the service manager before the application's service, or by cron. A record of this very start means that the
    service was merely started again, perhaps in the middle of an activation that holds the lock: nothing to do then.
    What fails is tried again, as nobody else will; where nothing can be written the confirmed release serves all the
    same. Returns the exit status; not 0: the application must not be started.
    """
    place, tries = Place(root, app), BOOT_TRIES
    while True:
        tries -= 1
        try:
            os.stat(place.app)
            record = read_state(place)
            if record["state"] in IN_TRIAL and record.get("boot") == boot_identity():
                return 0
            with place.held():
                return recover(place)
        except Refusal as refusal:
            sys.stderr.write("edgeship: recovery of %s failed: %s\n" % (app, refusal))
            return 1
        except OSError as error:
            if error.errno == errno.ENOENT and error.filename == place.app:
                return 0  # the application was removed, and this hook left behind
            if error.errno == errno.EROFS or not tries:
                return serve_unwritable(place, error)
            if error.errno in NO_ROOM:
                place.spend_reserve()
            time.sleep(RETRY_SECONDS)


def recover(place):
    """Go back where a trial was open, re-derive `current`, hash the release and have it started; the lock is held."""
    record = read_state(place)
    with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
        sweep(place)
    if record["state"] in IN_TRIAL:
        place.spend_reserve()
        reason = "the device restarted during the trial"
        if record["state"] == "REVERTING":
            reason = record.get("reason") or reason
        change_state(place, "REVERTING", reason=reason)
        back, tried = record["from"], tried_manager(place, record["to"])
        if back is None or manager_for(place, back).kind != tried.kind:
            tried.remove()
        point_current(place, back)  # before the record says so: power may go again in between
        record = finish(place, record["tx"], back, reason, hook_runs=True)
    release = record.get("to")
    point_current(place, release)
    if not release:
        return 0
    with contextlib.suppress(OSError):  # a watch that cannot be noted must not keep the service from starting
        reopen_bake(place, record)
    problems = check_release(place, release)
    if problems:
        change_state(place, "DEGRADED", reason="after a restart: " + "; ".join(problems[:3]))
        return 1
    manager = manager_for(place, release)
    manager.install(release, read_settings(place, release)["listen"])
    with contextlib.suppress(OSError, Refusal):
        manager.enable()
    if manager.kind != "systemd":
        check_room(place)
    if manager.kind == "supervised":  # others start it themselves, after this
        manager.restart()
    return 0


def serve_unwritable(place, error):
    """Have the confirmed release served although nothing can be written, for the reason `error`: what `current` says
    and what was left open stays as it is, and is put right at the next start or contact that can write."""

    def told(text):
        """Say on stderr what became of the device; return the exit status of a failure."""
        why = "it is read-only" if error.errno == errno.EROFS else str(error)
        sys.stderr.write("edgeship: %s cannot be written, %s: %s\n" % (place.root, why, text))
        return 1

    try:
        record = read_state(place)
        tried = record.get("to") if record["state"] in IN_TRIAL else None
        release = record.get("from") if tried else record.get("to")
        problems = check_release(place, release) if release else ["no release was confirmed before"]
        if problems:
            return told("nothing is started: " + "; ".join(problems[:3])) if release or tried else 0
        manager = manager_for(place, release)
        if tried and tried_manager(place, tried).kind != manager.kind:
            tried_manager(place, tried).withhold()
        if manager.install_unwritable(release, read_settings(place, release)["listen"]):
            manager.restart()
    except (OSError, Refusal) as problem:
        return told("nothing could be started: %s" % problem)
    left = "; the trial of release %s is taken back once it can be written" % tried[:12] if tried else ""
    told("release %s serves all the same%s" % (release[:12], left))
    return 0
