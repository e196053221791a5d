"""The sensors of a device: read by a thread of their own, asked by the loop without waiting.

A reading is a value, or None for unknown; unknown is never zero. A file that blocks or a command that hangs makes
that one sensor unknown: another thread goes on with the rest.
"""

import os
import threading
import time

from es_sensors_find import below, find, read_text, run
from es_sensors_judge import Busy, Counter, Judge, Load, Swing
from es_sensors_text import answer, charge, flags, memory, power, pressure, processor_time

KINDS = (
    "temperature",
    "throttle",
    "power",
    "energy",
    "load",
    "pressure",
    "frequency",
    "battery",
    "memory",
)
# Seconds between two readings, where it is more than what `start` asks for.
_EVERY = {"memory": 5.0, "battery": 10.0, "pressure": 2.0}
_COMMAND_EVERY, _LONGEST_PAUSE = 2.0, 30.0
# A reading that takes longer hangs. Commands have a limit of their own, which is shorter.
_HUNG_SECONDS = 5.0
_READERS = {
    "temperature": answer,
    "power": power,
    "energy": answer,
    "frequency": answer,
    "pressure": pressure,
    "battery": charge,
    "memory": memory,
}


class _Row(object):
    """One sensor: how it is read, and what it said last."""

    __slots__ = (
        "name",
        "kind",
        "path",
        "command",
        "times",
        "labels",
        "scale",
        "offset",
        "bits",
        "judge",
        "swing",
        "counter",
        "found",
        "due",
        "failures",
        "hangs",
        "value",
        "at",
        "why",
    )

    def __init__(self, row):
        self.name, self.kind = str(row["name"]), str(row["kind"])
        self.path, self.command, self.times = row.get("path"), row.get("command"), row.get("times")
        labels = row.get("label")
        self.labels = [labels] if isinstance(labels, str) else list(labels or ())
        self.scale, self.offset = float(row.get("scale", 1.0)), float(row.get("offset", 0.0))
        self.bits = row.get("bits") or {}
        self.judge, self.swing = Judge(self.kind), Swing()
        self.counter = {"energy": Counter, "load": Busy}.get(self.kind, lambda: None)()
        self.found, self.due, self.failures, self.hangs = None, 0.0, 0, False
        self.value, self.at, self.why = None, None, "not read yet"

    def every(self, period):
        """Return the seconds between two readings."""
        return max(period, _COMMAND_EVERY if self.command else _EVERY.get(self.kind, 0.0))


