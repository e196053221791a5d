"""The log of the governor's decisions, and its replay, bit for bit.

JSON lines. A file begins with the profile and the state; `[sample, decision, reason]` follows for each decision, and
for a tick the state after it as a fourth item. Under load not everything is written: whatever is left out ends with a
line `{"state": ...}`, so that what is written always replays. Floats keep every bit through JSON.
"""

import json
import os

from es_govern import decide, profile_from_json, state_from_json, state_to_json

SCHEMA = "edgeship.decisions/2"  # 1: of a governor without factors, which decides otherwise.
LIMIT = 2 << 20  # Bytes of the file and the one before it together: on devices they lie in memory (/run).
PER_SECOND = 60  # Decisions written in a second at most; ticks always are.
_HELD = 32768  # Characters kept before they are written, at the latest at the next tick.

_line = json.JSONEncoder(separators=(",", ":")).encode


class DecisionLog(object):
    """Writes to `path`; beyond half of `limit` bytes the file becomes `path`.1 and another begins. None: no log.

    What cannot be written ends the log and says why in `failure`: a full disk must not end a service. For one thread.
    """

    def __init__(self, path, limit=LIMIT, per_second=PER_SECOND):
        self.path, self.failure = path, None
        self._half, self._most = limit // 2, per_second
        self._stream, self._size, self._held, self._length = None, 0, [], 0
        self._second, self._count, self._gap = None, 0, False

    def note(self, before, sample, outcome, profile):
        """Write down that `decide(before, sample, profile)` returned `outcome`."""
        if self.path is None or self.failure is not None:
            return
        kind = sample[0]
        settings = kind == "settings"
        if not settings:
            second = sample[1] // 1.0
            if second != self._second:
                self._second, self._count = second, 0
            self._count += 1
            if self._count > self._most and kind != "tick":
                self._gap = True
                return
        if self._stream is None or self._size > self._half or settings:
            # Other settings: the head holds the profile that the decisions after it were made with.
            self._head(before, profile)
        elif self._gap:
            self._put(_line({"state": state_to_json(before)}))
        self._gap = False
        after, decision, reason = outcome
        entry = [sample, decision, reason]
        if decision is None and kind != "done":
            entry.append(state_to_json(after))
        self._put(_line(entry))
        if kind == "tick" or self._length > _HELD:
            self.flush()

    def _head(self, state, profile):
        head = _line({"schema": SCHEMA, "profile": profile.to_json(), "state": state_to_json(state)})
        try:
            if self._stream is None or self._size > self._half:
                self.flush()
                self.close()
                if os.path.exists(self.path):
                    os.replace(self.path, self.path + ".1")
                self._stream, self._size = open(self.path, "w"), 0  # noqa: SIM115
        except OSError as error:
            self.failure = "%s: %s" % (self.path, error)
        self._put(head)

    def _put(self, text):
        self._held.append(text)
        self._length += len(text) + 1
        self._size += len(text) + 1

    def flush(self):
        """Write what is held."""
        if self._stream is not None and self._held and self.failure is None:
            try:
                self._stream.write("\n".join(self._held) + "\n")
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.failure = "%s: %s" % (self.path, error)
        self._held, self._length = [], 0

    def close(self):
        """Write what is held and close the file; the next decision begins another."""
        if self._stream is not None:
            self.flush()
            try:
                self._stream.close()
            except OSError as error:
                self.failure = "%s: %s" % (self.path, error)
            self._stream = None


def plain(value):
    """Return a value as JSON gives it back: tuples are lists."""
    return json.loads(_line(value))


def replay(lines):
    """Return the document of running a log's `lines` again: edgeship.replay/1.

    `decisions`: those run; `mismatches`: how many came out otherwise, of which `first` tells one. `cut`: a last line
    that is not whole, as a crash or a full disk leaves it. Raises ValueError (number of the line, and why) for what
    is no log.
    """
    told = {"schema": "edgeship.replay/1", "decisions": 0, "mismatches": 0, "first": None, "reasons": {}}
    told.update({"gaps": 0, "cut": False})
    state = profile = None
    waiting = None
    for number, line in enumerate(lines, 1):
        if waiting is not None:
            raise ValueError("line %d: %s" % waiting)
        try:
            entry = json.loads(line)
            if isinstance(entry, dict):
                if "profile" in entry:
                    if entry.get("schema") != SCHEMA:
                        text = "the log is of format %r, and this runtime decides as %s: take that of the log's release"
                        raise ValueError(text % (entry.get("schema"), SCHEMA))
                    profile = profile_from_json(entry["profile"])
                else:
                    told["gaps"] += 1
                state = state_from_json(entry["state"])
            elif profile is None:
                raise ValueError("the profile must come first")
            else:
                state = _again(state, entry, profile, number, told)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            waiting = (number, "%s: %s" % (type(error).__name__, error))
    if waiting is not None and profile is None:
        raise ValueError("line %d: %s" % waiting)
    if profile is None:
        raise ValueError("line 1: the log is empty")
    told["cut"] = waiting is not None
    return told


def _again(state, entry, profile, number, told):
    """Decide once more what a line tells; return the state after it."""
    after, decision, reason = decide(state, entry[0], profile)
    made = plain([decision, reason] + ([state_to_json(after)] if len(entry) > 3 else []))
    told["decisions"] += 1
    told["reasons"][reason] = told["reasons"].get(reason, 0) + 1
    if made != entry[1:]:
        told["mismatches"] += 1
        if told["first"] is None:
            told["first"] = {"line": number, "sample": entry[0], "logged": entry[1:], "replayed": made}
    return after
