"""The world of the simulator: a board's power, its heat, what the heat costs, and what else runs on it.

Heat is one thermal resistance and one capacity: `T' = (ambient + c_per_watt * P - T) / seconds`, solved exactly
between two moments at which anything changes. With `die_c_per_watt` and `die_seconds` the die is a stage of its own
(a Foster network of two): of all resistance that part is the die's, which follows the power within seconds, and the
sensor is on the die. Power is `idle + (busy - idle) * cores * speed^2`: of the dynamic power
`C V^2 f` the voltage follows the clock over part of its range only, so that the exponent lies between 1 and 3.
"""

import math

# Seconds between two looks of the board's own thermal control, and what it takes off the clock with each.
STEP_SECONDS = 0.25
_LOOK_SECONDS, _NOTCH, _HYSTERESIS_C = 1.0, 0.1, 2.0
_EXPONENT = 2.0
# The lowest clock, as a share of the highest: 600 of 1500 MHz (raspberrypi.com documentation, frequency management).
LEAST_SPEED = 0.4


class World(object):
    """A board from second 0. `board`: {"power": {"idle_watts", "busy_watts"}, "thermal": {"ambient_c", "c_per_watt",
    "seconds", perhaps "die_c_per_watt", "die_seconds"}, "trips": [celsius, ...]}; `ambient`: [(second, celsius), ...],
    straight lines between them; `others`: [(from, to, share, cores), ...]: what other processes take of the engine's
    core, and how many cores they keep busy.

    Attributes: `now`, `celsius`, `speed` (clock, share of the highest), `slow` (seconds that one second of work takes),
    `joules` (of the whole board), `throttled` (seconds below full speed), `hottest` (celsius).
    """

    def __init__(self, board, ambient=None, others=()):
        power, thermal = board["power"], board["thermal"]
        self._idle = float(power["idle_watts"])
        self._core = float(power["busy_watts"]) - self._idle
        self._ambient = sorted(ambient or [(0.0, thermal["ambient_c"])])
        self._ohm, self._tau = float(thermal["c_per_watt"]), float(thermal["seconds"])
        self._die_ohm = min(self._ohm, float(thermal.get("die_c_per_watt") or 0.0))
        self._die_tau = float(thermal.get("die_seconds") or 0.0)
        self._trips = sorted(board.get("trips") or ())
        self._least = float(board.get("least_speed") or LEAST_SPEED)
        self._others = list(others)
        self._edges = sorted({edge for row in self._others for edge in row[:2] if edge > 0})
        self._share, self._cores = self._taken(0.0)
        self.now, self.joules, self.throttled, self.speed = 0.0, 0.0, 0.0, 1.0
        self._next_step, self._next_look, self._edge = STEP_SECONDS, _LOOK_SECONDS, 0
        self._around = self.ambient(0.0)
        # A board that has been idle, among its neighbours, for long.
        self._die = self._die_ohm * self.watts(0)  # Degrees of the die above the board.
        self.celsius = self.hottest = self._around + self._ohm * self.watts(0)
        self.slow = 1.0 / (1.0 - self._share)

    def watts(self, cores):
        """Return the power of the whole board now, with `cores` of the service at work."""
        own = cores * (1.0 - self._share)
        return self._idle + self._core * (own + self._cores) * self.speed**_EXPONENT

    def marginal(self, cores=1):
        """Return the watts that the service's own work adds at full speed."""
        return self._core * cores

    def ambient(self, at):
        """Return the celsius around the board at a second."""
        points = self._ambient
        if at <= points[0][0]:
            return points[0][1]
        for (begun, low), (ended, high) in zip(points, points[1:]):
            if at < ended:
                return low + (high - low) * (at - begun) / (ended - begun)
        return points[-1][1]

    def joules_below_trips(self, seconds):
        """Return the most joules that the board can use in so many seconds from now and stay below its lowest
        trip; None where it has none.

        The integral of the heat equation: what stays in the board and what it gives off at the trip, all the time. Of
        two stages all could stay in the slow one.
        """
        if not self._trips or not self._ohm:
            return None
        trip, steps = self._trips[0], max(1, int(math.ceil(seconds)))
        span = seconds / steps
        middle = (self.ambient(self.now + (n + 0.5) * span) for n in range(steps))
        given_off = sum(max(0.0, trip - around) * span / self._ohm for around in middle)
        return given_off + max(0.0, trip - self.celsius + self._die) * self._tau / self._ohm

    def pressure(self, waiting):
        """Return the share of time in which a task that wants the processor waits for it: PSI's `some`."""
        return self._share if waiting else 0.0

    def next_change(self):
        """Return the next second at which speed or share may change."""
        if self._edge < len(self._edges):
            return min(self._next_step, self._edges[self._edge])
        return self._next_step

    def advance(self, to, cores):
        """Live until second `to` with `cores` of the service at work; never past `next_change()`."""
        span = to - self.now
        if span > 0:
            watts = self.watts(cores)
            self._warm(watts, span)
            self.joules += watts * span
            if self.speed < 1.0:
                self.throttled += span
            if self.celsius > self.hottest:
                self.hottest = self.celsius
            self.now = to
        if to >= self.next_change():
            self._change()

    def _warm(self, watts, span):
        goal = self._around + (self._ohm - self._die_ohm) * watts
        board = goal + (self.celsius - self._die - goal) * math.exp(-span / self._tau)
        if self._die_ohm:
            above = self._die_ohm * watts
            fades = math.exp(-span / self._die_tau) if self._die_tau > 0 else 0.0
            self._die = above + (self._die - above) * fades
        self.celsius = board + self._die

    def _change(self):
        while self._edge < len(self._edges) and self._edges[self._edge] <= self.now:
            self._edge += 1
            self._share, self._cores = self._taken(self.now)
        if self.now >= self._next_step:
            self._next_step += STEP_SECONDS
            self._around = self.ambient(self.now)
            if self.now >= self._next_look:
                self._next_look += _LOOK_SECONDS
                self._control()
        self.slow = 1.0 / ((1.0 - self._share) * self.speed)

    def _control(self):
        """The firmware's control: a notch down for every trip that is passed, a notch up below all of them."""
        passed = sum(self.celsius >= trip for trip in self._trips)
        if passed:
            self.speed = max(self._least, self.speed - _NOTCH * passed)
        elif self.speed < 1.0 and self.celsius < self._trips[0] - _HYSTERESIS_C:
            self.speed = min(1.0, round(self.speed + _NOTCH, 6))

    def _taken(self, at):
        """Return (share of the engine's core, cores) that others take at a second."""
        share = cores = 0.0
        for begun, ended, part, busy in self._others:
            if begun <= at < ended:
                share, cores = share + part, cores + busy
        return min(share, 0.95), cores
