"""What a request asks of the governor: its deadline, the variant it wants, its period, its stream."""

import json
import re

import es_infer
from es_errors import Refused

# Where the parameters stand in a body that is not read yet. A name in quotes before a colon is a key in any JSON; of
# which object, only reading tells, so a request is never refused by this alone.
_DEADLINE = re.compile(rb'"deadline_ms"\s*:\s*([0-9][0-9.eE+-]{0,30})')
_LONGEST_MS = 86400e3
_LONGEST_NAME = 128
# The longest JSON that the loop reads to refuse a request: 15 ms (x86), during which nobody else is answered.
_LIGHT_BYTES = 1 << 20


class Asked(object):
    """`started`: when the request was complete; `due`: when it must be answered, None for no deadline (monotonic
    seconds). `variant`, `stream` and `period` (seconds) are None where not asked for. `body`: (document, binary part)
    once opened; `call`: once decoded, for the model that may answer. `seems_due`: what `glance` said. `behind`:
    requests that may lie in other sockets, unread.
    """

    __slots__ = ("started", "due", "variant", "stream", "period", "body", "call", "seems_due", "behind")

    def __init__(self, started, deadline_ms):
        self.started = started
        self.due = None if deadline_ms is None else started + deadline_ms / 1e3
        self.behind = 0
        self.variant = self.stream = self.period = self.body = self.call = self.seems_due = None

    def open(self, request, most):
        """Read the body and its parameters, once; raises Refused (400, 413)."""
        if self.body is not None:
            return
        body = es_infer.opened(request, most)
        if body[0] is not None:
            self._read(es_infer.parameters_of(body[0]))
        self.body = body

    def _read(self, parameters):
        if not parameters:
            return
        milliseconds = _number(parameters, "deadline_ms")
        if milliseconds is not None:
            self.due = self.started + milliseconds / 1e3
        period = _number(parameters, "period_ms")
        self.period = None if period is None else period / 1e3
        self.variant = _text(parameters, "variant")
        self.stream = _text(parameters, "stream")

    def heavy(self, request):
        """Return whether reading the request would hold up the loop: then it is refused when its turn comes."""
        if self.call is not None:
            return False
        head = request.headers.get("inference-header-content-length", "")
        return bool(request.coding) or (int(head) if head.isdigit() else len(request.body)) > _LIGHT_BYTES

    def glance(self, request):
        """Return when the request seems due, without reading it: cheap, and only good for whether to look closer."""
        if self.body is not None or request.coding:
            return self.due
        body = request.body
        if b'"deadline_ms"' not in body:
            return self.due
        found = _DEADLINE.search(body)
        try:
            return self.started + float(found.group(1)) / 1e3 if found else self.due
        except ValueError:
            return self.due


def _number(parameters, name):
    value = parameters.get(name)
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST_MS
    if not good:
        text = "`%s` is %s; it must be a number of milliseconds above 0, at most %d"
        raise Refused(400, text % (name, json.dumps(value)[:40], _LONGEST_MS))
    return float(value)


def _text(parameters, name):
    value = parameters.get(name)
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME):
        raise Refused(400, "`%s` must be a text of 1 to %d characters" % (name, _LONGEST_NAME))
    return value
