"""What a target profile says: everything about a kind of machine that code would otherwise have to guess.

The models here hold no default that is a figure about hardware: figures stand in `targets/*.yaml`. `extends:`
is resolved by `edgeship.profile.loader` before anything is validated here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from edgeship.digest import sha256_json
from edgeship.profile.sensors import Power, Sensor, Thermal
from edgeship.profile.types import (
    DELEGATES,
    Architecture,
    DelegateName,
    EngineName,
    Name,
    PipRequirement,
    Positive,
    PythonVersion,
    UnitWord,
    Version,
)
from edgeship.strictyaml import Strict
from edgeship.values import GoldenTolerance


def _some_version(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Want one version at least, wherever there is a Python at all."""
    if not value and info.data.get("command") != NO_PYTHON:
        raise PydanticKnownError("too_short", {"field_type": "Tuple", "min_length": 1, "actual_length": 0})
    return value


NO_PYTHON = "none"
"""`python.command` of a machine that has no Python."""

EXTENDS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "null"},
    ],
    "default": None,
}


class Libc(Strict):
    """The C library of the device."""

    kind: Literal["glibc", "musl", "none"]
    """Which C library. What edgeship ships is built for glibc; musl is refused with the reason; none: no Linux."""
    version: Version
    """Oldest version that a device of this target has; nothing in the bundle may need a newer one."""
    libstdcxx: Version | None = None
    """Newest GLIBCXX version of the device's libstdc++.so.6 (3.4.30 came with GCC 12); null: not counted on."""


class Python(Strict):
    """The device's own Python, which runs the service."""

    command: str
    """The interpreter, as found on the PATH; none: there is no Python, as on a microcontroller."""
    versions: Annotated[tuple[PythonVersion, ...], AfterValidator(_some_version)]
    """Versions of Python a device of this target may have."""


class Tolerances(Strict):
    """How far the device may be from the expected outputs, outside the recorded runtime and delegate."""

    max_lsb: Annotated[int, Field(ge=0)]
    """Quantized outputs: steps."""
    max_abs: Annotated[float, Field(ge=0)]
    """Float outputs: absolute difference."""
    min_cosine: Annotated[float, Field(ge=-1, le=1)]
    """Cosine similarity of one output with the expected one."""
    argmax: bool
    """Whether the largest output must be the same one."""

    def as_value(self) -> GoldenTolerance:
        """Return the same limits as the value that travels into golden files."""
        return GoldenTolerance(**self.model_dump())


class Alternative(Strict):
    """An engine for models that the preferred one refuses; the delegate and the threads stay those of `runtime`."""

    engine: EngineName
    """litert or tflite_runtime, as in `runtime`."""
    version: Version
    """Version of the engine."""
    python: Annotated[tuple[PythonVersion, ...], Field(min_length=1)]
    """Versions of the device's Python that it can serve, the one that bundles are made for first."""
    accepts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Every recipe alias that runs on it."""
    files: tuple[str, ...] = ()
    """As in `runtime`."""
    packages: tuple[PipRequirement, ...] = ()
    """As in `runtime`."""
    distribution_packages: tuple[str, ...] = ()
    """As in `runtime`."""
    libraries: tuple[str, ...] = ()
    """As in `runtime`."""
    libc: Libc | None = None
    """The C library that it needs, where the target's is not enough."""
    tolerances: Tolerances
    """How far it may be from answers that another engine recorded."""


