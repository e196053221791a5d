"""The frozen values that travel through the house, in the order of the story.

target profile + model + datasets -> plan -> artifacts -> scorecards -> variants -> bundle -> release -> report

Each value carries the digests of what it came from. The target profile itself is a pydantic model
(`edgeship.profile`); everything else that crosses from one room to another stands here. This module imports nothing
of edgeship, and everything of edgeship may import it.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """A figure that could not be had, and why. In JSON: `{"unavailable": why}`, never null or 0."""

    reason: str


Figure = float | Unavailable
"""A measured number, or the reason why there is none."""


# --- model ----------------------------------------------------------------------------------------------------------

ModelKind = Literal["keras", "h5", "saved_model", "tflite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What the user trained: a `.keras` or `.h5` file, a SavedModel folder, or a `.tflite` file."""

    path: Path
    kind: ModelKind
    sha256: str
    """SHA-256 of the file, or of the folder's relative names and contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """Affine quantization: real = scale * (stored - zero_point); one entry per channel along `axis`, or one in all."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output tensor of a model file."""

    name: str
    shape: tuple[int, ...]
    """Sizes; -1 where the file leaves one open."""
    dtype: str
    """NumPy's name: float32, int8, uint8, int16, ..."""
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Inputs and outputs of a model file, in the file's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


# --- datasets and preprocessing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Bring images to `height` x `width` pixels. Half-pixel centres; `method` nearest or bilinear."""

    height: int
    width: int
    method: Literal["nearest", "bilinear"] = "bilinear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """What turns a raw sample into what the model was trained on: resize, then (x * scale - mean) / std.

    Declared once in `edgeship.yaml`; applied to calibration and evaluation data and golden vectors on the host, and by
    the runtime on the device to every request. `mean` and `std` hold one value, or one per channel (last axis), in
    units of the scaled value.
    """

    resize: Resize | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def is_identity(self) -> bool:
        """Return whether nothing would change."""
        return self.resize is None and self.scale == 1.0 and set(self.mean) == {0.0} and set(self.std) == {1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What is known of a dataset once it has been read and checked (the samples themselves stay on disk)."""

    reference: str
    """What the user wrote: a path or `package.module:callable`."""
    sha256: str
    """Digest of the samples as read (dtype, shape, bytes), so a callable has one too."""
    count: int
    shape: tuple[int, ...]
    """Shape of one raw sample, without the batch axis."""
    dtype: str
    minimum: float
    maximum: float
    labelled: bool
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset read once into `.npy` files (memory-mapped by whoever needs it); raw samples, before preprocessing."""

    info: DatasetInfo
    x_path: Path
    """`[n, ...]` of the raw dtype."""
    y_path: Path | None
    """`[n]` integer class indices, or `[n, ...]` float targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatModel:
    """The one `.tflite` that every recipe of a model is derived from."""

    path: Path
    source: ModelSource
    sha256: str
    signature: Signature
    is_float: bool
    """False where the user handed over an already quantized `.tflite`: it is then the only variant there can be."""
    tools: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What is written into the `.tflite` for people and for TFLite's own tools."""

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = Preprocess()
    input_minimum: float | None = None
    input_maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What the user wants to hold; each one that is set is a gate. None: not asked for."""

    metric: str = "auto"
    """top1, top5, mse, mae, auc, `package.module:callable`, or auto (top1 for class labels, mse otherwise)."""
    max_drop: float | None = None
    """Points the metric may lose against the float model."""
    max_kb: float | None = None
    """Size of the model file, in units of 1,000 bytes."""
    max_ms: float | None = None
    """p50 latency on the machine that measures, milliseconds."""
    max_rss_mb: float | None = None
    """Peak resident memory of one process that runs the model, MiB."""


# --- recipes, artifacts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What tensors hold: numpy dtype names, or `int4`; `mixed` where they differ."""

    weights: str
    activations: str
    io: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named quantization rule: one data row of `edgeship.quantize.recipes`."""

    name: str
    """Says what the file holds, e.g. static_wi8_ai8."""
    alias: str
    """What people say: int8."""
    precision: Precision
    needs_calibration: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One model file on the host, with what it was made from."""

    path: Path
    recipe: str
    bytes: int
    sha256: str
    signature: Signature
    precision: Precision
    model_sha256: str
    calibration_sha256: str | None
    tools: dict[str, str] = field(default_factory=dict)
    """Version of each tool that had a hand in it."""


# --- scores and gates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A task metric of an artifact beside the same metric of the float model.

    `drop` is in points of the metric's own scale, positive where the artifact is worse; percentages are 0..100.
    """

    name: str
    value: Figure
    float_value: Figure
    drop: Figure
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near an artifact's outputs are to the float model's on the same samples."""

    argmax: Figure
    """Share (0..1) of samples with the same largest output."""
    cosine: Figure
    """Smallest cosine similarity over samples."""
    max_abs: Figure
    """Largest absolute difference of a dequantized output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one inference at batch 1 on the machine that measured."""

    cold: Figure
    p50: Figure
    p95: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """What was measured about an artifact."""

    artifact_sha256: str
    evaluation_sha256: str | None
    metric: Metric
    agreement: Agreement
    latency_ms: Latency
    peak_rss_mb: Figure


Verdict = Literal["pass", "fail", "inconclusive", "no-data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The outcome of a pure check on measurements."""

    name: str
    verdict: Verdict
    limit: Figure
    value: Figure
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An artifact a device may run, with its scorecard and what the gates say of it."""

    artifact: Artifact
    scorecard: Scorecard
    gates: tuple[GateResult, ...]

    @property
    def admitted(self) -> bool:
        """Whether no gate failed."""
        return all(gate.verdict != "fail" for gate in self.gates)


# --- bundle ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenTolerance:
    """How far a device's output may be from the expected one.

    `exact` holds inside the same (runtime, version, delegate); elsewhere `max_lsb` (quantized outputs, in steps),
    `max_abs` (float outputs), `min_cosine` and, for classifiers, an equal argmax.
    """

    max_lsb: int
    max_abs: float
    min_cosine: float
    argmax: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A sealed archive on the host. `release` is the digest of its manifest: the release id on every device."""

    path: Path
    sha256: str
    bytes: int
    release: str
    app: str
    target: str
    manifest: dict[str, Any]


# --- devices --------------------------------------------------------------------------------------------------------


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


# --- deployment -----------------------------------------------------------------------------------------------------


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


# --- to JSON --------------------------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """Return `value` as what `json` can write: dataclasses by field, paths and enums as text, Unavailable as its form."""
    if isinstance(value, Unavailable):
        return {"unavailable": value.reason}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    return value
