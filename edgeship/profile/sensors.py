"""What a profile says of a board's sensors, and of its power and heat where somebody measured them.

The device reads by these rows (`runtime/es_sensors.py`); docs/sensors.md says how, and what each kind means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeship.profile.types import Name, UnitWord, device_node
from edgeship.strictyaml import Strict

Kind = Literal[
    "temperature", "power", "energy", "throttle", "frequency", "load", "pressure", "battery", "memory"
]
Unit = Literal["celsius", "watts", "joules", "flags", "hertz", "ratio", "percent", "bytes"]
UNITS: Mapping[str, str] = {
    "temperature": "celsius",
    "power": "watts",
    "energy": "joules",
    "throttle": "flags",
    "frequency": "hertz",
    "load": "ratio",
    "pressure": "ratio",
    "battery": "percent",
    "memory": "bytes",
}
"""Kind of sensor -> the unit of its readings."""


class Trip(Strict):
    """A temperature at which the device itself acts."""

    at: float
    """Degrees Celsius."""
    effect: Literal["slower", "shutdown"]
    """What the device does there."""


class Sensor(Strict):
    """Something the device can be asked. A reading is a value or unknown; unknown is never zero."""

    name: Name
    """Name in metrics and profiles."""
    kind: Kind
    """What is measured. load: busy share of all cores; pressure: share of time that some task waited for a core."""
    path: str | None = None
    """File to read; `*` stands for a number that differs between devices, once at most in each name."""
    command: tuple[str, ...] | None = None
    """Command to run where there is no file."""
    times: str | None = None
    """Second file, found beside the first; both readings are multiplied (volts by amperes). `*`: what it stood for in
    the first one's name."""
    label: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Which of several matches it is: the text in a thermal zone's `type`, in a hwmon channel's `*_label` or of an
    INA3221's `rail_name_*`. Several: in order of preference."""
    unit: Unit
    """Unit after scaling."""
    scale: float = 1.0
    """Reading times scale, plus offset, is in `unit`."""
    offset: float = 0.0
    """Added after scaling."""
    bits: dict[str, Annotated[int, Field(ge=0, le=31)]] = Field(default_factory=dict)
    """For flags: meaning -> bit number. Bits that only tell of the past have no place here."""
    trips: tuple[Trip, ...] = ()
    """For temperatures: where the device slows down or stops."""
    device: Annotated[str, device_node] | None = None
    """Device node that reading it takes. The service's unit allows it, and no other."""
    group: UnitWord | None = None
    """Group that may open that node; the service joins it."""
    root_only: bool = False
    """Whether only root can read it: then the proof and the benchmark have it, and the service does not."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names it may have on the device, in order of preference."""
        return (self.label,) if isinstance(self.label, str) else self.label or ()

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Sensor:
        if (self.path is None) == (self.command is None):
            raise ValueError("a sensor is read from a 'path' or by a 'command': give one of them")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Sensor:
        if self.unit != UNITS[self.kind]:
            raise ValueError(f"a sensor of kind {self.kind} is in {UNITS[self.kind]}, not in {self.unit}")
        if (self.kind == "throttle") != bool(self.bits):
            raise ValueError("'bits' belong to kind throttle, and it needs them")
        if self.trips and self.kind != "temperature":
            raise ValueError(f"'trips' belong to kind temperature, not to {self.kind}")
        if self.path is None and (self.times or self.label):
            raise ValueError("'times' and 'label' belong to a 'path'")
        if self.path and not self.path.startswith("/"):
            raise ValueError(f"expected a path from the root, found '{self.path}'")
        crowded = next((part for part in (self.path or "").split("/") if part.count("*") > 1), None)
        if crowded:
            raise ValueError(f"a name holds one * at most, found '{crowded}'")
        return self


class Power(Strict):
    """What the whole board takes, for estimates where there is no meter."""

    idle_watts: Annotated[float, Field(gt=0)]
    """Watts of the whole board while it does nothing."""
    busy_watts: Annotated[float, Field(gt=0)]
    """Watts of the whole board while one core computes and the others idle."""
    basis: str
    """Which board, measured how."""

    @model_validator(mode="after")
    def _busy_takes_more(self) -> Power:
        if self.busy_watts <= self.idle_watts:
            raise ValueError("busy_watts must be more than idle_watts")
        return self


class Thermal(Strict):
    """How warm the board gets: steady temperature = ambient + watts x c_per_watt, reached with one time constant."""

    ambient_c: Annotated[float, Field(ge=-40, le=85)]
    """Degrees Celsius around the board."""
    c_per_watt: Annotated[float, Field(gt=0)]
    """Degrees Celsius above ambient for each watt of the whole board."""
    seconds: Annotated[float, Field(gt=0)]
    """Time constant: after it, 63 % of a step is there."""
    basis: str
    """Which board with which cooling, measured how."""