class Runtime(Strict):
    """What executes the model on the device."""

    engine: EngineName
    """litert: libLiteRt.so through ctypes, no packages. tflite_runtime: the Python package, with numpy. tflm:
    TensorFlow Lite Micro, linked into a firmware of the user's own."""
    version: Version
    """Version of the engine; golden vectors are exact only inside the same version."""
    delegate: DelegateName
    """Run-time accelerator plug-in that must take part; falling back silently fails the proof."""
    delegate_library: str | None = None
    """Shared library of the delegate, as the device's loader finds it (libedgetpu.so.1); null: built in."""
    delegate_version: str | None = None
    """Release of the delegate's library that pairs with the engine's version."""
    threads: Positive
    """Threads of one inference."""
    preinstalled: bool
    """Whether the device brings the engine itself and it must not be replaced (Mendel)."""
    files: tuple[str, ...] = ()
    """Files of the engine's wheel that travel in the bundle, for engine litert."""
    packages: tuple[PipRequirement, ...] = ()
    """Python packages that travel in the bundle, as pip requirements."""
    distribution_packages: tuple[str, ...] = ()
    """Packages expected from the device's own distribution (apt names)."""
    libraries: tuple[str, ...] = ()
    """Shared libraries that must be found on the device, by soname."""
    alternatives: tuple[Alternative, ...] = ()
    """Engines for models that this one refuses, in order of preference."""

    @model_validator(mode="after")
    def _engine_has_the_delegate(self) -> Runtime:
        has = DELEGATES[self.engine]
        if self.delegate not in has:
            raise ValueError(
                f"engine {self.engine} has no delegate '{self.delegate}'; it has {', '.join(has)}"
            )
        return self


class Precision(Strict):
    """Which recipes suit the target."""

    wants: Annotated[tuple[str, ...], Field(min_length=1)]
    """Recipe aliases from best to last resort; the first that passes every gate is chosen."""
    accepts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Every recipe alias that runs at all."""
    granularity: Literal["per_channel", "per_tensor"]
    """How weights are quantized best: one scale a channel, or one a tensor."""
    io: Literal["float32", "int8", "uint8", "as_model"]
    """Type of the model's input and output tensors; as_model: whatever the recipe gives."""

    @model_validator(mode="after")
    def _wants_are_accepted(self) -> Precision:
        strangers = [w for w in self.wants if w not in self.accepts]
        if strangers:
            raise ValueError(f"wants {', '.join(strangers)}, which accepts does not list")
        return self


class Batch(Strict):
    """The batch axis."""

    fixed: Positive
    """Samples of one inference; pinned when the model is exported, because delegates need static shapes."""


class Memory(Strict):
    """Memory that a model can have."""

    ram_mb: Positive
    """RAM of the smallest device of this target, MiB."""
    accelerator_kb: Positive | None = None
    """Memory on the accelerator for parameters, KiB; null: none, or shared with the CPU."""


class Compiler(Strict):
    """Build-time translation for an accelerator."""

    backend: Literal["none", "edgetpu", "vela"]
    """Which compiler translates the model before it ships."""
    min_runtime_version: Positive | None = None
    """Highest runtime number the device's library understands; the compiler must not ask for more."""
    options: tuple[str, ...] = ()
    """Further arguments for the compiler."""


class Service(Strict):
    """How the service is kept running."""

    manager: Literal["systemd", "openrc", "supervised", "auto", "none"]
    """systemd: a hardened unit. openrc: a service of OpenRC. supervised: a process of our own. auto: the first of these
    that the device has. none: edgeship starts nothing there; a build ends with the model file."""
    user: UnitWord | None = None
    """Account the service runs under; null: an account of its own, as the service manager can give one."""
    groups: tuple[UnitWord, ...] = ()
    """Groups the service needs to open the accelerator's device nodes."""
    memory_max_mb: Positive
    """Memory the service may take before the kernel stops it, MiB; more where large tensors need it."""


