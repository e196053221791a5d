"""The simulator's clock: one policy serves one trace on one board, event by event, as the service would.

One engine, first come first served, a queue with a limit. What the service reads from files (temperatures, throttle
flags, load) comes from the world's state; what it measures (seconds of a run) from the profile's figures, shaken by a
lognormal factor as wide as the profile's p95 says (of each of a cascade's two by itself), and stretched by what else
runs and by a slower clock.
"""

import math

from es_sensors_judge import Swing

TICK_SECONDS = 2.0
RATE_SECONDS = 2.0  # Time constant of the arrival rate that a policy is told.
_LEAST_FREE = 0.05
_P95 = 1.6448536269514722  # Of the normal distribution.
_FAR = float("inf")


def spread_of(rung):
    """Return the standard deviation of the logarithm of a rung's times, from its median and 95th percentile."""
    return math.log(max(1.0, rung.p95 / rung.seconds)) / _P95 if rung.seconds else 0.0


class Service(object):
    """What the service itself is: `queue`: most requests that may wait, `overhead`: seconds of a request in which the
    engine's thread decodes and encodes.
    """

    __slots__ = ("queue", "overhead")

    def __init__(self, queue=32, overhead=0.0):
        self.queue, self.overhead = queue, overhead


class Run(object):
    """One policy on one trace. `tally` is filled while it runs; see es_tally."""

    def __init__(self, profile, trace, world, policy, service, tally):
        self.profile, self.trace, self.world, self.policy = profile, trace, world, policy
        self.service, self.tally = service, tally
        self.waiting, self._head = [], 0
        self.running = None  # (requests, rung, when begun, threads, models that are asked)
        self._work, self._finish, self._begin_at = 0.0, _FAR, _FAR
        self._busy = 0.0
        self.rate, self._last = 0.0, None
        self._swing = Swing()  # What the service's thread of sensors makes of its readings.
        self._sigma = [spread_of(rung) for rung in profile.every]

    def run(self):
        """Run to the end of the trace and until the last request is answered; return the tally."""
        world, at, most = self.world, self.trace.at, len(self.trace.at)
        place, next_tick, end = 0, TICK_SECONDS, self.trace.seconds
        self._tick(0.0)  # The service looks at its sensors before the first request.
        while True:
            arrival = at[place] if place < most else _FAR
            change = world.next_change()
            now = min(arrival, self._finish, self._begin_at, change, next_tick)
            if arrival == _FAR and self.running is None and self._head == len(self.waiting):
                now = min(now, end)
                if world.now >= end:
                    return self.tally
            self._live(now, change)
            if now == self._finish:
                self._finished(now)
            elif now == self._begin_at:
                self._begin_at = _FAR
                self._dispatch(now)
            elif now == arrival:
                self._arrived(now, place)
                place += 1
            elif now == next_tick:
                next_tick += TICK_SECONDS
                self._tick(now)

    def _live(self, now, change):
        """Bring the world to `now`; what runs is stretched by what changed."""
        world = self.world
        cores = self.running[3] if self.running else 0
        span, slow = now - world.now, world.slow
        if self.running:
            self._busy += span
            self._work -= span / slow
        world.advance(now, cores)
        if now >= change and self.running and world.slow != slow and now < self._finish:
            self._finish = now + max(0.0, self._work) * world.slow

    def _arrived(self, now, number):
        gap = now - self._last if self._last is not None else None
        self._last = now
        if gap is not None:
            weight = 1.0 - math.exp(-gap / RATE_SECONDS)
            self.rate += weight * ((1.0 / gap if gap > 0 else self.rate) - self.rate)
        queued = len(self.waiting) - self._head + (len(self.running[0]) if self.running else 0)
        left = self.trace.deadlines[number]
        if queued > self.service.queue:
            self.tally.full(now)
        elif self.policy.admit(now, queued, self._crowding(), self._less(left, queued)) is not None:
            self.tally.refused(now)
        else:
            self.waiting.append((now, number))
            if self.running is None:
                self._dispatch(now)

    def _crowding(self):
        """Return the arrivals a second of the time that overhead leaves to the engine, as the service counts them."""
        return self.rate / max(_LEAST_FREE, 1.0 - self.rate * self.service.overhead)

    def _less(self, left, queued):
        """Return the seconds left for engines, as the service tells the governor."""
        return None if left is None else left - self.service.overhead * (queued + 1)

    def _dispatch(self, now):
        """Begin with what waits, refuse what the policy refuses, or wait for more where the policy gathers."""
        waiting = self.waiting
        while self._head < len(waiting):
            came, number = waiting[self._head]
            behind = len(waiting) - self._head - 1
            deadline = self.trace.deadlines[number]
            age = now - came
            left = None if deadline is None else deadline - age
            pause = self.policy.wait(behind + 1, age, left)
            if pause > 1e-9:
                self._begin_at = now + pause
                return
            rung, most, threads, reason = self.policy.dispatch(
                now, age, behind, self._crowding(), self._less(left, behind)
            )
            if rung >= 0:
                self._start(now, rung, max(1, min(most, behind + 1)), threads, reason)
                return
            self._head += 1
            self.tally.refused(now)
        del waiting[:]
        self._head = 0

    def _start(self, now, rung, count, threads, reason):
        taken = self.waiting[self._head : self._head + count]
        self._head += count
        if self._head > 4096:
            del self.waiting[: self._head]
            self._head = 0
        row = self.profile.every[rung]
        threads = max(1, min(row.threads, threads or row.threads))
        asked = self._asked(row, rung, taken, (now, threads))
        self._begin_at = _FAR
        self.running = (taken, rung, now, threads, asked)
        self._work = sum(work for _, work, _ in asked) + self.service.overhead * count
        self._finish = now + self._work * self.world.slow
        self.tally.begun(now, rung, reason, taken)

    def _asked(self, row, rung, taken, around):
        """Return [(rung, seconds of work at full speed, runs)] of the models that a run asks, one after the other; of a
        cascade two, unless nobody is unsure, or waiting for the big one would be too late (es_cascade). `around`: now
        and threads.
        """
        now, threads = around
        number, count = taken[0][1], len(taken)
        if not row.cascade:
            seconds = row.seconds_at(threads) * count
            if count > 1 and row.fixed and row.each:
                seconds = row.fixed + row.each * count
            return [(rung, self._shaken(seconds, rung, number), count)]
        little, big = (self.profile.index(name) for name in row.cascade[:2])
        first, second = (self.profile.every[place].seconds_at(threads) for place in (little, big))
        asked = [(little, self._shaken(first * count, little, number), count)]
        unsure = sum(self.trace.luck[n] < row.cascade[3] for _, n in taken)
        if unsure and not self._late(taken, now + (asked[0][1] + second * unsure) * self.world.slow):
            asked.append((big, self._shaken(second * unsure, big, number), unsure))
        return asked

    def _shaken(self, seconds, rung, number):
        return seconds * math.exp(self._sigma[rung] * self.trace.noise[number])

    def _late(self, taken, at):
        """Return whether an answer of a run that ends then misses its deadline; None where none has one."""
        late = None
        for came, number in taken:
            deadline = self.trace.deadlines[number]
            if deadline is not None:
                late = at - came > deadline or bool(late)
        return late

    def _finished(self, now):
        taken, rung, begun, _, asked = self.running
        self.running, self._finish = None, _FAR
        seconds, work = now - begun, sum(work for _, work, _ in asked)
        cascade = self.profile.every[rung].cascade
        for came, number in taken:
            deadline = self.trace.deadlines[number]
            cut = cascade and len(asked) == 1 and self.trace.luck[number] < cascade[3]
            self.tally.answered(
                now, came, asked[0][0] if cut else rung, deadline is not None and now - came > deadline
            )
        self.tally.ran(rung, seconds)
        for place, part, runs in asked:  # As the service tells what each model took.
            spent = seconds * part / work if work else seconds
            begun += spent
            self.policy.done(now, place, spent, runs, self._late(taken, begun))
        self._dispatch(now)

    def _tick(self, now):
        busy, self._busy = self._busy / TICK_SECONDS, 0.0
        self.policy.tick(now, min(1.0, busy), self._readings(busy))
        self.tally.look(now, self.world, len(self.waiting) - self._head, busy)

    def _readings(self, busy):
        """Return what the sensors of the board say: {name: (value, age in seconds, kind)}."""
        world, found, metered = self.world, {}, False
        self._swing.add(world.celsius, world.now)
        for row in self.profile.document.get("sensors") or ():
            kind = row.get("kind")
            value = None
            if kind == "temperature":
                value = world.celsius
            elif kind == "throttle":
                value = ("throttled",) if world.speed < 1.0 else ()
            elif kind == "pressure":
                value = world.pressure(busy > 0)
            elif kind == "load":
                value = min(1.0, busy + world.pressure(True))
            elif kind in ("power", "energy"):
                metered = True
                value = (
                    world.joules if kind == "energy" else world.watts(self.running[3] if self.running else 0)
                )
            found[row["name"]] = (value, None if value is None else 1.0, kind)
            if kind == "temperature":
                found[row["name"]] += (self._swing.degrees(),)
        if metered:
            found["meter"] = (world.joules, 0.0, "energy")
        return found
