"""What may stand in a request: each field's kind, and what each verb cannot do without."""

import json
import math

from .base import Refusal
from .state import NAME

MOST_SECONDS = 30 * 86400


def is_text(value):
    """Return whether a field is text."""
    return isinstance(value, str)


def is_count(value):
    """Return whether a field is a whole number, not below zero, that fits a record."""
    return type(value) is int and 0 <= value < 1 << 53


def is_time(value):
    """Return whether a field is a number of seconds that one can wait."""
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= MOST_SECONDS


def is_table(value):
    """Return whether a field is an object."""
    return isinstance(value, dict)


def is_list(value):
    """Return whether a field is a list."""
    return isinstance(value, list)


def is_name(value):
    """Return whether a field can be part of a file's name."""
    return isinstance(value, str) and bool(NAME.match(value))


KINDS = {
    "verb": is_text,
    "root": is_text,
    "app": is_text,
    "release": is_text,
    "reason": is_text,
    "listen": is_text,
    "service": is_text,
    "tx": is_name,
    "fence": is_count,
    "keep": is_count,
    "lines": is_count,
    "restarts": is_count,
    "after": is_count,
    "action": is_text,
    "soak": is_time,
    "period": is_time,
    "idle": is_time,
    "ttl": is_time,
    "seconds": is_time,
    "ready_seconds": is_time,
    "prove_seconds": is_time,
    "limit_seconds": is_time,
    "signatures": is_list,
    "signers": is_list,
    "settings": is_table,
    "change": is_table,
    "lift": is_list,
    "revoke": is_list,
}
NEEDS = {
    "have": ("blobs",),
    "put": ("fence", "blobs"),
    "stage": ("fence", "tx", "release"),
    "prove": ("fence", "release", "seconds"),
    "arm": ("fence", "tx", "release", "ttl", "service"),
    "activate": ("fence", "tx", "ready_seconds", "prove_seconds"),
    "health": ("ready_seconds", "prove_seconds"),
    "confirm": ("fence", "tx", "restarts"),
    "revert": ("fence", "tx", "reason", "ready_seconds", "prove_seconds"),
    "remove": ("fence",),
    "collect": ("fence", "keep"),
    "logs": ("lines", "service"),
    "bench": ("limit_seconds",),
    "soak": ("action",),
    "tune": ("settings",),
    "watch": ("period",),
}
WITHOUT_APP = ("apps", "policy", "trust")


def parse_request(data):
    """Return the request that a line holds; refuses what is not JSON, or lacks what its verb needs."""
    try:
        request = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refusal("bad-request", "the request is not JSON: %s" % type(error).__name__) from None
    if not isinstance(request, dict):
        raise Refusal("bad-request", "the request is not an object")
    verb = request.get("verb")
    needs = ("verb", "root") if verb in WITHOUT_APP else ("verb", "root", "app")
    for name in needs + (NEEDS.get(verb, ()) if isinstance(verb, str) else ()):
        if request.get(name) is None:
            raise Refusal("bad-request", "the request has no %r" % (name,))
    for name, sound in KINDS.items():
        if request.get(name) is not None and not sound(request[name]):
            raise Refusal("bad-request", "%s is %.80r in the request" % (name, request[name]))
    return request