class Sensors(object):
    """The sensors that a profile names. `root`: a folder that stands for `/`, in tests."""

    def __init__(self, rows, root="/", clock=time.monotonic):
        self._root, self._clock = root, clock
        self._rows = [_Row(row) for row in rows]
        self._cores = os.cpu_count() or 1
        self.period, self._generation, self._stop = 1.0, 0, threading.Event()
        self._reading, self._thread = None, None
        self._load, self._busy = Load(), Busy()
        self._lock = threading.Lock()

    def start(self, period=1.0):
        """Begin to read, every `period` seconds, in a thread that ends with the process or by `stop`."""
        self.period = period
        self._begin()

    def stop(self):
        """End the thread; does not wait for it."""
        self._generation += 1
        self._stop.set()

    def _begin(self):
        self._generation += 1
        self._stop = threading.Event()
        arguments = (self._generation, self._stop)
        self._thread = threading.Thread(target=self._main, args=arguments, name="sensors", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            pass  # No thread is to be had: all readings grow old and become unknown, and the service goes on.

    def _main(self, generation, stop):
        while self._generation == generation:
            self.poll(generation=generation)
            stop.wait(self.period)

    def poll(self, now=None, generation=None, fresh=False):
        """Read all that is due once, in the caller's thread; `fresh`: what is not due too, unless it failed."""
        self._watch_load(self._clock() if now is None else now)
        for row in self._rows:
            at = self._clock() if now is None else now
            if row.hangs or (at < row.due and not (fresh and not row.failures)):
                continue
            self._reading = reading = (row, at)
            self._read(row, at)
            with self._lock:
                if (
                    self._reading is reading
                ):  # Or it would seem to hang at the next look, minutes after a `stop`.
                    self._reading = None
                if generation is not None and self._generation != generation:
                    row.hangs = False  # Another thread reads the rest since; this one came back after all.
                    return

    def _read(self, row, now):
        try:
            raw = self._raw(row)
            why = self._take(row, raw, now)
            row.failures = 0
        except OSError as error:
            why = "%s: %s" % (error.filename, error.strerror) if error.filename else str(error)
            row.failures, row.found = row.failures + 1, None
        except (
            Exception
        ) as error:  # Whatever a driver says: it must not end the thread that reads the others.
            why = "cannot be read: %s" % (error or type(error).__name__)
            row.failures, row.found = row.failures + 1, None
        row.why = why
        pause = row.every(self.period)
        row.due = now + (min(pause * 2 ** min(row.failures, 10), _LONGEST_PAUSE) if row.failures else pause)
        if row.failures:
            row.due = max(row.due, now + pause)
        row.due -= 0.01  # A thread that wakes a little early must not skip a turn.

    def _raw(self, row):
        """Return what a sensor says, before scaling."""
        if row.command:
            return self._parse(row, run(list(row.command)))
        if row.found is not None:
            return self._file(row, row.found)
        if not row.path:
            raise ValueError("the row names neither a path nor a command")
        wrong = None
        for found in find(row.path, row.labels, row.times, self._root):
            try:
                raw = self._file(row, found)
            except (OSError, ValueError) as error:
                wrong = error
                continue
            row.found = found
            return raw
        raise wrong

    def _file(self, row, found):
        file, second = found
        if row.kind == "energy":
            try:
                most = answer(read_text(os.path.join(os.path.dirname(file), "max_energy_range_uj")))
            except (OSError, ValueError):
                most = None
            return answer(read_text(file)), most
        raw = self._parse(row, read_text(file))
        return raw * answer(read_text(second)) if second else raw

    def _parse(self, row, text):
        if row.kind == "throttle":
            return flags(text, row.bits)
        if row.kind == "load":
            if "avg10=" in text:
                return pressure(text)  # How profiles named /proc/pressure before it was a kind of its own.
            return processor_time(text) if "cpu" in text or "usage_usec" in text else answer(text)
        if row.kind not in _READERS:
            raise ValueError("kind %r is not known here" % row.kind)
        return _READERS[row.kind](text)

    def _take(self, row, raw, now):
        """Judge a reading and keep it; return "" or why it is unknown."""
        if row.kind == "throttle":
            value, why = raw, ""
        elif row.kind == "energy":
            why = row.counter.add(raw[0], raw[1], row.scale, now)
            value = row.counter.joules
        else:
            if isinstance(raw, tuple):
                raw = row.counter.add(raw[0], raw[1], now, self._cores)
                if raw is None:
                    return "a share needs two readings"
            value = raw * row.scale + row.offset
            why = row.judge.refuse(value, raw, now, self._load.now)
            if row.kind == "temperature" and not why:
                row.swing.add(value, now)
        if not why:
            row.value, row.at = value, now
        return why

    def _watch_load(self, now):
        try:
            busy, total = processor_time(read_text(below(self._root, "/proc/stat")))
        except (OSError, ValueError, IndexError):
            self._load.add(None, now)
            return
        share = self._busy.add(busy, total, now, self._cores)
        if share is not None:
            self._load.add(share, now)

    def readings(self, now=None, swings=False):
        """Return {name: (value or None, seconds since the last good reading or None, kind)}; with `swings` a
        temperature has a fourth item, how far the truth may be above it (degrees).

        Units: celsius, watts, joules (since `start`), hertz, bytes, per cent (battery), shares 0..1 (load, pressure);
        throttle: a tuple of the names that are set now. Never waits, and costs a few microseconds.
        """
        now = self._clock() if now is None else now
        self._look_after(now)
        found = {}
        for row in self._rows:
            age = None if row.at is None else max(0.0, now - row.at)
            fresh = age is not None and age <= max(5.0, 3 * row.every(self.period))
            found[row.name] = (row.value if fresh and not row.why else None, age, row.kind)
            if swings and row.kind == "temperature":
                found[row.name] += (row.swing.degrees(),)
        return found

    def reasons(self):
        """Return {name: why the sensor is unknown}, of those that are."""
        return {row.name: row.why for row in self._rows if row.why}

    def _look_after(self, now):
        """Where the thread hangs in a reading, leave it there and have another one read the rest."""
        reading = self._reading
        if self._thread is None or reading is None or now - reading[1] <= _HUNG_SECONDS:
            return
        with self._lock:
            if self._reading is not reading:
                return
            row = reading[0]
            row.hangs, row.why = True, "hangs: no answer within %g s" % _HUNG_SECONDS
            self._reading = None
            self._begin()
