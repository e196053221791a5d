"""Whether a reading can be believed: within what is physically possible, no jump, not stuck. Pure: time and load
are given. docs/sensors.md has the rules with their reasons.
"""

import math

# What a value can be at all. Below and above, the sensor is broken (an Edge TPU that died says -87.9 degC, an 8-bit
# register that says nothing 127), or the driver says 0 for "not known".
LIMITS = {
    "temperature": (-40.0, 125.0),
    "power": (0.01, 5000.0),
    "frequency": (1e6, 2e10),
    "load": (0.0, 1.0),
    "pressure": (0.0, 1.0),
    "battery": (0.0, 100.0),
    "memory": (1.0, 2.0**50),
}
# A step from one reading to the next that physics does not do; believed when three readings in a row say it.
JUMPS = {"temperature": 40.0, "battery": 15.0}
_CONFIRMED, _JUMP_SECONDS = 3, 10.0
# Stuck: not one bit of change for so long, while the machine's load first kept one level and then, for so long,
# another one that differs by this share of all its cores.
STUCK_SECONDS, SETTLED_SECONDS, MOVED_SECONDS, MOVED_LOAD = 600.0, 300.0, 120.0, 0.2
# A counter of energy moves always.
COUNTER_SECONDS = 30.0
# Over so many seconds the machine's load is averaged, for the judge of what is stuck.
LOAD_SECONDS = 60.0
# Swing: seconds between two looks, at least and at most; over which its square is averaged; degrees that a sensor whose
# steps nobody saw yet may have, and that a look counts at most; standard deviations.
_LOOK, _APART, _SWINGS, _WIDEST, _LEAP, _DEVIATIONS = 1.9, 10.0, 300.0, 1.0, 5.0, 2.0
# More than this between two readings of a counter of energy is no consumption: the counter was set anew.
_MOST_WATTS = 5000.0


class Judge(object):
    """Judges the readings of one sensor, in the order of time."""

    __slots__ = ("kind", "value", "at", "_jump", "_raw", "_since", "_low", "_high", "_moved")

    def __init__(self, kind):
        self.kind = kind
        self.value = self.at = self._jump = self._raw = self._moved = None
        self._since, self._low, self._high = 0.0, None, None

    def refuse(self, value, raw, now, load):
        """Return why a reading is not to be believed, "" where it is. `raw`: what the sensor said, before scaling;
        `load`: the machine's busy share (0..1) over the last minutes, or None.
        """
        low, high = LIMITS.get(self.kind, (None, None))
        if low is not None and not low <= value <= high:
            self._changed(None, now)
            return "out of range: %g, possible is %g to %g" % (value, low, high)
        if self.kind in ("temperature", "power") and self._stuck(raw, now, load):
            return "stuck: %s for %d s while the load changed" % (value, now - self._since)
        if self._jumped(value, now):
            return "a jump from %g to %g, not yet seen %d times" % (self.value, value, _CONFIRMED)
        self.value, self.at = value, now
        return ""

    def _jumped(self, value, now):
        most = JUMPS.get(self.kind)
        if most is None or self.at is None or now - self.at > _JUMP_SECONDS * 3:
            self._jump = None
            return False
        if abs(value - self.value) <= most:
            self._jump = None
            return False
        first, seen = self._jump or (value, 0)
        self._jump = (first, seen + 1) if abs(value - first) <= most / 4 else (value, 1)
        if self._jump[1] < _CONFIRMED:
            return True
        self._jump = None
        return False

    def _changed(self, raw, now):
        self._raw, self._since, self._moved = raw, now, None
        self._low = self._high = None

    def _stuck(self, raw, now, load):
        if raw != self._raw:
            self._changed(raw, now)
            return False
        # What the reading settled at belongs to the load before: an average over minutes follows later than it.
        if load is None or now - self._since < SETTLED_SECONDS:
            return False
        self._low = load if self._low is None else min(self._low, load)
        self._high = load if self._high is None else max(self._high, load)
        if self._moved is None and self._high - self._low >= MOVED_LOAD:
            self._moved = now
        long_enough = now - self._since >= STUCK_SECONDS
        return long_enough and self._moved is not None and now - self._moved >= MOVED_SECONDS


class Swing(object):
    """How far the truth may be above a temperature that a sensor shows, now or at the next look: the finest step that
    the sensor was seen to make, or two standard deviations of what it changes by within two seconds, whichever is more.

    Whole degrees say nothing between 79.0 and 79.9; a die without its board's inertia jumps; some sensors are noisy.
    """

    __slots__ = ("_value", "_at", "_step", "_square")

    def __init__(self):
        self._value, self._at, self._step, self._square = None, None, _WIDEST, 0.0

    def add(self, value, now):
        """Take a reading (celsius, seconds); more than one in two seconds count as one."""
        span = _APART if self._at is None else now - self._at
        if 0.0 <= span < _LOOK:
            return
        if 0.0 < span < _APART:  # Not over a rest.
            change = abs(value - self._value)
            if change > 1e-3:
                self._step = min(self._step, change)
            self._square += (1.0 - math.exp(-span / _SWINGS)) * (min(change, _LEAP) ** 2 - self._square)
        self._value, self._at = value, now

    def degrees(self):
        """Return it, in degrees."""
        return max(self._step, _DEVIATIONS * math.sqrt(self._square))


class Counter(object):
    """Joules since the first reading from a counter that wraps; what it cannot tell it leaves out."""

    __slots__ = ("joules", "_last", "_at", "_moved")

    def __init__(self):
        self.joules, self._last, self._at, self._moved = 0.0, None, None, None

    def add(self, raw, wraps_at, scale, now):
        """Take a reading; return "" or why the sum is not to be believed. `wraps_at`: the counter's largest value, or
        None.
        """
        last, at = self._last, self._at
        self._last, self._at = raw, now
        if last is None:
            return "an energy needs two readings"
        if raw == last:
            # One that never moved counts nothing here, as in a virtual machine: nothing used is not what it means.
            still = self._moved is None or now - self._moved >= COUNTER_SECONDS
            return "stuck: the counter stands still" if still else ""
        self._moved = now
        step = raw - last
        if step < 0:
            step = step + wraps_at if wraps_at else None
        if step is None or not 0 <= step * scale <= _MOST_WATTS * max(now - at, 0.01):
            return "the counter was set anew"
        self.joules += step * scale
        return ""


class Busy(object):
    """A share of time from a counter of seconds."""

    __slots__ = ("_last",)

    def __init__(self):
        self._last = None

    def add(self, busy, total, now, cores):
        """Return the busy share (0..1 of all cores) since the reading before; None at the first. `total`: the time
        that could have been used, as the same source counts it, or None: by the clock and the number of cores.
        """
        total = now * cores if total is None else total
        last, self._last = self._last, (busy, total)
        if last is None or total <= last[1]:
            return None
        share = (busy - last[0]) / (total - last[1])
        # Two clocks that do not tick alike go a little beyond.
        return min(1.0, max(0.0, share)) if -0.1 <= share <= 1.1 else share


class Load(object):
    """The machine's busy share, averaged with a time constant of a minute: `now` is None until it is known."""

    __slots__ = ("_at", "now")

    def __init__(self):
        self.now = self._at = None

    def add(self, share, at):
        """Take a share of the time since the last one; None: it could not be read."""
        if self.now is None or share is None:
            self.now = share
        else:
            self.now += (share - self.now) * (1 - math.exp((self._at - at) / LOAD_SECONDS))
        self._at = at
