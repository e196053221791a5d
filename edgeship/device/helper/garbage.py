"""What nothing needs any longer: old releases, their blobs, and what uploads that never ended left behind."""

import contextlib
import fcntl
import os
import time

from .figures import drop_figures
from .files import remove_tree, sync_folder
from .pins import pins_present
from .state import DIGEST, IN_TRIAL, NAME, Place, check_fence, read_state
from .store import kept_manifest, releases_present
from .trust import signatures_path

STALE_SECONDS = 7 * 24 * 3600.0
"""An upload that nothing was heard of for so long is not gone on with."""


def collect(place, request):
    """Delete releases beyond current, previous, pinned and the `keep` newest, then blobs nothing refers to, then what
    uploads left behind long ago.
    """
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if record["state"] in IN_TRIAL:
            return {"removed": [], "blobs": 0}
        present = releases_present(place)
        keep = {record.get("to"), record.get("from"), record.get("previous")} | set(pins_present(place))
        removed = [name for name in present[max(0, request["keep"]) :] if name not in keep]
        blobs = set()
        for name in removed:
            blobs |= blobs_of(place, name)
            trash = place.of("releases", ".trash-" + name)
            os.rename(place.release(name), trash)
            sync_folder(place.of("releases"))
            remove_tree(trash)
            remove_tree(place.of("settings", name + ".json"))
            remove_tree(signatures_path(place, name))
        count = drop_blobs(place, blobs)
        with contextlib.suppress(OSError):
            drop_figures(place, set(releases_present(place)))
            drop_stale_parts(place)
            count += drop_stale_blobs(place)
        return {"removed": removed, "blobs": count}


def blobs_of(place, release):
    """Return the digests of what a kept release is made of."""
    manifest = kept_manifest(place, release) or {"files": {}}
    return {release} | {info["sha256"] for info in manifest["files"].values()}


def drop_blobs(place, digests):
    """Delete those of the removed releases' blobs that no other release links to; return how many.

    Others are left alone: another application's upload may have brought them and not linked them yet.
    """
    count = 0
    for path in (place.blob(digest) for digest in digests):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_nlink == 1:
                os.unlink(path)
                count += 1
    return count


def stale(path):
    """Return whether nothing was written to a file for STALE_SECONDS. A date far in the future is a clock's mistake
    and counts as old: what is lost is an upload's head start."""
    return abs(time.time() - os.stat(path).st_mtime) > STALE_SECONDS


def drop_stale_parts(place):
    """Delete the application's parts of uploads that were cut off long ago; none while an upload goes on."""
    try:
        descriptor = os.open(os.path.join(place.incoming, "lock"), os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.listdir(place.incoming):
            path = os.path.join(place.incoming, name)
            if name.endswith(".part") and stale(path):
                os.unlink(path)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def drop_stale_blobs(place):
    """Delete whole blobs that came long ago for a release that was never staged; return how many.

    What belongs to a release of any application stays, also where links are not to be had and the release has copies.
    """
    used, count = set(), 0
    apps = os.path.join(place.root, "apps")
    for name in os.listdir(apps):
        if NAME.match(name):
            other = Place(place.root, name)
            for release in releases_present(other):
                used |= blobs_of(other, release)
    for folder in os.listdir(place.cas):
        if len(folder) != 2:
            continue
        for name in os.listdir(os.path.join(place.cas, folder)):
            path = os.path.join(place.cas, folder, name)
            if DIGEST.match(name) and name not in used and os.stat(path).st_nlink == 1 and stale(path):
                os.unlink(path)
                count += 1
    return count
