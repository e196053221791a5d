"""Where devices are, what they say of themselves, and what a deployment said."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeship.values.figures import Figure, Unavailable
from edgeship.values.results import GateResult, Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where a device is: `user@host[:port]` over SSH, or `local:DIR`."""

    text: str
    """As the user wrote it; the name in reports."""
    kind: Literal["ssh", "local"]
    user: str | None = None
    hostname: str | None = None
    port: int = 22
    directory: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a device says of itself. None or empty: it could not be told (never guessed)."""

    hostname: str
    machine: str
    """uname -m: x86_64, aarch64, armv7l, ..."""
    libc: Literal["glibc", "musl"] | None
    libc_version: str | None
    python_version: str | None
    """X.Y.Z of `python3` on the PATH."""
    userland_bits: int | None
    """32 or 64: a 64-bit kernel may carry a 32-bit userland."""
    model_name: str | None
    """/proc/device-tree/model or the CPU's name."""
    cpu_count: int | None
    cpu_flags: tuple[str, ...]
    memory_mb: int | None
    disk_free_mb: int | None
    file_system: str | None
    """File-system type under the device root (ext4, tmpfs, overlay, ...)."""
    init: Literal["systemd", "openrc", "other"] | None
    user: str | None
    uid: int | None
    sudo: bool | None
    """Whether sudo works without a password."""
    boot_id: str | None
    clock_unix: int | None
    os_release: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    """Accelerators seen: usb:1a6e:089a, pci:1ac1:089a, /dev/apex_0, /dev/dri/renderD128, /dev/nvhost-gpu, ..."""
    sensors: dict[str, str] = field(default_factory=dict)
    """Sensor name -> path that could be read."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Shared library or Python package of interest -> version or path (libedgetpu, numpy, tflite_runtime, ...)."""


class Goal(enum.Enum):
    """How far a deployment should go. Each includes the ones before it."""

    STAGE = "stage"
    TEST = "test"
    ACTIVATE = "activate"


DeployState = Literal[
    "committed", "staged", "tested", "unchanged", "reverted", "failed", "unknown", "degraded", "planned"
]
EXIT_CODE_OF_STATE: dict[str, int] = {
    "committed": 0,
    "staged": 0,
    "tested": 0,
    "unchanged": 0,
    "planned": 0,
    "failed": 1,
    "reverted": 3,
    "unknown": 4,
    "degraded": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One step of a deployment, as it went."""

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """How golden vectors went on a device."""

    vectors: int
    failed: int
    worst: str
    """The largest deviation, in words with a unit."""
    also: tuple[str, ...] = ()
    """The other variants of the release whose golden vectors hold on the device, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport:
    """One variant of a ladder as the device timed it."""

    variant: str
    latency_ms: Latency
    threads: int
    """How many serve it best there."""
    memory_bytes: Figure
    """What loading it takes."""
    used: bool
    reason: str = ""
    """Why it is not used there; empty: it is."""
    within: str = ""
    """The cascade of two that it serves in, and nowhere else; empty: it answers by itself, or is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """What ran golden vectors on a device."""

    name: str
    version: str
    delegate: str
    delegated: str
    """Whether the delegate took part: yes, no, inapplicable (none was asked for, or it has no kernel for the model),
    unknown."""
    detail: str
    """How that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployReport:
    """What one device said. A failed host is a value like this, not an exception."""

    host: str
    app: str
    target: str
    release: str
    from_release: str | None
    state: DeployState
    bytes_sent: int
    seconds: float
    steps: tuple[StepReport, ...]
    golden: GoldenReport | Unavailable
    reason: str
    hint: str | None = None
    serving: str | None = None
    """Where the service listens on the device (http://127.0.0.1:8500, unix:/...), once it serves."""
    engine: EngineReport | Unavailable
    latency_ms: Latency | Unavailable
    """Of the staged release, on the device, before it was switched to."""
    gates: tuple[GateResult, ...] = ()
    """Limits that were set for the device, and what it measured."""
    ladder: tuple[RungReport, ...] | Unavailable = ()
    """The variants that may serve, quickest first; none of a release that has one variant."""

    @property
    def exit_code(self) -> int:
        """What edgeship exits with: as the state says, or 3 where a gate said no and nothing was switched."""
        if self.state == "failed" and any(gate.stops for gate in self.gates):
            return EXIT_CODE_OF_STATE["reverted"]
        return EXIT_CODE_OF_STATE[self.state]
