"""The bake: how long after its confirmation a release is watched, and what a crash loop of it would go back to."""

from .base import boot_identity, boot_seconds
from .state import write_slots

BAKE_STARTS = 3
"""Starts of the device after the confirmation that open the watch anew: a short one may end before it tells."""


def open_bake(release, back, before, watch):
    """Return the `bake` part of a state record, from now on; None where no watch is wanted.

    `back` is the release a crash loop goes back to (None: there is none), `before` the one that came before that one,
    `watch` {"seconds", "restarts"}: for how long, and how many restarts are still no crash loop.
    """
    if not watch or watch["seconds"] <= 0:
        return None
    return {
        "release": release,
        "back": back,
        "before": before,
        "seconds": watch["seconds"],
        "restarts": watch["restarts"],
        "boot": boot_identity(),
        "until": boot_seconds() + watch["seconds"],
        "since": "",
        "starts": BAKE_STARTS,
    }


def reopen_bake(place, record):
    """Open the watch anew at a start of the device, as long as it has starts left; the lock is held. Returns it.

    The clock of the start before is gone, so each start gets the whole time: a release that runs until the device is
    restarted and crashes from then on is still within it.
    """
    bake = record.get("bake")
    if not bake or bake["boot"] == boot_identity() or bake["release"] != record.get("to"):
        return record
    after = dict(
        bake,
        boot=boot_identity(),
        until=boot_seconds() + bake["seconds"],
        since=" after a restart of the device",
    )
    after = dict(after, starts=bake["starts"] - 1) if bake["starts"] > 0 else None
    return write_slots(place.app, "state", dict(record, bake=after))


def bake_left(record):
    """Return the seconds that the confirmed release is still watched for in this start of the device; 0: it is not."""
    bake = record.get("bake")
    watched = record["state"] == "COMMITTED" and bake and bake["release"] == record.get("to")
    if not watched or bake["boot"] != boot_identity():
        return 0.0
    return max(0.0, bake["until"] - boot_seconds())


def bake_age(record):
    """Return the seconds since the watch was opened last."""
    return record["bake"]["seconds"] - bake_left(record)


def bake_of(record, previous):
    """Return the `bake` part of the record that confirms a trial. Whoever went back by hand does not want to be taken
    to where that came from."""
    before = record.get("previous") if record["from"] != record["to"] else None
    return open_bake(record["to"], None if record.get("kept") else previous, before, record.get("watch"))


def arm_bake(manager, watch):
    """Have the service manager watch for a crash loop as `watch` says, {"seconds", "restarts"}; or no longer."""
    if watch and watch["seconds"] > 0:
        manager.arm_bake(float(watch["seconds"]), int(watch["restarts"]))
    else:
        manager.disarm_bake()


def bake_missing(record, manager):
    """Return why a release that is to be watched after its confirmation is not, or None. Read back, not believed."""
    watch = record.get("watch")
    if not watch or watch["seconds"] <= 0 or manager.bake_armed():
        return None
    return "the crash-loop hook is not armed"


def result_of(record):
    """Return how a record says that the device is back: it did so `after` a confirmation, or instead of one."""
    return "went-back" if record.get("fell") else "reverted"
