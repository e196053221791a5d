"""Traces: when requests arrive, by when each must be answered, and what happens around the board meanwhile.

Patterns are Poisson processes whose rate follows a curve (thinning: Lewis and Shedler 1979), so that arrivals come in
the clusters that independent clients make. `rate` is the mean of each.
"""

import math
import random

SQUARE_SECONDS = (
    2.0  # The governor's slow loop looks this often: a wave that it sees at the same point each time.
)


class Trace(object):
    """`at`: seconds, rising; `deadlines`: seconds that each request may take, None for no limit; `ambient` and
    `others` as `es_world.World` takes them; `noise` and `luck`: a normal and a uniform number a request, the same for
    every policy.
    """

    __slots__ = ("name", "seconds", "at", "deadlines", "ambient", "others", "noise", "luck", "source")

    def __init__(self, name, seconds, at, deadlines):
        self.name, self.seconds, self.at, self.deadlines = name, seconds, at, deadlines
        self.ambient, self.others, self.noise, self.luck, self.source = None, [], [], [], None

    def shaken(self, seed):
        """Draw the numbers that make runs unlike each other; return the trace."""
        drawn = random.Random("%s/%s" % (seed, self.name))
        self.noise = [drawn.gauss(0.0, 1.0) for _ in self.at]
        self.luck = [drawn.random() for _ in self.at]
        return self

    def mean_rate(self):
        """Return requests a second."""
        return len(self.at) / self.seconds if self.seconds > 0 else 0.0


def steady(at, span, drawn):
    """The same rate all the time."""
    return 1.0


def diurnal(at, span, drawn):
    """A day within the span: a tenth of the peak at night."""
    return 1.0 - 0.82 * math.cos(2 * math.pi * at / span)


def ramp(at, span, drawn):
    """From a tenth of the mean to nearly twice of it."""
    return 0.1 + 1.8 * at / span


def square(at, span, drawn):
    """On and off within each period of the governor's slow loop."""
    return 1.9 if at % SQUARE_SECONDS < SQUARE_SECONDS / 2 else 0.1


def _bursts(span, drawn):
    """Return [(from, to)] of bursts that hold a fifth of the time: exponential lengths, 8 s, and gaps, 32 s."""
    found, at = [], drawn.expovariate(1 / 32.0)
    while at < span:
        length = drawn.expovariate(1 / 8.0)
        found.append((at, min(span, at + length)))
        at += length + drawn.expovariate(1 / 32.0)
    return found


PATTERNS = ("steady", "diurnal", "burst", "ramp", "square", "contention", "heat-wave")
_CURVES = {"steady": steady, "diurnal": diurnal, "ramp": ramp, "square": square}
_MOST = 1.9


def pattern(name, rate, seconds, deadline=None, seed=0, ambient=25.0):
    """Return the Trace of a pattern: `rate` requests a second on average over `seconds`, each with `deadline` seconds
    or None. The same arguments give the same trace. Raises KeyError for a pattern that is none.
    """
    drawn = random.Random("%s/%s/arrivals" % (seed, name))
    if name == "burst":
        spans = _bursts(seconds, drawn)
        at = _in_bursts(rate, seconds, spans, drawn)
    else:
        curve = steady if name in ("contention", "heat-wave") else _CURVES[name]
        at = _thinned(curve, rate, seconds, drawn)
    trace = Trace(name, float(seconds), at, [deadline] * len(at))
    if name == "contention":
        trace.others = _neighbours(seconds, drawn)
    if name == "heat-wave":
        # Up by 20 degrees for the middle third, over a sixth of the time each way.
        sixth = seconds / 6.0
        marks = ((0.0, 0), (sixth, 0), (2 * sixth, 20), (4 * sixth, 20), (5 * sixth, 0))
        trace.ambient = [(second, ambient + more) for second, more in marks]
    return trace.shaken(seed)


def _thinned(curve, rate, seconds, drawn):
    """Return arrivals of a Poisson process of rate `rate * curve(at)`, where no curve is above `_MOST`."""
    found, at, most = [], 0.0, rate * _MOST
    while most > 0:
        at += drawn.expovariate(most)
        if at >= seconds:
            break
        if drawn.random() * _MOST < curve(at, seconds, drawn):
            found.append(at)
    return found


def _in_bursts(rate, seconds, spans, drawn):
    """Return arrivals at three times the rate between bursts in them, as many as `rate` makes."""
    inside = sum(ended - begun for begun, ended in spans)
    low = rate * seconds / (seconds + 2.0 * inside)
    found, at, place = [], 0.0, 0
    while low > 0:
        at += drawn.expovariate(3 * low)
        if at >= seconds:
            break
        while place < len(spans) and spans[place][1] <= at:
            place += 1
        burst = place < len(spans) and spans[place][0] <= at
        if burst or drawn.random() < 1 / 3.0:
            found.append(at)
    return found


def _neighbours(seconds, drawn):
    """Return what other processes take: half of the engine's core and one more core, a third of the time."""
    found, at = [], drawn.expovariate(1 / 40.0)
    while at < seconds:
        length = drawn.expovariate(1 / 20.0)
        found.append((at, min(seconds, at + length), 0.5, 1.0))
        at += length + drawn.expovariate(1 / 40.0)
    return found
