"""Where things lie below the root, the two-slot state record, the fence, and the audit log."""

import contextlib
import errno
import json
import os
import re
import time

from .base import FORMAT, Refusal, boot_identity, boot_seconds, canonical, read_json, sha256_hex
from .confine import kernel_call
from .files import locked, make_folder, sync_folder, write_fully, write_whole

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
DIGEST = re.compile(r"^[0-9a-f]{64}\Z")
IN_TRIAL = ("ARMED", "TRIAL", "REVERTING")
APP_FOLDERS = ("releases", "shared", "log", "run", "settings", "pins", "signatures", "kept")
LOCK_SECONDS = 60
SLOT_BYTES = 4096
RESERVE_BYTES = 1 << 18
SHORT_BYTES = 16 << 20
REASON_LETTERS = 1500
SLOT_MARGIN = 256
"""Bytes of a slot that no reason may take: a watch that is opened anew makes its record a little longer."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
AUDIT_WINDOW = 1 << 14
NO_LINE = "0" * 64
"""What the first line of an audit log follows."""


class Place(object):
    """The paths of one root and one application on the device."""

    def __init__(self, root, app=None):
        if not os.path.isabs(root):
            raise Refusal("bad-request", "root %r is not an absolute path" % (root,))
        if app is not None and not NAME.match(app):
            raise Refusal("bad-request", "app %r is not a plain name" % (app,))
        self.root = root
        self.app_name = app
        self.lock = os.path.join(root, "lock")
        self.cas = os.path.join(root, "cas")
        self.trust = os.path.join(root, "trust")
        self.app = os.path.join(root, "apps", app) if app else None
        self.incoming = os.path.join(self.cas, "incoming", app) if app else None

    def of(self, *parts):
        """Return a path below the application's folder."""
        return os.path.join(self.app, *parts)

    def blob(self, digest):
        """Return where a blob lies in the content-addressed store; refuses what is not a digest."""
        if not isinstance(digest, str) or not DIGEST.match(digest):
            raise Refusal("bad-request", "blob %r is not a SHA-256" % (digest,))
        return os.path.join(self.cas, digest[:2], digest)

    def release(self, release):
        """Return the folder of a release; refuses what is not a digest."""
        if not isinstance(release, str) or not DIGEST.match(release):
            raise Refusal("bad-request", "release %r is not a SHA-256" % (release,))
        return self.of("releases", release)

    def prepare(self):
        """Make the layout; refuse one of another version. Idempotent and durable."""
        stamp = os.path.join(self.root, "format")
        make_folder(self.root, 0o750)
        found = read_json(stamp)
        if found is not None and found != FORMAT:
            raise Refusal(
                "layout-version", "%s says layout %r; this helper knows %d" % (stamp, found, FORMAT)
            )
        for path in (os.path.join(self.root, "bin"), os.path.join(self.cas, "incoming"), self.trust):
            make_folder(path, 0o750)
        for name in APP_FOLDERS if self.app else ():
            make_folder(self.of(name), 0o755)
        if found is None:
            write_whole(stamp, canonical(FORMAT))

    def keep_reserve(self):
        """Hold a little space back, so that a disk that fills up during a trial cannot keep the device from going back.

        Raises OSError where even that little is not to be had: nothing may be armed then. Its bytes are random, as a
        file system that compresses would hold back next to nothing for zeros (which earlier helpers wrote).
        """
        path = os.path.join(self.root, "reserve")
        with contextlib.suppress(OSError):
            with open(path, "rb") as stream:
                begin = stream.read(64)
            if os.path.getsize(path) >= RESERVE_BYTES and begin.strip(b"\0"):
                return
        self.spend_reserve()
        write_whole(path, os.urandom(RESERVE_BYTES), 0o600)

    def spend_reserve(self):
        """Give the space back: the device is going back and needs it. Where it is short, wait until it really is there:
        a file system with a log, or one that copies on writing, gives it back with the next commit only."""
        with contextlib.suppress(OSError, AttributeError):
            os.unlink(os.path.join(self.root, "reserve"))
            found = os.statvfs(self.root)
            if found.f_bavail * found.f_frsize < SHORT_BYTES:
                descriptor = os.open(self.root, os.O_RDONLY)
                try:
                    kernel_call("syncfs", descriptor)
                finally:
                    os.close(descriptor)

    def held(self, seconds=LOCK_SECONDS):
        """Hold the device's one lock."""
        return locked(self.lock, seconds)