class Accelerator(Strict):
    """Something that must be plugged in."""

    name: Name
    """What it is."""
    any_of: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ways to see it: usb:VENDOR:PRODUCT, pci:VENDOR:DEVICE, or a device node (`*` for a number)."""
    required: bool = True
    """Whether a device without it is refused."""


class Source(Strict):
    """Where a figure of this profile comes from."""

    figure: str
    """Key path of the figure, or of the section that holds it."""
    source: str
    """Document, address, or `measured` with how."""
    confidence: Literal["documented", "measured", "reported", "estimated", "assumed"]
    """documented by its maker; measured by us; reported by users; estimated from published figures, as the source says;
    assumed: verify before relying on it."""


class TargetProfile(Strict):
    """A kind of machine: what a model must become to run there, and what the device brings."""

    name: Name
    """The target's name: the file's name without .yaml."""
    title: str
    """The name people use."""
    summary: str
    """One sentence for the list of targets."""
    aliases: tuple[Name, ...] = ()
    """Other names that mean this target."""
    extends: Annotated[str | None, WithJsonSchema(EXTENDS_SCHEMA)] = None
    """The profile this builds on; or machine (uname -m) -> profile, by the machine edgeship runs on."""
    abstract: bool = False
    """A base for others: not a target itself, hidden from lists."""
    recognised_by: tuple[str, ...] = ()
    """Texts in the model's name or the devices seen by which a probe knows this target; `any`: a fallback."""
    measured_here: bool = False
    """The target is the machine that edgeship runs on: what is measured in a build holds there and decides."""
    architecture: Architecture
    """What `uname -m` says of the userland."""
    cpu_flags: tuple[str, ...]
    """Processor features that the runtime needs, as /proc/cpuinfo names them."""
    libc: Libc
    python: Python
    runtime: Runtime
    precision: Precision
    batch: Batch
    memory: Memory
    compiler: Compiler
    service: Service
    sensors: tuple[Sensor, ...]
    """What a governor may read."""
    power: Power | None = None
    """What the board takes; null: nobody published it."""
    thermal: Thermal | None = None
    """How warm it gets; null: nobody published it."""
    devices: tuple[Accelerator, ...]
    """Accelerators."""
    tolerances: Tolerances
    notes: tuple[str, ...] = ()
    """What a person should do or know before the first deployment."""
    sources: tuple[Source, ...]
    """Where the figures come from. Entries of bases count too, except for figures set again here."""

    def digest(self) -> str:
        """Return the SHA-256 of everything the profile says, after `extends:`."""
        return sha256_json(self.model_dump(mode="json"))

    @property
    def deployable(self) -> bool:
        """Whether edgeship can bring a service to such a machine; if not, a build ends with the model file."""
        return self.service.manager != "none"

    def without_accelerator(self) -> TargetProfile:
        """Return the same machine without its accelerator: what it takes to run a model that was not compiled.

        The delegate becomes XNNPACK, or none where the device brings an engine nobody knows the build of. Of the
        libraries only those stay that the files in the bundle ask for themselves.
        """
        stem = (self.runtime.delegate_library or "").partition(".so")[0]
        kept = [p for p in self.runtime.distribution_packages if not (stem and p.startswith(stem))]
        runtime = {
            "delegate": "none" if self.runtime.preinstalled else "xnnpack",
            "delegate_library": None,
            "delegate_version": None,
            "libraries": (),
            "distribution_packages": tuple(kept),
        }
        parts = {
            "runtime": self.runtime.model_copy(update=runtime),
            "compiler": self.compiler.model_copy(update={"backend": "none", "options": ()}),
            "service": self.service.model_copy(update={"groups": ()}),
            "devices": (),
        }
        return self.model_copy(update=parts)

    def engines(self) -> tuple[TargetProfile, ...]:
        """Return the target once with each of its engines, the preferred one first.

        An accelerator's delegate speaks to one engine only, so a target with one has no other.
        """
        others = self.runtime.alternatives if self.runtime.delegate in ("xnnpack", "none") else ()
        return (self, *(self._with_engine(one) for one in others))

    def _with_engine(self, other: Alternative) -> TargetProfile:
        runtime = {
            "preinstalled": False,
            "alternatives": (),
            **{key: getattr(other, key) for key in ("engine", "version", "files", "packages",
                                                    "distribution_packages", "libraries")},
        }  # fmt: skip
        wants = tuple(name for name in self.precision.wants if name in other.accepts)
        precision = {"accepts": other.accepts, "wants": wants or other.accepts[:1]}
        parts = {
            "runtime": self.runtime.model_copy(update=runtime),
            "python": self.python.model_copy(update={"versions": other.python}),
            "precision": self.precision.model_copy(update=precision),
            "tolerances": other.tolerances,
            "libc": other.libc or self.libc,
        }
        return self.model_copy(update=parts)

    def source_of(self, figure: str) -> Source | None:
        """Return the source of a key path: the entry for it, or for the nearest section around it."""
        entries = {s.figure: s for s in self.sources}
        while figure:
            if figure in entries:
                return entries[figure]
            figure = figure.rpartition(".")[0]
        return None
