"""What is done to the device to have another release serve: the link, the service managers, their boot hooks."""

import contextlib
import os

from .base import Refusal
from .files import point_link
from .health import manager_as, manager_for, read_settings, tried_settings


def manager_before(place, record):
    """Return the service manager of the release that served until the trial; None: none did."""
    if not record["from"]:
        return None
    return manager_as(place, record.get("before") or read_settings(place, record["from"]), record["from"])


def switch(place, release, other):
    """Point `current` at a release and have it started; return the reason why it could not be started, or
    None.

    `other` is the service manager of what served until now (None: nothing did): where it is another one, it stops
    that.
    """
    point_link(place.of("current"), os.path.join("releases", release))
    try:
        manager = manager_for(place, release)
        if other is not None and other.kind != manager.kind:
            other.remove()
        manager.install(release, read_settings(place, release)["listen"])
        manager.restart()
    except (Refusal, OSError) as error:
        return "the service could not be started: %s" % error
    return None


def point_current(place, release):
    """Make `current` name a release, or nothing where it is None."""
    point_link(place.of("current"), os.path.join("releases", release) if release else None)


def unhook(place, gone, stays, settings=None):
    """Take away the boot hook of a release `gone`, unless `stays`, the service manager of what stays (None: nothing
    does), is of the same kind. `settings`: those it had its hook with, where it was not last started with them."""
    if gone and os.path.isdir(place.release(gone)):
        with contextlib.suppress(OSError, Refusal):
            manager = manager_as(place, settings or tried_settings(place, gone), gone)
            if stays is None or manager.kind != stays.kind:
                manager.unhook_boot()
