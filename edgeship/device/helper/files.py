"""Durable file operations: nothing counts as done before its fsync returned."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time

from .base import Refusal

BLOCK = 1 << 20


def sync_folder(path):
    """Make the names inside a folder durable. A failed fsync is fatal: it is never retried and then
    trusted."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # some file systems cannot fsync a directory at all and say so with EINVAL
            raise
    finally:
        os.close(descriptor)


def sync_file(path):
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path, mode=0o755):
    """Make a folder and what is missing above it; the new names are durable on return."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
            os.chmod(folder, mode)
        except FileExistsError:
            pass
        sync_folder(os.path.dirname(folder))


def write_whole(path, data, mode=0o644):
    """Replace a file by `data`: write beside it, fsync, rename, fsync the folder. What could not be written whole goes
    away again: on a full disk it would take the last room."""
    temporary = "%s.tmp-%d" % (path, os.getpid())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        try:
            write_fully(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def keep_whole(path, data, mode=0o644):
    """As `write_whole`, but nothing is written where the file holds `data` already: a full disk does not matter then.

    Durable on return either way: what `write_whole` renamed had its fsync before, so that only its name may be open.
    """
    found = None
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        found = stream.read(len(data) + 1)
    if found == data:
        sync_folder(os.path.dirname(path))
    else:
        write_whole(path, data, mode)


def write_fully(descriptor, data):
    """Write all of `data`, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def hash_file(path, limit=None):
    """Return (SHA-256, bytes) of a file, or of its first `limit` bytes."""
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        while limit is None or done < limit:
            block = stream.read(BLOCK if limit is None else min(BLOCK, limit - done))
            if not block:
                break
            digest.update(block)
            done += len(block)
    return digest.hexdigest(), done


def remove_tree(path):
    """Delete a folder of ours, read-only parts included. Missing is fine."""

    def again(function, name, _error):
        os.chmod(os.path.dirname(name), 0o755)
        function(name)

    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    shutil.rmtree(path, onerror=again)


def point_link(link, target):
    """Make the symbolic link `link` say `target` (None: no link), atomically and durably.

    Something that is not a symbolic link in that place is refused: rename would move into a real folder. One that says
    so already is left as it is, which needs no room, and only made durable: whoever made it may have died before.
    """
    if os.path.lexists(link) and not os.path.islink(link):
        raise Refusal("current-not-a-link", "%s exists and is not a symbolic link" % link, path=link)
    folder = os.path.dirname(link)
    if target is None:
        if os.path.islink(link):
            os.unlink(link)
            sync_folder(folder)
        return
    if os.path.islink(link) and os.readlink(link) == target:
        sync_folder(folder)
        return
    temporary = "%s.tmp-%d" % (link, os.getpid())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, link)
    sync_folder(folder)


@contextlib.contextmanager
def locked(path, seconds):
    """Hold an exclusive lock on a file; raises Refusal `locked` when it is not had within `seconds`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline:
                    raise Refusal(
                        "locked", "another edgeship call holds %s for more than %d s" % (path, seconds)
                    ) from None
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)
