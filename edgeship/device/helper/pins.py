"""Pins: releases that garbage collection leaves alone, whatever comes after them."""

import contextlib
import os

from .base import Refusal
from .files import sync_folder, write_whole
from .state import audit
from .store import releases_present


def pins_present(place):
    """Return the ids of the pinned releases, sorted."""
    folder = place.of("pins")
    present = set(releases_present(place))
    return sorted(present.intersection(os.listdir(folder))) if os.path.isdir(folder) else []


def pin(place, request):
    """Pin a kept release, or with `remove` let it go again. Idempotent: the reply tells whether that changed it."""
    release, remove = request["release"], bool(request.get("remove"))
    path = os.path.join(place.of("pins"), os.path.basename(place.release(release)))
    with place.held():
        if release not in releases_present(place):
            raise Refusal("no-such-release", "release %s is not kept on the device" % release[:12])
        changed = os.path.exists(path) == remove
        if changed and remove:
            os.unlink(path)
            sync_folder(os.path.dirname(path))
        elif changed:
            write_whole(path, b"")
        if changed:
            with contextlib.suppress(
                OSError
            ):  # as with the state record: a full log must not undo what is done
                audit(place, "unpinned" if remove else "pinned", {"to": release})
        return {"changed": changed, "pins": pins_present(place)}
