"""The helper's entry: one JSON request on stdin, one JSON reply on stdout; nothing secret ever stands in
argv."""

import errno
import json
import os
import signal
import sys
import traceback
import zlib

from .base import REPLY_SCHEMA, Refusal
from .boot import run_boot
from .breach import run_breach, run_keeper
from .garbage import collect
from .health import health, prove
from .intake import end_quietly, have, put
from .live import decisions, watch
from .pins import pin
from .queries import apps, bench, hello, history, logs, status, verify
from .removal import remove
from .request import parse_request
from .soak import soak
from .state import Place
from .store import stage
from .supervisor import run_supervisor
from .trial import activate, arm, confirm, lease, revert, run_dead_man
from .trust import change_trust, show_trust
from .tuning import tune, tuned

VERBS = {
    "hello": hello,
    "status": status,
    "lease": lease,
    "have": have,
    "stage": stage,
    "prove": prove,
    "arm": arm,
    "activate": activate,
    "health": health,
    "confirm": confirm,
    "revert": revert,
    "remove": remove,
    "pin": pin,
    "tune": tune,
    "tuned": tuned,
    "watch": watch,
    "decisions": decisions,
    "collect": collect,
    "logs": logs,
    "bench": bench,
    "soak": soak,
    "verify": verify,
    "history": history,
}
DEVICE_VERBS = {"policy": show_trust, "trust": change_trust}
BY_ARGUMENTS = {
    "supervise": run_supervisor,
    "deadman": run_dead_man,
    "boot": run_boot,
    "breach": run_breach,
    "keeper": run_keeper,
}
REQUEST_BYTES = 8 << 20
PACKED = b"z"
CODES = {
    errno.ENOSPC: "no-space",
    errno.EDQUOT: "no-space",
    errno.EROFS: "read-only",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EIO: "input-output",
    errno.ENAMETOOLONG: "bad-request",
}


def read_request(stream):
    """Return (request, whether it came packed): one line of JSON, or `z`, four bytes of length, and that deflated.

    What follows it on stdin belongs to `put` and is not touched.
    """
    line, end, packed = bytearray(), None, False
    while len(line) != end and (line.startswith(PACKED) or not line.endswith(b"\n")):
        piece = os.read(stream.fileno(), 1 if end is None else end - len(line))
        if not piece:
            break
        line += piece
        if end is None and len(line) == 5 and line.startswith(PACKED):
            end, packed = 5 + int.from_bytes(line[1:5], "big"), True
        if len(line) > REQUEST_BYTES or (end or 0) > REQUEST_BYTES:
            raise Refusal("bad-request", "the request is longer than %d bytes" % REQUEST_BYTES)
    return parse_request(unpack(bytes(line[5:])) if packed else bytes(line)), packed


def unpack(data):
    """Return the text of a packed request; refuses one that grows beyond any request's size."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, REQUEST_BYTES)
    except zlib.error as error:
        raise Refusal("bad-request", "the packed request is damaged: %s" % error) from None
    if not inflater.eof:
        raise Refusal("bad-request", "the packed request is cut or longer than %d bytes" % REQUEST_BYTES)
    return text


def answer(request, stream):
    """Carry a request out and return the reply's content."""
    verb = request["verb"]
    if verb == "apps":
        return {"apps": apps(request["root"])}
    if verb in DEVICE_VERBS:
        return DEVICE_VERBS[verb](Place(request["root"]), request)
    place = Place(request["root"], request["app"])
    if verb == "put":
        return put(place, request, stream)
    if verb not in VERBS:
        raise Refusal("bad-request", "no verb %r" % (verb,))
    return VERBS[verb](place, request)


def reply_to(stream):
    """Read one request and return its reply's bytes, refusals and system errors included. What is answered to a packed
    request is packed."""
    try:
        request, packed = read_request(stream)
        text = reply(dict(answer(request, stream), ok=True))
        return zlib.compress(text, 9) if packed else text
    except BrokenPipeError:  # nobody watches any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return b""
    except Refusal as refusal:
        return reply({"ok": False, "code": refusal.code, "reason": refusal.reason, "facts": refusal.facts})
    except OSError as error:
        code = CODES.get(error.errno, "system")
        return reply({"ok": False, "code": code, "reason": str(error), "facts": {}})
    except Exception:
        reason = traceback.format_exc()[-1500:]
        return reply({"ok": False, "code": "helper-bug", "reason": reason, "facts": {}})


def reply(content):
    """Return a reply's content as one line of JSON."""
    return (json.dumps(dict(content, schema=REPLY_SCHEMA)) + "\n").encode("utf-8")


def main(arguments):
    """Serve one request, or be the supervisor, the dead-man or boot recovery."""
    if arguments and arguments[0] in BY_ARGUMENTS:
        return BY_ARGUMENTS[arguments[0]](*arguments[1:])
    signal.signal(signal.SIGTERM, end_quietly)
    data = reply_to(sys.stdin)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:  # the link was cut: what was done is done, and the state record tells it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
