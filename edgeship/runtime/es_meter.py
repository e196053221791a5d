"""Joules: from a sensor where there is one, else from the profile's watts, else the processor's seconds alone."""

import time

MEASURED, ESTIMATED, CPU_SECONDS = "measured", "estimated", "cpu-seconds"


class Meter(object):
    """Counts what was used since the first call of `joules`.

    `power`: {"idle_watts", "busy_watts"} of the profile (the whole board, idle and with one core at work) or None.
    `kind`: what is counted; `by`: the sensor that it comes from, None without one; `watts`: the last ones, None where
    unknown.
    """

    def __init__(self, sensors, power, processor=time.process_time):
        self._sensors, self._processor = sensors, processor
        power = power or {}
        self.idle_watts, self.busy_watts = power.get("idle_watts"), power.get("busy_watts")
        self._known = self.idle_watts is not None and self.busy_watts is not None
        self._at = self._seconds = self._counter = None
        self._pending = self._total = 0.0
        self.watts = self.by = None
        self.kind = ESTIMATED if self._known else CPU_SECONDS

    def joules(self, now, busy_seconds=None):
        """Return (joules, "measured"), or (joules, "estimated") by the profile's watts, or (processor seconds,
        "cpu-seconds") where no watts are known.

        `busy_seconds`: time so far in which the engine was at work; None: the process's own processor time. While a
        meter that was there is gone, the estimate or the last watts stand in: what is not measured is not free.
        """
        busy = self._processor() if busy_seconds is None else busy_seconds
        if self._at is None:
            self._at, self._seconds = now, busy
        elapsed, worked = max(0.0, now - self._at), max(0.0, busy - self._seconds)
        self._at, self._seconds = now, busy
        seen = self._read(now)
        if self.kind != MEASURED and seen is not None:
            # A sensor is read for the first time some moments after the start. Processor seconds are no joules.
            self._total = self._total if self.kind == ESTIMATED else 0.0
            self.kind, self.watts = MEASURED, None
        if self.kind == CPU_SECONDS:
            self._total += worked
        elif self.kind == ESTIMATED:
            self._total += self._guess(elapsed, worked)
            self.watts = self._guess(elapsed, worked) / elapsed if elapsed else self.watts
        elif seen is None:
            stand_in = max(self._guess(elapsed, worked), (self.watts or 0.0) * elapsed)
            self._total += stand_in
            self._pending += stand_in
        elif seen[0] == "power":
            self._total += seen[1] * elapsed
            self.watts = seen[1]
        else:
            self._count(seen[1], seen[2])
        return self._total, self.kind

    def _read(self, now):
        """Return (kind, value, when it was read) of the one meter that counts, or None while it is silent.

        The power of the whole board goes before a processor's own counter; whatever counted first goes on counting,
        because another one measures something else.
        """
        readings = self._sensors.readings(now)
        if self.by is None:
            for wanted in ("power", "energy"):
                names = [n for n in readings if readings[n][2] == wanted and readings[n][0] is not None]
                if names:
                    self.by = names[0]
                    break
        value, age, kind = readings.get(self.by, (None, None, ""))
        return None if value is None else (kind, value, now - age)

    def _guess(self, elapsed, worked):
        """Joules of a span by the profile's watts, or by the last ones seen."""
        if self._known:
            return self.idle_watts * elapsed + (self.busy_watts - self.idle_watts) * worked
        return (self.watts or 0.0) * elapsed

    def _count(self, value, at):
        last, self._counter = self._counter, (value, at)
        if last is None or at <= last[1]:
            self._counter = last or self._counter
            return
        # The counter went on while it could not be read: what stood in for it is taken off again, down to nothing.
        self._total += max(0.0, value - last[0] - self._pending)
        self._pending = 0.0
        self.watts = (value - last[0]) / (at - last[1])
