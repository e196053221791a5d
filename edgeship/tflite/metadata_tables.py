"""What TFLite metadata says of one model file, as plain values: what edgeship writes, and what it reads back.

Names follow TFLite's metadata schema (metadata_schema.fbs of tflite-support 0.4.4, identifier M001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeship.errors import InputError
from edgeship.tflite.file import TfliteFile
from edgeship.values import InputMetadata, ModelMetadata, TensorSpec

LABELS = "labels.txt"
"""Name of the packed file of labels."""
PARSER_VERSION = "1.0.0"
"""Oldest metadata parser that reads every field below: all of them are of the schema's first version."""
FEATURE, IMAGE = "FeatureProperties", "ImageProperties"
CONTENTS = ("NONE", FEATURE, IMAGE, "BoundingBoxProperties", "AudioProperties")
"""Names of the union ContentProperties, by number."""
COLORS = ("UNKNOWN", "RGB", "GRAYSCALE")
"""Names of ColorSpaceType, by number."""
FILE_TYPES = (
    "UNKNOWN", "DESCRIPTIONS", "TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS", "TENSOR_AXIS_SCORE_CALIBRATION",
    "VOCABULARY", "SCANN_INDEX_FILE",
)  # fmt: skip
"""Names of AssociatedFileType, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A packed file that belongs to a tensor."""

    name: str
    description: str = ""
    type: str = "UNKNOWN"
    """One of `FILE_TYPES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """(x - mean) / std on raw values, one value for all channels or one each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorTable:
    """What is said of one input or output; None, () and "" where nothing is."""

    name: str
    description: str = ""
    content: str = FEATURE
    """One of `CONTENTS`."""
    color: str = "UNKNOWN"
    """One of `COLORS`; of images only."""
    normalisation: Normalisation | None = None
    minimum: tuple[float, ...] | None = None
    maximum: tuple[float, ...] | None = None
    files: tuple[FileEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataTables:
    """What is said of one model file and of the tensors of its main graph."""

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    parser_version: str = PARSER_VERSION
    inputs: tuple[TensorTable, ...] = ()
    outputs: tuple[TensorTable, ...] = ()


def tables_for(file: TfliteFile, metadata: ModelMetadata) -> MetadataTables:
    """Return what `metadata` says of one file. Raises InputError `labels-count` where no output has as many
    values as there are labels."""
    inputs, outputs = file.signature.inputs, file.signature.outputs
    labelled = _labelled_output(outputs, metadata.labels, file)
    return MetadataTables(
        name=metadata.name,
        description=metadata.description,
        version=metadata.version,
        author=metadata.author,
        licence=metadata.licence,
        inputs=tuple(
            _described(spec, metadata.inputs[position])
            if position < len(metadata.inputs)
            else TensorTable(name=spec.name)
            for position, spec in enumerate(inputs)
        ),
        outputs=tuple(
            TensorTable(name=spec.name, files=(_LABELS_ENTRY,) if position == labelled else ())
            for position, spec in enumerate(outputs)
        ),
    )


def packed_files(metadata: ModelMetadata) -> dict[str, bytes]:
    """Return the files to pack behind the model: name -> content."""
    return {LABELS: ("\n".join(metadata.labels) + "\n").encode()} if metadata.labels else {}


_LABELS_ENTRY = FileEntry(
    name=LABELS,
    description="One label a line, in the order of the output's last axis.",
    type="TENSOR_AXIS_LABELS",
)


def _described(spec: TensorSpec, metadata: InputMetadata) -> TensorTable:
    """Return an input with its preprocessing and range."""
    image = metadata.preprocess.resize is not None and len(spec.shape) == 4 and spec.shape[3] in (1, 3)
    low, high = metadata.minimum, metadata.maximum
    return TensorTable(
        name=spec.name,
        content=IMAGE if image else FEATURE,
        color=("GRAYSCALE" if spec.shape[3] == 1 else "RGB") if image else "UNKNOWN",
        normalisation=_normalisation(metadata),
        minimum=(low,) if low is not None else None,
        maximum=(high,) if high is not None else None,
    )


def _normalisation(metadata: InputMetadata) -> Normalisation | None:
    """Return the preprocessing in TFLite's terms, or None where it changes nothing.

    TFLite's convention is (x - mean) / std on raw values; ours is (x * scale - mean) / std. They are equal
    with TFLite's mean = mean / scale and std = std / scale.
    """
    scale, mean, std = metadata.preprocess.scale, metadata.preprocess.mean, metadata.preprocess.std
    if not scale or (scale == 1.0 and not any(mean) and set(std) == {1.0}):
        return None
    width = max(len(mean), len(std))
    return Normalisation(mean=_spread(mean, width, scale), std=_spread(std, width, scale))


def _spread(values: Sequence[float], width: int, scale: float) -> tuple[float, ...]:
    """Return one value for each of `width` channels, divided by `scale`."""
    return tuple(value / scale for value in (values if len(values) == width else [*values] * width))


def _labelled_output(outputs: Sequence[TensorSpec], labels: Sequence[str], file: TfliteFile) -> int | None:
    """Return which output the labels belong to: the first whose last axis is as long; None without labels."""
    if not labels:
        return None
    for position, spec in enumerate(outputs):
        if spec.shape and spec.shape[-1] == len(labels):
            return position
    raise InputError(
        "labels-count",
        f"there are {len(labels)} labels, and no output of the model has as many values",
        context={"model": file.path.name, "outputs": ", ".join(f"{o.name} {list(o.shape)}" for o in outputs)},
        hint="give one label for each value of the output's last axis",
    )
