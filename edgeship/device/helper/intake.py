"""Blobs on their way into the store: what is missing, what can be built on, and the upload that goes on after a cut."""

import contextlib
import fcntl
import hashlib
import os
import signal
import sys
import time

from .base import Refusal
from .chunks import Base, Packed
from .files import BLOCK, hash_file, make_folder, sync_folder, write_fully
from .state import DIGEST, check_fence, read_state
from .store import kept_manifest, releases_present

NAME_CHARACTERS = 16
SMALLEST_BASE = 256
MOST_CHUNKS = 1 << 15


def incoming_path(place, digest):
    """Return where a blob grows until it is whole."""
    return os.path.join(place.incoming, digest + ".part")


def names_here(folder):
    """Return the names in a folder; none where it is missing."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def have(place, request):
    """Tell which of the wanted blobs are missing, what of them is here already, and what they can be built on.

    Blobs are asked for by the first characters of their digests, and answered by their number in the request. Where the
    bytes of one were cut off, `offset` says how many are here and `prefix_sha256` what they are.
    """
    wanted, missing = request["blobs"], []
    parts = {name[:NAME_CHARACTERS]: name for name in names_here(place.incoming)}
    for number, start in enumerate(wanted):
        if any(name.startswith(start) for name in names_here(os.path.join(place.cas, start[:2]))):
            continue
        entry = {"blob": number}
        if start in parts:
            part = incoming_path(place, parts[start].partition(".")[0])
            entry["prefix_sha256"], entry["offset"] = hash_file(part)
        missing.append(entry)
    return {
        "missing": missing,
        "bases": offered(place, wanted) if missing and not request.get("whole") else [],
    }


def offered(place, wanted):
    """Return the chunks of what the release in use has and the wanted one has not: a new file is mostly an old one.

    They are computed from what lies there now. Nothing about chunks is kept, so nothing of it can be out of date.
    """
    release = read_state(place).get("to") or next(iter(releases_present(place)), None)
    manifest = kept_manifest(place, release) if release else None
    if not manifest:
        return []
    found, chunks = [], 0
    for digest in sorted({release, *(info["sha256"] for info in manifest["files"].values())}):
        path = place.blob(digest)
        if digest[:NAME_CHARACTERS] in wanted or not os.path.isfile(path):
            continue
        if os.path.getsize(path) >= SMALLEST_BASE:
            base = Base(path)
            chunks += len(base.places)
            if chunks > MOST_CHUNKS:
                break
            found.append(dict(base.offer(), blob=digest[:NAME_CHARACTERS]))
    return found


def open_base(place, start):
    """Return the blob that is here under that beginning of a digest, cut into chunks."""
    if not isinstance(start, str) or len(start) != NAME_CHARACTERS:
        raise Refusal("bad-request", "base %r is not the beginning of a SHA-256" % (start,))
    folder = os.path.join(place.cas, start[:2])
    for name in names_here(folder):
        if name.startswith(start) and DIGEST.match(name):
            return Base(os.path.join(folder, name))
    raise Refusal("base-changed", "a file that the upload builds on is no longer here")


def upload_lock(place):
    """Take the application's upload lock; a stale upload that still waits on a dead connection is ended.

    Only the holder writes its pid into the locked file, so that pid is alive and is an upload of this
    application.
    """
    make_folder(place.incoming, 0o750)
    descriptor = os.open(os.path.join(place.incoming, "lock"), os.O_RDWR | os.O_CREAT, 0o640)
    deadline = time.monotonic() + 10
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(descriptor, b"%-16d" % os.getpid(), 0)
            return descriptor
        except (BlockingIOError, PermissionError):
            if time.monotonic() > deadline:
                raise Refusal("locked", "another upload of %s does not end" % place.app_name) from None
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(os.pread(descriptor, 16, 0)), signal.SIGTERM)
            time.sleep(0.05)


def put(place, request, stream):
    """Build the missing blobs from the bytes that follow the request and from what is here.

    Each goes on at the offset that `have` reported. It is hashed as it is written, from its first byte to its last,
    and only what has the right SHA-256 as a whole gets its name in the store. A cut upload keeps its verified part.
    """
    check_fence(place, request["fence"])
    lock = upload_lock(place)
    taken, folders, packed = 0, set(), Packed(stream)
    try:
        bases = [open_base(place, start) for start in request.get("bases") or []]
        for blob in request["blobs"]:
            taken += put_blob(place, blob, bases, packed, folders)
    finally:
        for folder in folders:
            sync_folder(folder)
        os.close(lock)
    check_fence(place, request["fence"])
    return {"bytes": taken}


def checked_ops(blob, bases):
    """Return how a blob is made, as (base or None, first chunk, skip, length); refuses what does not fit together."""
    found, total = [], 0
    for op in blob.get("ops") or [blob["bytes"] - blob["offset"]]:
        numbers = [op] if type(op) is int else op
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise Refusal("bad-request", "a step of the upload is not made of whole numbers")
        if len(numbers) == 4 and numbers[0] < len(bases):
            found.append((bases[numbers[0]], numbers[1], numbers[2], numbers[3]))
        elif len(numbers) == 1:
            found.append((None, 0, 0, numbers[0]))
        else:
            raise Refusal("bad-request", "a step of the upload builds on nothing")
        total += found[-1][3]
    if total != blob["bytes"] - blob["offset"]:
        raise Refusal("bad-request", "the steps of an upload make %d bytes of another number" % total)
    return found


def put_blob(place, blob, bases, packed, folders):
    """Build one blob; return how many bytes of it came from outside. Raises Refusal `upload-cut`, `base-changed` or
    `blob-hash`."""
    part, final = incoming_path(place, blob["sha256"]), place.blob(blob["sha256"])
    ops, taken, digest = checked_ops(blob, bases), 0, hashlib.sha256()
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        keep_prefix(descriptor, part, blob["offset"], digest)
        for base, first, skip, length in ops:
            taken += 0 if base else length
            for data in base.pieces(first, skip, length) if base else arriving(packed, length):
                write_fully(descriptor, data)
                digest.update(data)
    finally:
        os.fsync(descriptor)
        os.close(descriptor)
    if digest.hexdigest() != blob["sha256"]:
        os.unlink(part)
        if any(op[0] for op in ops):
            raise Refusal(
                "base-changed", "a file built on another one here has SHA-256 %s" % digest.hexdigest()
            )
        raise Refusal(
            "blob-hash", "a received file has SHA-256 %s, not %s" % (digest.hexdigest(), blob["sha256"])
        )
    make_folder(os.path.dirname(final), 0o750)
    os.rename(part, final)
    os.chmod(final, 0o444)  # not before: a part that a crash left read-only could not be gone on with
    folders.update((os.path.dirname(final), os.path.dirname(part)))
    return taken


def keep_prefix(descriptor, part, offset, digest):
    """Hash the first `offset` bytes of a part, which an earlier upload left, and drop what is behind them."""
    size = os.fstat(descriptor).st_size
    if size < offset:
        raise Refusal("upload-offset", "%s has %d bytes here, not %d" % (part, size, offset))
    os.ftruncate(descriptor, offset)
    while offset:
        data = os.read(descriptor, min(BLOCK, offset))
        if not data:
            raise Refusal("upload-offset", "%s became shorter" % part)
        digest.update(data)
        offset -= len(data)


def arriving(packed, length):
    """Yield `length` bytes of the upload as they come. Raises Refusal `upload-cut` where they end early."""
    while length:
        data = packed.some(min(length, BLOCK))
        if not data:
            raise Refusal("upload-cut", "the upload ended %d bytes early" % length)
        yield data
        length -= len(data)


def end_quietly(_number, _frame):
    """Leave at SIGTERM: a newer upload took the lock over; what is on disk is kept."""
    sys.exit(1)
