"""`bench --soak`: one run after another for as long as is wanted, with a line a minute of what became of it: latency,
temperature, frequency, throttling, watts. Whatever ends it, what was measured until then is there.
"""

import array
import json
import signal
import time

from es_bench import BENCH_SCHEMA
from es_energy import sensors_of
from es_errors import CannotRun, EngineFailed
from es_meter import Meter
from es_metrics import percentile
from es_model import Model

_LOOK_SECONDS = 1.0
# Times that are kept of a period: the 99th percentile of so many is known to a tenth of a per cent of the runs, and
# they take half a megabyte on a device whose memory is being watched.
_MOST_TIMES = 65536


class _Period(object):
    """What is gathered between two lines."""

    def __init__(self, begun):
        self.begun, self.times, self.runs, self._drawn = begun, array.array("d"), 0, 1
        self.temperatures, self.frequencies, self.flags = [], [], set()
        self.throttled = self.joules = 0.0

    def ran(self, seconds):
        """Take a run. Of more than can be kept each has the same chance to be: of the whole period, not of its
        beginning (algorithm R: Vitter, "Random Sampling with a Reservoir", 1985).
        """
        self.runs += 1
        if len(self.times) < _MOST_TIMES:
            self.times.append(seconds)
            return
        # Numerical Recipes' generator; its high bits are the good ones. Importing `random` takes memory.
        self._drawn = (self._drawn * 1664525 + 1013904223) & 0xFFFFFFFF
        place = (self._drawn * self.runs) >> 32
        if place < _MOST_TIMES:
            self.times[place] = seconds

    def look(self, readings, seconds):
        """Take the readings of the last `seconds`."""
        for value, _, kind in readings.values():
            if value is None:
                continue
            if kind == "temperature":
                self.temperatures.append(value)
            elif kind == "frequency":
                self.frequencies.append(value)
            elif kind == "throttle":
                self.flags.update(value)
                self.throttled += seconds if value else 0.0

    def line(self, at, now, kinds, by):
        """Return the line of this period; null for what nobody could tell."""
        times = sorted(self.times)
        seconds = now - self.begun
        return {
            "at": round(at, 1),
            "seconds": round(seconds, 3),
            "runs": self.runs,
            "p50_ms": round(percentile(times, 0.5) * 1e3, 4) if times else None,
            "p99_ms": round(percentile(times, 0.99) * 1e3, 4) if times else None,
            "temperature_c": round(max(self.temperatures), 2) if self.temperatures else None,
            "frequency_hz": round(sum(self.frequencies) / len(self.frequencies))
            if self.frequencies
            else None,
            "throttled_seconds": round(self.throttled, 1) if "throttle" in kinds else None,
            "flags": sorted(self.flags),
            "watts": round(self.joules / seconds, 3) if by != "cpu-seconds" and seconds else None,
        }


class _Stop(object):
    """Whether somebody asked for the end: SIGTERM or SIGINT. A lost terminal is none."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _ask(self, _number, _frame):
        self.asked = True


def soak(release, name, seconds, period, log):
    """Return the edgeship.bench/1 document with its `soak` part, after `seconds` or when asked to end. Each `period`
    seconds a line of JSON goes to the file `log` (None: nowhere).
    """
    stop = _Stop()
    sensors, power = sensors_of(release)
    meter = Meter(sensors, power)
    sensors.start(_LOOK_SECONDS)
    try:
        model = Model(release, name)
        try:
            cold = model.warm_up(3)[0]
            minutes, ended = _run(model, seconds, period, (stop, sensors, meter, log))
            info = model.engine.info()
        finally:
            model.close()
    except EngineFailed as error:
        raise CannotRun("engine-failed", str(error))
    finally:
        sensors.stop()
    return _document(release, model, info, cold, (minutes, ended, seconds, meter))


def _run(model, seconds, period, around):
    stop, sensors, meter, log = around
    inputs, minutes = model.zeros(), []
    begun = looked = now = time.monotonic()
    before = meter.joules(now)[0]
    current = _Period(now)
    while not stop.asked and now - begun < seconds:
        model.fresh()
        started = time.monotonic()
        model.engine.run(inputs)
        now = time.monotonic()
        current.ran(now - started)
        closes = now - current.begun >= period or stop.asked or now - begun >= seconds
        if closes or now - looked >= _LOOK_SECONDS:
            readings = sensors.readings(now)
            current.look(readings, now - looked)
            looked = now
            total = meter.joules(now)[0]
            current.joules, before = current.joules + max(0.0, total - before), total
        if closes:
            kinds = {kind for _, age, kind in sensors.readings(now).values() if age is not None}
            minutes.append(current.line(now - begun, now, kinds, meter.kind))
            _write(log, minutes[-1])
            current = _Period(now)
    return minutes, "stopped" if stop.asked and now - begun < seconds else "done"


def _write(log, line):
    if log is None:
        return
    try:
        with open(log, "a") as stream:
            stream.write(json.dumps(line, sort_keys=True) + "\n")
    except OSError:
        pass  # A full disk costs the line, not the soak: the document at the end has it.


def _document(release, model, info, cold, what):
    minutes, ended, wanted, meter = what
    spent = sum(line["seconds"] for line in minutes)
    runs = sum(line["runs"] for line in minutes)
    medians = sorted(line["p50_ms"] for line in minutes if line["p50_ms"] is not None)
    tails = [line["p99_ms"] for line in minutes if line["p99_ms"] is not None]
    throttled = [line["throttled_seconds"] for line in minutes if line["throttled_seconds"] is not None]
    heat = [line["temperature_c"] for line in minutes if line["temperature_c"] is not None]
    return {
        "schema": BENCH_SCHEMA,
        "release": release.id,
        "variant": model.name,
        "engine": info,
        "threads": release.engine["threads"],
        "runs": runs,
        "seconds": round(spent, 3),
        "load_ms": round(model.load_ms, 3),
        "latency_ms": {"cold": round(cold, 4), "p50": percentile(medians, 0.5) if medians else None},
        "soak": {
            "wanted_seconds": wanted,
            "ended": ended,
            "minutes": minutes,
            "worst_p99_ms": max(tails) if tails else None,
            "throttled_seconds": round(sum(throttled), 1) if throttled else None,
            "temperature_c": {"first": heat[0], "highest": max(heat), "last": heat[-1]} if heat else None,
            "watts_by": meter.kind,
        },
    }
