"""State that lives from one request to the next: named sessions, and the fresh state of a request without one.

A request names its session in its parameters as Triton's sequence extension does: `sequence_id`,
`sequence_start`, `sequence_end`. Each session has an engine of its own, so that sessions never mix and none
has to be saved and brought back; their number is bounded, and one that is silent for too long makes room.
"""

import time

from es_errors import CannotRun, EngineFailed, Refused

_KEYS = ("sequence_id", "sequence_start", "sequence_end")
_LONGEST = 128
_LIMITS = ("sessions", "session_seconds")


class Sequence(object):
    """What a request says of its session."""

    __slots__ = ("id", "start", "end")

    def __init__(self, name, start, end):
        self.id, self.start, self.end = name, start, end


def sequence_of(parameters, stateful):
    """Return the Sequence of a request's parameters, None where they name none; raises Refused (400)."""
    given = [key for key in _KEYS if parameters.get(key) is not None]
    if not given:
        return None
    name = parameters.get("sequence_id")
    if name is None:
        raise Refused(400, "`%s` needs a `sequence_id`, which names the session" % given[0])
    number = isinstance(name, int) and not isinstance(name, bool) and 0 <= name < 2**64
    if not number and not (isinstance(name, str) and 0 < len(name) <= _LONGEST):
        text = "`sequence_id` must be a whole number from 1 (64 bits) or a text of 1 to %d characters"
        raise Refused(400, text % _LONGEST)
    for key in given:
        if key != "sequence_id" and not isinstance(parameters[key], bool):
            raise Refused(400, "`%s` must be true or false" % key)
    if name == 0:  # Triton's word for: in no sequence.
        if len(given) > 1:
            raise Refused(400, "`sequence_id` 0 means no session; give a number from 1 or a text")
        return None
    if not stateful:
        raise Refused(400, "this model keeps no state between runs: leave `sequence_id` out")
    return Sequence(name, bool(parameters.get("sequence_start")), bool(parameters.get("sequence_end")))


class Session(object):
    """An open session: its engine, and when it was last used (monotonic seconds)."""

    __slots__ = ("engine", "used")

    def __init__(self, engine, used):
        self.engine, self.used = engine, used


class Sessions(object):
    """The open sessions of a model with state. `load()` returns a fresh engine. For one thread at a time."""

    def __init__(self, load, limits, clock=time.monotonic):
        for key in _LIMITS:
            value = limits.get(key)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
                text = "service.json: `limits.%s` is %r; a model with state wants a number above 0"
                raise CannotRun("bad-service-file", text % (key, value))
        self._load, self._clock = load, clock
        self.most, self.seconds = int(limits["sessions"]), float(limits["session_seconds"])
        self._open = {}

    def __len__(self):
        return len(self._open)

    def engine(self, sequence):
        """Return the engine that holds the state of a request's session, fresh where it starts. Raises Refused:
        400 for a session that is not open, 503 where all are in use or the device has no room for another.
        """
        now = self._clock()
        self.sweep()
        found = self._open.get(sequence.id)
        if found is None and not sequence.start:
            text = (
                "session %r is not open: it was never started, has ended, or was silent for more than %g s;"
            )
            text += " send `sequence_start`: true with its first request"
            raise Refused(400, text % (sequence.id, self.seconds))
        if found is None:
            if len(self._open) >= self.most:
                text = (
                    "all %d sessions are in use; end one with `sequence_end`: true, or raise limits.sessions"
                )
                raise Refused(503, text % self.most, [("Retry-After", "1")])
            found = self._open[sequence.id] = Session(self._opened(), now)
        elif sequence.start:
            try:
                found.engine.reset()
            except EngineFailed:
                self.drop(sequence)
                raise
        found.used = now
        return found.engine

    def _opened(self):
        try:
            return self._load()
        except CannotRun as error:  # Memory, most of the time; what is open already goes on.
            text = "no further session can be opened: %s" % error.reason
            raise Refused(503, text, [("Retry-After", "1")])

    def done(self, sequence):
        """Close the session where the request that was answered was its last; else its silence begins now."""
        if sequence.end:
            return self.drop(sequence)
        if sequence.id in self._open:
            self._open[sequence.id].used = self._clock()

    def drop(self, sequence):
        """Close a session, whatever its state is: nobody can tell how far a run that failed has changed it."""
        found = self._open.pop(sequence.id, None)
        if found is not None:
            found.engine.close()

    def due(self):
        """Return the monotonic time at which `sweep` will find something, None while nothing is open."""
        return min(one.used for one in self._open.values()) + self.seconds if self._open else None

    def sweep(self):
        """Close what was silent for too long."""
        now = self._clock()
        for name in [name for name, one in self._open.items() if one.used + self.seconds < now]:
            self._open.pop(name).engine.close()

    def close(self):
        """Close all of them."""
        while self._open:
            self._open.popitem()[1].engine.close()
