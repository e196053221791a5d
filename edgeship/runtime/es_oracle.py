"""What no policy can beat on a trace: the oracle knows every arrival, every run's time and what others will take.

With a price for each joule it finds, by dynamic programming over (when the engine is free, value so far), the best
`right answers - price * joules` of all ways to answer, or not, one request after the other on one engine. That value
S(price) bounds every policy (Lagrange duality): with E joules none gives more right answers than S(price) + price * E,
and V right answers take at least (V - S(price)) / price joules, whatever the price. Labels that are many are merged to
ones better than both: a bound it stays.

It is a bound for boards at full speed: a clock that heat has slowed does its work with fewer joules.
"""

import math

from es_simulate import spread_of
from es_tally import worths

_LABELS = 24
_FAR = float("inf")
_REFINED = 6


class Oracle(object):
    """The bounds of one trace. `core_watts`: what one busy core adds to the board's power; `overhead`: seconds of work
    that each request takes beside the model's.
    """

    def __init__(self, profile, trace, core_watts, overhead=0.0):
        self._choices = _choices(profile, trace, core_watts, overhead)
        # On the clock of the engine, which stands still while others have it, work takes the same time everywhere.
        clock = _clock(trace.others)
        self._came = [clock(at) for at in trace.at]
        ends = (_FAR if d is None else at + d for at, d in zip(trace.at, trace.deadlines))
        clock = _clock(trace.others)
        order = sorted((end, place) for place, end in enumerate(ends))
        self._due = [_FAR] * len(order)
        for end, place in order:
            self._due[place] = end if end == _FAR else clock(end)
        self._hull = sorted(
            (value, core_watts * (_least_core_seconds(rung) + overhead))
            for rung, value in zip(profile.every, worths(profile))
        )
        self._found = {}

    def at(self, price):
        """Return (score, right answers, joules above idle) of the best schedule at a price, right answers a joule."""
        if price not in self._found:
            self._found[price] = self._best(price)
        return self._found[price]

    def prices(self):
        """Return prices that span the ladder: from one where the best rung pays to one where none does."""
        worth = self._hull
        most = max(value / joules for value, joules in worth)
        slopes = [
            (b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(worth, worth[1:]) if b[1] > a[1] and b[0] > a[0]
        ]
        least = min(slopes + [most])
        return [least * 0.3 * (1.2 * most / (0.3 * least)) ** (k / 7.0) for k in range(8)]

    def most_right(self, joules=None):
        """Return the most right answers with so many joules above idle; None: with any number."""
        free = self.at(0.0)[0]
        if joules is None:
            return free
        return min(free, self._refine(lambda price: self.at(price)[0] + price * joules))

    def least_joules(self, right):
        """Return the least joules above idle that so many right answers take."""
        return max(0.0, -self._refine(lambda price: (self.at(price)[0] - right) / price))

    def _refine(self, bound):
        """Return the least of a bound over prices: of a grid, then closer around the best of it."""
        prices = self.prices()
        values = [bound(price) for price in prices]
        place = min(range(len(values)), key=values.__getitem__)
        low, high = prices[max(0, place - 1)], prices[min(len(prices) - 1, place + 1)]
        best, middle = values[place], prices[place]
        for _ in range(_REFINED):
            for price in (math.sqrt(low * middle), math.sqrt(middle * high)):
                value = bound(price)
                if value < best:
                    low, high = (low, middle) if price < middle else (middle, high)
                    best, middle = value, price
                    break
            else:
                low, high = math.sqrt(low * middle), math.sqrt(middle * high)
        return best

    def _best(self, price):
        labels = [(0.0, 0.0, 0.0, 0.0)]  # (when free, score, right, joules), the first two rising
        for came, due, choices in zip(self._came, self._due, self._choices):
            if labels[-1][0] <= came:
                labels = [labels[-1]]  # All are free again: only the best counts.
            found = list(labels)
            for free, score, right, spent in labels:
                start = free if free > came else came
                for value, seconds, joules in choices:
                    end = start + seconds
                    if end <= due:
                        found.append((end, score + value - price * joules, right + value, spent + joules))
            labels = _kept(found)
        return labels[-1][1:]


def _kept(found):
    """Return the labels that no other beats, rising; of too many, the best of each stretch at its earliest end."""
    found.sort(key=lambda label: (label[0], -label[1]))
    kept, best = [], -_FAR
    for label in found:
        if label[1] > best:
            best = label[1]
            kept.append(label)
    if len(kept) <= _LABELS:
        return kept
    width = (kept[-1][0] - kept[0][0]) / _LABELS
    merged, until, first = [], -_FAR, 0.0
    for label in kept:
        if label[0] < until:
            merged[-1] = (first,) + label[1:]
        else:
            first, until = label[0], label[0] + width
            merged.append(label)
    return merged


def _seconds(rung):
    """Return the seconds of a request on a rung, in a batch where that pays."""
    return rung.each if rung.fixed and rung.each else rung.seconds


def _least_core_seconds(rung):
    """Return the fewest seconds of one core that a request takes on a rung, whatever the threads."""
    scale = _seconds(rung) / rung.seconds if rung.seconds else 1.0
    return min(scale * n * rung.seconds_at(n) for n in range(1, rung.threads + 1))


def _choices(profile, trace, core_watts, overhead):
    """Return for each request [(value, seconds, joules)] of every rung; in batches as if their fixed part was free.

    Of a cascade it knows who goes on to the big one, and an answer counts as what the cascade is worth.
    """
    rows = []
    for rung, value in zip(profile.every, worths(profile)):
        asked = [(rung, 1.0)]
        if rung.cascade:
            little, big = (profile.every[profile.index(name)] for name in rung.cascade[:2])
            asked = [(little, 1.0), (big, rung.cascade[3])]
        rows.append(
            (value, [(_seconds(r), _least_core_seconds(r), spread_of(r), share) for r, share in asked])
        )
    found = []
    for noise, luck in zip(trace.noise, trace.luck):
        choices = []
        for value, asked in rows:
            time = work = overhead
            for seconds, cores, sigma, share in asked:
                if luck < share:
                    factor = math.exp(sigma * noise)
                    time += seconds * factor
                    work += cores * factor
            choices.append((value, time, core_watts * work))
        found.append(choices)
    return found


def _clock(others):
    """Return the function that gives the seconds that the engine could have had until `at`; `at` must only rise."""
    edges = sorted({edge for row in others for edge in row[:2] if edge > 0}) + [_FAR]
    where = [0.0, 0.0, 0]  # now, what the engine could have had, place in edges

    def clock(at):
        while True:
            now, had, place = where
            taken = min(sum(part for begun, ended, part, _ in others if begun <= now < ended), 0.95)
            edge = min(edges[place], at)
            where[0], where[1] = edge, had + (edge - now) * (1.0 - taken)
            if edges[place] > at:
                return where[1]
            where[2] += 1

    return clock
