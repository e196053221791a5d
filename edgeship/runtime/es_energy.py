"""What a stretch of work took: joules from a meter or from the profile's watts, and processor seconds."""

import os
import time

from es_meter import CPU_SECONDS, ESTIMATED, MEASURED, Meter
from es_sensors import Sensors

# For a release that names no sensors: what a Linux machine may have.
ANY_LINUX = (
    {
        "name": "package-energy",
        "kind": "energy",
        "path": "/sys/class/powercap/intel-rapl:0/energy_uj",
        "scale": 1e-6,
    },
    {
        "name": "soc-temperature",
        "kind": "temperature",
        "path": "/sys/class/thermal/thermal_zone*/temp",
        "scale": 1e-3,
    },
    {
        "name": "cpu-frequency",
        "kind": "frequency",
        "path": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "scale": 1e3,
    },
)
_EVERY = 0.2
# A counter of energy is believed when it has moved; RAPL's does each millisecond.
_FIRST = 0.05


def sensors_of(release):
    """Return (the Sensors of a release, the profile's watts or None). EDGESHIP_SENSOR_ROOT: a folder for `/`, in tests
    and labs.
    """
    governor = release.service.get("governor")
    governor = governor if isinstance(governor, dict) else {}
    rows = governor.get("sensors") or ANY_LINUX
    sensors = Sensors(rows, root=os.environ.get("EDGESHIP_SENSOR_ROOT") or "/")
    return sensors, governor.get("power")


class Energy(object):
    """Follows the meter of a release while work goes on in the caller's thread.

    `due`: when `look` is to be called next, on the clock of time.perf_counter.
    """

    def __init__(self, release):
        self.sensors, self._power = sensors_of(release)
        self.sensors.period = _EVERY
        self.meter = Meter(self.sensors, self._power)
        self.idle_seconds = self.idle_watts = None
        self.due = 0.0
        self._look(fresh=True)
        if not self.measured:
            time.sleep(_FIRST)
            self._look(fresh=True)

    @property
    def measured(self):
        """Whether a meter answers."""
        return self.meter.kind == MEASURED

    def _look(self, fresh=False):
        now = time.monotonic()
        self.sensors.poll(now, fresh=fresh)
        total = self.meter.joules(now)[0]
        self.due = time.perf_counter() + _EVERY
        return now, total, time.process_time()

    def look(self):
        """Read the meter, as it must be now and then for its watts to add up."""
        self._look()

    def idle(self, seconds):
        """Measure for some seconds what is used while nothing is done here."""
        begun, before, _ = self._look(fresh=True)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            time.sleep(min(_EVERY, max(0.0, until - time.perf_counter())))
            self.look()
        ended, after, _ = self._look(fresh=True)
        self.idle_seconds = ended - begun
        if self.measured and ended > begun:
            self.idle_watts = (after - before) / (ended - begun)

    def begin(self):
        """Begin the stretch of work."""
        self._begun = self._look(fresh=True)

    def end(self, runs):
        """Return what `runs` runs since `begin` took, as docs/sensors.md describes it."""
        now, total, processor = self._look(fresh=True)
        seconds, joules, worked = now - self._begun[0], total - self._begun[1], processor - self._begun[2]
        return energy_entry(self, runs, (seconds, joules, worked))


def energy_entry(energy, runs, used):
    """Return the `energy` entry of a benchmark. `used`: (seconds, joules or processor seconds, processor seconds)."""
    seconds, joules, worked = used
    meter = energy.meter
    by_counter = energy.measured and energy.sensors.readings().get(meter.by, ("", "", ""))[2] == "energy"
    entry = {
        "by": meter.kind,
        "meter": meter.by or {"unavailable": _no_meter(energy.sensors)},
        "covers": "processor" if meter.kind == CPU_SECONDS or by_counter else "board",
        "idle": _idle(energy),
        "cpu_seconds_per_run": worked / runs,
    }
    if meter.kind == CPU_SECONDS:
        why = "no meter, and the target's profile knows no watts: cpu_seconds_per_run stands in"
        return dict(entry, watts={"unavailable": why}, joules_per_run={"unavailable": why})
    entry["watts"] = joules / seconds if seconds else {"unavailable": "nothing ran"}
    if meter.kind == ESTIMATED:
        more = energy.meter.busy_watts - energy.meter.idle_watts
        return dict(entry, joules_per_run=more * worked / runs)
    above = joules - (energy.idle_watts or 0.0) * seconds
    if above <= 0:
        text = "%.2f W at work, %.2f W idle: too little difference for this meter"
        return dict(entry, joules_per_run={"unavailable": text % (joules / seconds, energy.idle_watts)})
    return dict(entry, joules_per_run=above / runs)


def _idle(energy):
    if energy.meter.kind == ESTIMATED:
        return {"seconds": 0.0, "watts": energy.meter.idle_watts, "subtracted": True}
    if energy.idle_watts is None:
        why = "no meter" if energy.idle_seconds else "not measured: --idle SECONDS does, before the run"
        return {"unavailable": why}
    return {"seconds": round(energy.idle_seconds, 3), "watts": energy.idle_watts, "subtracted": True}


def _no_meter(sensors):
    """Return why no sensor of power or energy answers."""
    reasons = sensors.reasons()
    found = [
        "%s: %s" % (name, reasons.get(name, "unknown"))
        for name, (value, _, kind) in sensors.readings().items()
        if kind in ("power", "energy") and value is None
    ]
    return "; ".join(found) or "the target's profile names none"