def read_slot(path):
    """Return what stands in a slot, or None where it is missing or torn. Storage that cannot be read raises OSError:
    taken for an empty slot it would have the device forget what it runs."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read(1 << 20).decode("utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def read_slots(folder, stem):
    """Return (newest valid record or None, the slot a new one must go to). A torn slot loses to the other
    one."""
    best, slot = None, 1
    for index in (0, 1):
        record = read_slot(os.path.join(folder, "%s.%d" % (stem, index)))
        if not isinstance(record, dict) or "sha" not in record or not isinstance(record.get("seq"), int):
            continue
        body = {key: value for key, value in record.items() if key != "sha"}
        if sha256_hex(canonical(body)) == record["sha"] and (best is None or body["seq"] > best["seq"]):
            best, slot = body, index
    return best, 1 - slot


def write_slots(folder, stem, record):
    """Write a record over the slot that does not hold the newest one; durable on return.

    Slots have a fixed size and are overwritten in place, so that a full disk cannot keep a revert from being
    recorded.
    """
    newest, slot = read_slots(folder, stem)
    body = dict(record, seq=(newest["seq"] if newest else 0) + 1)
    path = os.path.join(folder, "%s.%d" % (stem, slot))
    text = canonical(dict(body, sha=sha256_hex(canonical(body))))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        write_fully(descriptor, text + b" " * max(0, SLOT_BYTES - len(text)))
        os.ftruncate(descriptor, max(SLOT_BYTES, len(text)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(folder)
    return body


def read_state(place):
    """Return the application's state record; `state` is NONE where nothing was ever deployed."""
    record = read_slots(place.app, "state")[0]
    return record or {"seq": 0, "state": "NONE", "to": None, "from": None, "tx": None, "previous": None}


def spending(place, write):
    """Return what `write()` does. Where it has no room, what was held back is given up for it, once."""
    try:
        return write()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
    place.spend_reserve()
    return write()


