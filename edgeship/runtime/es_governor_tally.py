"""What a governed service counts: arrivals, answers, which rung answered and why."""

import math
import threading

from es_answers import log
from es_metrics import percentile

RATE_SECONDS = 2.0  # Time constant of the arrival rate.
_OVERHEAD_GAIN = 0.1  # Weight of the newest request in the mean time that serving takes beside the engine.
_LEAST_FREE = 0.05  # Share of the time that overhead leaves to the engine, at least: nothing divides by zero.
_LINE_SECONDS = 5.0  # At most one line of the journal in so long tells of another rung.
_RECENT = 512  # Answers whose times make the percentiles.


class Tally(object):
    """`rate`: arrivals a second, as of the last one; `overhead`: seconds that an answer takes beside the engine;
    `busy`: seconds in which the engine was at work; `rung`, `reason`: what answers, and why, None
    before the first request that left it to the governor.
    """

    def __init__(self, rung, now):
        self.rate, self._arrival, self.overhead, self.busy = 0.0, None, 0.0, 0.0
        self.reasons, self.misses, self.refused, self.skipped = {}, 0, 0, 0
        self._recent, self._place = [], 0
        self._counting = threading.Lock()  # The loop refuses while the worker answers.
        self.rung, self.reason, self._since = rung, None, now
        self._times, self._said, self._unsaid = {}, None, 0

    def arrived(self, now):
        """Count a request that came in."""
        last, self._arrival = self._arrival, now
        if last is not None and now > last:
            gap = now - last
            self.rate += (1.0 - math.exp(-gap / RATE_SECONDS)) * (1.0 / gap - self.rate)

    def rate_now(self, now):
        """Return the arrivals a second, also where none came for a while."""
        gap = 0.0 if self._arrival is None else now - self._arrival
        if gap * self.rate <= 1.0:
            return self.rate
        return self.rate + (1.0 - math.exp(-gap / RATE_SECONDS)) * (1.0 / gap - self.rate)

    def crowding(self):
        """Return the arrivals a second of the time that what is not the engine leaves to it."""
        return self.rate / max(_LEAST_FREE, 1.0 - self.rate * self.overhead)

    def served(self, overhead):
        """Note the seconds that an answer took beside the engine."""
        self.overhead += _OVERHEAD_GAIN * (overhead - self.overhead)

    def count(self, reason):
        """Count a decision."""
        with self._counting:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def refuse(self, reason):
        """Count a decision to refuse."""
        self.count(reason)
        with self._counting:
            self.refused += 1

    def answered(self, now, asked, status):
        """Note that an answer is on its way."""
        if status != 200:
            return
        if asked.due is not None and now > asked.due:
            self.misses += 1
        if len(self._recent) < _RECENT:
            self._recent.append(now - asked.started)
        else:
            self._recent[self._place] = now - asked.started
            self._place = (self._place + 1) % _RECENT

    def percentile(self, share):
        """Return the milliseconds within which that share of the last answers came, None where there are none."""
        seen = sorted(self._recent)
        return round(percentile(seen, share) * 1e3, 3) if seen else None

    def serves(self, now, rung, reason):
        """Note which rung answers; where it is another, the journal has a line, unless it had one just now."""
        self.reason = reason
        if rung == self.rung:
            return
        self._times[self.rung] = self._times.get(self.rung, 0.0) + max(0.0, now - self._since)
        before, self.rung, self._since = self.rung, rung, now
        self._unsaid += 1
        if self._said is None or now - self._said >= _LINE_SECONDS:
            log("rung", variant=rung, before=before, reason=reason, changes=self._unsaid)
            self._said, self._unsaid = now, 0

    def times(self, now):
        """Return {variant: seconds in which it was the one to answer}."""
        found = dict(self._times)
        found[self.rung] = found.get(self.rung, 0.0) + max(0.0, now - self._since)
        return found
