"""What a simulated run came to: answers in time and right, energy, heat, time in each rung."""

from es_metrics import percentile

_POINTS = 180
"""Points of a curve that is kept for plots: more than a plot has pixels for would not be seen."""


class Tally(object):
    """Counts while a run goes on; `document()` says what it came to."""

    def __init__(self, profile, seconds):
        self._profile, self._seconds = profile, float(seconds)
        every = len(profile.every)
        self._answers, self._in_time, self._busy = [0] * every, [0] * every, [0.0] * every
        self._late = self._refused = self._full = self._changes = 0
        self._latencies, self._reasons = [], {}
        self._rung, self._since, self._held = None, 0.0, [0.0] * every
        self._curve, self._gap = [], max(2.0, seconds / _POINTS)
        self._next, self._longest = 0.0, 0
        self.world = None

    def full(self, now):
        """A request found the queue full."""
        self._full += 1

    def refused(self, now):
        """A request was refused by the policy."""
        self._refused += 1

    def begun(self, now, rung, reason, taken):
        """A run began."""
        self._reasons[reason] = self._reasons.get(reason, 0) + len(taken)
        if rung != self._rung:
            if self._rung is not None:
                self._held[self._rung] += now - self._since
                self._changes += 1
            self._since, self._rung = (now if self._rung is not None else 0.0), rung

    def answered(self, now, came, rung, missed):
        """A request was answered, `missed`: too late."""
        self._answers[rung] += 1
        self._latencies.append(now - came)
        if missed:
            self._late += 1
        else:
            self._in_time[rung] += 1

    def ran(self, rung, seconds):
        """A run took so long."""
        self._busy[rung] += seconds

    def look(self, now, world, waiting, busy):
        """Note where things stand, for plots."""
        self.world = world
        self._longest = max(self._longest, waiting)
        if now >= self._next:
            self._next = now + self._gap
            watts = world.joules
            self._curve.append((now, self._rung, world.celsius, watts, self._longest, busy, world.speed))
            self._longest = 0

    def close(self, world):
        """Note the end."""
        self.world = world
        if self._rung is not None:
            self._held[self._rung] += max(0.0, world.now - self._since)

    def document(self):
        """Return the figures of the run, JSON."""
        world, rungs = self.world, self._profile.every
        values = worths(self._profile)
        answered = sum(self._answers)
        in_time = sum(self._in_time)
        asked = answered + self._refused + self._full
        right = sum(count * value for count, value in zip(self._in_time, values))
        ordered = sorted(self._latencies)
        return {
            "requests": asked,
            "answered": answered,
            "in_time": in_time,
            "late": self._late,
            "refused": self._refused,
            "queue_full": self._full,
            "missed_share": _share(self._late + self._refused + self._full, asked),
            "right": right,
            "right_share": _share(right, asked),
            "joules": world.joules,
            "watts": world.joules / world.now if world.now else 0.0,
            "joules_per_right": world.joules / right if right else None,
            "latency_ms": {
                name: None if not ordered else 1e3 * percentile(ordered, share)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
            "busy_share": sum(self._busy) / world.now if world.now else 0.0,
            "throttled_seconds": world.throttled,
            "hottest_c": world.hottest,
            "rung_seconds": {r.name: held for r, held in zip(rungs, self._held)},
            "rung_answers": {r.name: count for r, count in zip(rungs, self._answers)},
            "rung_changes": self._changes,
            "reasons": dict(sorted(self._reasons.items())),
        }

    def curve(self):
        """Return columns of the run over time: {"seconds", "rung", "celsius", "watts", "queue", "load", "speed"}."""
        names = ("seconds", "rung", "celsius", "watts", "queue", "load", "speed")
        columns = {name: [] for name in names}
        last_at = last_joules = 0.0
        for at, rung, celsius, joules, queue, load, speed in self._curve:
            watts = (joules - last_joules) / (at - last_at) if at > last_at else 0.0
            last_at, last_joules = at, joules
            values = (at, rung, celsius, watts, queue, load, speed)
            for name, value in zip(names, values):
                columns[name].append(round(value, 4) if isinstance(value, float) else value)
        return columns


def worths(profile):
    """Return the share of right answers that each rung gives: what was measured, 1 for all where nothing was."""
    if profile.basis == "order":
        return [1.0] * len(profile.every)
    return [rung.value for rung in profile.every]


def _share(part, whole):
    return part / whole if whole else 0.0
