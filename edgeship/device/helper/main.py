"""The helper's entry: one JSON request on stdin, one JSON reply on stdout; nothing secret ever stands in
argv."""

import errno
import json
import os
import signal
import sys
import traceback

from .base import REPLY_SCHEMA, Refusal
from .boot import run_boot
from .breach import run_breach, run_keeper
from .health import health, prove
from .pins import pin
from .queries import apps, bench, hello, history, logs, status, verify
from .removal import remove
from .request import parse_request
from .state import Place
from .store import collect, end_quietly, have, put, stage
from .supervise import run_supervisor
from .trial import activate, arm, confirm, lease, revert, run_dead_man
from .trust import change_trust, show_trust

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
    "collect": collect,
    "logs": logs,
    "bench": bench,
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
    """Return the request: the first line of stdin. What follows it belongs to `put`."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(stream.fileno(), 1)
        if not piece:
            break
        line += piece
        if len(line) > REQUEST_BYTES:
            raise Refusal("bad-request", "the request is longer than %d bytes" % REQUEST_BYTES)
    return parse_request(bytes(line))


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
    """Read one request and return its reply, refusals and system errors included."""
    try:
        return dict(answer(read_request(stream), stream), schema=REPLY_SCHEMA, ok=True)
    except Refusal as refusal:
        return {
            "schema": REPLY_SCHEMA,
            "ok": False,
            "code": refusal.code,
            "reason": refusal.reason,
            "facts": refusal.facts,
        }
    except OSError as error:
        code = CODES.get(error.errno, "system")
        return {"schema": REPLY_SCHEMA, "ok": False, "code": code, "reason": str(error), "facts": {}}
    except Exception:
        return {
            "schema": REPLY_SCHEMA,
            "ok": False,
            "code": "helper-bug",
            "reason": traceback.format_exc()[-1500:],
            "facts": {},
        }


def main(arguments):
    """Serve one request, or be the supervisor, the dead-man or boot recovery."""
    if arguments and arguments[0] in BY_ARGUMENTS:
        return BY_ARGUMENTS[arguments[0]](*arguments[1:])
    signal.signal(signal.SIGTERM, end_quietly)
    text = json.dumps(reply_to(sys.stdin)) + "\n"
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the link was cut: what was done is done, and the state record tells it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