def fitting_reason(record):
    """Return a record's reason, cut so that the whole record fits its slot, in bytes as they are written there."""
    room = SLOT_BYTES - SLOT_MARGIN - len(canonical(dict(record, seq=1 << 53, sha="0" * 64, reason="")))
    reason = record["reason"].encode("utf-8", "replace").decode("utf-8")[:REASON_LETTERS]
    while reason:
        over = len(canonical(reason)) - len(canonical("")) - room
        if over <= 0:
            break
        reason = reason[: -max(1, over // 6)]  # a letter takes six bytes at most
    return reason


def change_state(place, state, heard=True, **changes):
    """Write the next state record, and tell the audit log if it shall be `heard`. Returns the record. The lock is held
    by the caller.

    Where a slot needs new space all the same, as on file systems that copy on writing, and there is none, what was held
    back is given up for it: but never to begin a trial, which must not run without it.
    """
    before = read_state(place)
    record = dict(before, state=state, **changes)
    record["audit"] = last_line(place) or before.get("audit")
    if isinstance(record.get("reason"), str):
        record["reason"] = fitting_reason(record)
    if state in ("ARMED", "TRIAL"):
        written = write_slots(place.app, "state", record)
    else:
        written = spending(place, lambda: write_slots(place.app, "state", record))
    with contextlib.suppress(OSError):  # a log that cannot grow must not keep a device from going back
        if not holds_line(place, before.get("audit")):
            audit(place, "log-lost", {"reason": "lines that stood before this one are gone"})
        if heard:
            facts = {key: written.get(key) for key in ("tx", "from", "to", "reason", "result")}
            audit(place, state.lower(), facts)
    return written


def time_left(record):
    """Return the seconds a trial still has; 0 where it is over or from an earlier start of the device."""
    if record["state"] not in IN_TRIAL or record.get("boot") != boot_identity():
        return 0.0
    return max(0.0, record.get("deadline", 0) - boot_seconds())


def read_floor(place):
    """Return what may only grow on this device: fences, sequences of signed releases, the newest signing time."""
    return read_slots(place.trust, "floor")[0] or {"fences": {}, "time": 0}


def check_fence(place, fence):
    """Refuse a controller whose lease was overtaken by a newer one."""
    stored = read_floor(place)["fences"].get(place.app_name, 0)
    if not isinstance(fence, int) or fence < stored:
        raise Refusal(
            "fenced", "a newer deployment (fence %d) took over from this one (fence %s)" % (stored, fence)
        )


def raise_fence(place, fence):
    """Store a new fence (None: one above the stored one) durably, and return it."""
    floor = read_floor(place)
    stored = floor["fences"].get(place.app_name, 0)
    fence = stored + 1 if fence is None else fence
    if fence < stored:
        raise Refusal(
            "fenced", "a newer deployment (fence %d) took over from this one (fence %d)" % (stored, fence)
        )
    fences = dict(floor["fences"], **{place.app_name: fence})
    write_slots(place.trust, "floor", dict(floor, fences=fences))
    return fence


def whole_lines(data):
    """Return the lines of an audit log that were once whole.

    What a power cut or a full disk left of the last one is not: it has no end, or zeros where nothing was written yet.
    """
    lines = data.split(b"\n")[:-1]
    return lines[:-1] if lines and b"\0" in lines[-1] else lines


def log_tail(path):
    """Return (where they begin, the last AUDIT_WINDOW bytes of an audit log); nothing of one that is not there."""
    try:
        with open(path, "rb") as stream:
            begin = max(0, os.fstat(stream.fileno()).st_size - AUDIT_WINDOW)
            stream.seek(begin)
            return begin, stream.read()
    except FileNotFoundError:
        return 0, b""


def audit_end(path):
    """Return (where the next audit line goes, digest of the line before it). A last line that is not one of ours is
    left for read_audit to tell of."""
    last, (begin, data) = NO_LINE, log_tail(path)
    lines = whole_lines(data)
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, RecursionError):
        last = json.loads(lines[-1].decode("utf-8"))["sha"]
    if begin and not lines:  # nothing that we would ever leave: it is not ours to drop
        return os.path.getsize(path), last
    return begin + sum(len(line) + 1 for line in lines), last


def audit(place, event, facts):
    """Append one line to the application's audit log; each line carries the digest of the one before it.

    A line that cannot be written as a whole is taken back. Raises OSError where it is not there for good.
    """
    path = place.of("log", "audit.jsonl")
    whole, last = audit_end(path)
    body = {"event": event, "at": int(time.time()), "boot": boot_identity(), "previous": last}
    body.update({key: value for key, value in facts.items() if value is not None})
    line = canonical(dict(body, sha=sha256_hex(canonical(body))))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        os.ftruncate(descriptor, whole)
        try:
            write_fully(descriptor, line)
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # else the next line drops it, and nobody reads it until then
                os.ftruncate(descriptor, whole)
            raise
    finally:
        os.close(descriptor)


def last_line(place):
    """Return the digest of the newest line of the audit log, which the state record keeps: a chain alone does not tell
    that its end was cut off. None where there is none, or it cannot be read."""
    try:
        last = audit_end(place.of("log", "audit.jsonl"))[1]
    except OSError:
        return None
    return None if last == NO_LINE else last


def holds_line(place, digest):
    """Return whether the audit log still has the line that a state record knew, as far as its last lines tell."""
    if not digest:
        return True
    begin, data = log_tail(place.of("log", "audit.jsonl"))
    return begin > 0 or digest.encode("ascii") in data


def read_audit(place):
    """Return (entries, number of the first line that does not follow from the one before it, or None). Where the line
    is missing that the state record knew last, that is the line behind the last one.

    A last line without an end was never whole (see `audit`) and does not count.
    """
    entries, broken, last, known = [], None, NO_LINE, read_state(place).get("audit")
    try:
        with open(place.of("log", "audit.jsonl"), "rb") as stream:
            lines = whole_lines(stream.read())
    except FileNotFoundError:
        return [], 1 if known else None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line.decode("utf-8"))
            body = {key: value for key, value in entry.items() if key != "sha"}
            good = entry["previous"] == last and sha256_hex(canonical(body)) == entry["sha"]
            last = entry["sha"]
            known = None if last == known else known
            entries.append(body)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            good = False
        if not good and broken is None:
            broken = number
    return entries, len(lines) + 1 if known and broken is None else broken
