"""What the user hands over: the model, the data, how samples are prepared, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

ModelKind = Literal["keras", "h5", "saved_model", "tflite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What the user trained: a `.keras` or `.h5` file, a SavedModel folder, or a `.tflite` file."""

    path: Path
    kind: ModelKind
    sha256: str
    """SHA-256 of the file, or of the folder's relative names and contents."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(input, sizes) that the user closes, batch first; the name is "" for the only input."""
    widened: bool = False
    """Whether weights of half precision are read as float32, to be changed; else such a `.tflite` came quantized."""


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
        return (
            self.resize is None and self.scale == 1.0 and set(self.mean) == {0.0} and set(self.std) == {1.0}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """What samples of one input mean, in datasets, golden vectors and requests alike.

    An input that came as integers (uint8 and int8 exports) is fed in two ways: samples of its own type are the
    numbers that the tensor stores, as they are; all others are real numbers, prepared and quantized.
    """

    preprocess: Preprocess = Preprocess()
    """Of samples that are real numbers: what the user declared, or the file's own normalisation."""
    stored: TensorSpec | None = None
    """The input as the model came with it, where it stores integers; None: every sample is a real number."""

    def prepares(self, dtype: str) -> Preprocess:
        """Return what brings samples of a NumPy type to real numbers: real = scale * (stored - zero_point)."""
        if self.stored is None or self.stored.quantization is None or dtype != self.stored.dtype:
            return self.preprocess
        scale, zero_point = self.stored.quantization.scales[0], self.stored.quantization.zero_points[0]
        return Preprocess(resize=self.preprocess.resize, scale=scale, mean=(scale * zero_point,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """What is known of one array of a dataset: what one input of a model is fed."""

    name: str | None
    """The input that it is for; None: its place among the arrays says that (the only one, or the model's order)."""
    shape: tuple[int, ...]
    """Shape of one raw sample, without the batch axis."""
    dtype: str
    minimum: float
    maximum: float
    typed: bool = True
    """False: numbers out of a text, which take the type of the input that they are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What is known of a dataset once it has been read and checked (the samples themselves stay on disk)."""

    reference: str
    """What the user wrote: a path or `package.module:callable`."""
    sha256: str
    """Digest of the samples as read (dtype, shape, bytes), so a callable has one too."""
    count: int
    arrays: tuple[ArrayInfo, ...]
    """One a model's input."""
    labelled: bool
    classes: tuple[str, ...] = ()

    @property
    def only(self) -> ArrayInfo:
        """The array of a dataset that holds one."""
        (only,) = self.arrays
        return only

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one raw sample of the only array, without the batch axis."""
        return self.only.shape

    @property
    def dtype(self) -> str:
        """NumPy's name of the only array's type."""
        return self.only.dtype

    @property
    def minimum(self) -> float:
        """Smallest value of the only array."""
        return self.only.minimum

    @property
    def maximum(self) -> float:
        """Largest value of the only array."""
        return self.only.maximum

    def part(self, index: int) -> DatasetInfo:
        """Return what is known of one of the arrays, as of a dataset that holds it alone."""
        if len(self.arrays) == 1:
            return self
        array = self.arrays[index]
        where = f"{self.reference} ({array.name or f'input {index}'})"
        return replace(self, reference=where, arrays=(array,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset read once into `.npy` files (memory-mapped by whoever needs it); raw samples, before preprocessing."""

    info: DatasetInfo
    paths: tuple[Path, ...]
    """A `.npy` `[n, ...]` of the raw dtype for each of `info.arrays`."""
    y_path: Path | None
    """`[n]` integer class indices, or `[n, ...]` float targets."""

    @property
    def x_path(self) -> Path:
        """The file of a dataset that holds one array."""
        (only,) = self.paths
        return only

    def part(self, index: int) -> Dataset:
        """Return the dataset of one of the arrays alone, with the same labels: what one input is fed."""
        return replace(self, info=self.info.part(index), paths=(self.paths[index],))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSamples:
    """Samples in model units, as calibration and scoring run them."""

    paths: tuple[Path, ...]
    """A `.npy` `[n, ...]` for each input of the model, in the order of its signature."""
    sha256: str
    """Of the dataset they were prepared from."""


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
class InputMetadata:
    """What is written into the `.tflite` about one input: how raw samples are prepared, and the range they had."""

    preprocess: Preprocess = Preprocess()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What is written into the `.tflite` for people and for TFLite's own tools."""

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    inputs: tuple[InputMetadata, ...] = ()
    """In the order of the signature; what is not said of an input is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What the user wants to hold; each one that is set is a gate. None: not asked for."""

    metric: str = "auto"
    """top1, top5, auc, map, map50, mse, mae, `package.module:callable`, or auto: map for boxes, top1 for class labels,
    auc for labels of two classes beside one output, mse otherwise."""
    metric_folder: Path | None = field(default=None, compare=False)
    """Where a module with a metric of the user's own is looked for first; None: the working directory alone."""
    output: str | None = None
    """Name of the output that the labels are for; None: the only one that fits them."""
    max_drop: float | None = None
    """What the metric may lose against the float model: points of top1, top5, auc, map and map50, percent of the
    float model's value of any other."""
    max_kb: float | None = None
    """Size of the model file, in units of 1,000 bytes."""
    max_download_kb: float | None = None
    """Size of the model file compressed as bundles are, in units of 1,000 bytes."""
    max_ms: float | None = None
    """p50 latency on the machine that measures, milliseconds."""
    max_rss_mb: float | None = None
    """Peak resident memory of one process that runs the model, MiB."""

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        limits = (self.max_drop, self.max_kb, self.max_download_kb, self.max_ms, self.max_rss_mb)
        return any(limit is not None for limit in limits)
