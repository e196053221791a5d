"""What happens when the device starts: back to the confirmed release, before anything of the application runs."""

import contextlib
import errno
import sys

from .bake import reopen_bake
from .base import Refusal, boot_identity
from .health import manager_for, read_settings
from .state import IN_TRIAL, Place, change_state, read_state
from .store import check_release, sweep
from .trial import finish, point_current


def run_boot(root, app):
    """Bring the application back to its confirmed release before it starts; at any other time, do nothing.

    Run by the service manager before the application's service, or by cron. A record of this very start means that the
    service was merely started again, perhaps in the middle of an activation that holds the lock: nothing to do then.
    Returns the exit status; not 0: the application must not be started.
    """
    place = Place(root, app)
    record = read_state(place)
    if record["state"] in IN_TRIAL and record.get("boot") == boot_identity():
        return 0
    try:
        with place.held():
            return recover(place)
    except (OSError, Refusal) as error:
        if getattr(error, "errno", None) != errno.EROFS:
            sys.stderr.write("edgeship: recovery of %s failed: %s\n" % (app, error))
            return 1
        return serve_unwritable(place)


def recover(place):
    """Go back where a trial was open, re-derive `current`, hash the release and have it started; the lock is held."""
    record = read_state(place)
    sweep(place)
    if record["state"] in IN_TRIAL:
        place.spend_reserve()
        reason = "the device restarted during the trial"
        if record["state"] == "REVERTING":
            reason = record.get("reason") or reason
        change_state(place, "REVERTING", reason=reason)
        back, tried = record["from"], manager_for(place, record["to"])
        if back is None or manager_for(place, back).kind != tried.kind:
            tried.remove()
        point_current(place, back)  # before the record says so: power may go again in between
        record = finish(place, record["tx"], back, reason)
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
    if manager.kind == "supervised":  # others start it themselves, after this
        manager.restart()
    return 0


def serve_unwritable(place):
    """Have the confirmed release served although nothing can be written: what `current` says and what was left open
    stays as it is, and is put right at the next start or contact that can write."""
    record = read_state(place)
    tried = record.get("to") if record["state"] in IN_TRIAL else None
    release = record.get("from") if tried else record.get("to")
    try:
        problems = check_release(place, release) if release else ["no release was confirmed before"]
        if problems:
            return told(place, "nothing is started: " + "; ".join(problems[:3])) if release or tried else 0
        manager = manager_for(place, release)
        if tried and manager_for(place, tried).kind != manager.kind:
            manager_for(place, tried).withhold()
        if manager.install_unwritable(release, read_settings(place, release)["listen"]):
            manager.restart()
    except (OSError, Refusal) as error:
        return told(place, "nothing could be started: %s" % error)
    left = "; the trial of release %s is taken back once it can be written" % tried[:12] if tried else ""
    told(place, "release %s serves all the same%s" % (release[:12], left))
    return 0


def told(place, text):
    """Say on stderr what became of a device that cannot be written; return the exit status of a failure."""
    sys.stderr.write("edgeship: %s cannot be written, it is read-only: %s\n" % (place.root, text))
    return 1
