"""The inputs that golden vectors are recorded for: `Selection`, and how they are taken from data or made up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.values import Dataset, Preprocess, Resize

Array = NDArray[Any]
SEQUENCE = 3
"""Vectors of the one sequence that shows a model's state to be kept."""
SEED = 20_240
NUMPY_OF: Mapping[str, str] = {
    "BOOL": "bool", "UINT8": "uint8", "INT8": "int8", "UINT16": "uint16", "INT16": "int16",
    "UINT32": "uint32", "INT32": "int32", "UINT64": "uint64", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Inputs to record: one tuple of arrays (an array per model input, batch axis included) a vector."""

    vectors: tuple[tuple[Array, ...], ...]
    source: str
    """Where they come from, for people."""
    continues: frozenset[int] = frozenset()
    """Numbers of the vectors that go on with the state which the one before them left."""
    made_up: int = 0
    """How many vectors at the end are no samples: all lowest and all highest value."""

    def samples_only(self) -> Selection:
        """Return the selection without what is made up."""
        return replace(self, vectors=self.vectors[: len(self.vectors) - self.made_up], made_up=0)


def with_sequence(selection: Selection) -> Selection:
    """Return the vectors, and the first of them once more as one sequence, in which the state goes on."""
    again = selection.vectors[:SEQUENCE]
    return replace(
        selection,
        vectors=(*selection.vectors, *again),
        continues=frozenset(range(len(selection.vectors) + 1, len(selection.vectors) + len(again))),
    )


def select_inputs(entry: Mapping[str, Any], dataset: Dataset | None, count: int) -> Selection:
    """Return `count` raw inputs for a variant of service.json, the same ones every time.

    From a dataset: its samples with the smallest and the largest value of each input, one sample a class in turn, then
    samples spread evenly; two more are all lowest and all highest value. Without one: seeded noise over the range of
    each input, and the same two edges.
    """
    inputs = entry["inputs"]
    if dataset is None:
        return _seeded(inputs, count)
    samples = [np.load(path, mmap_mode="r") for path in dataset.paths]
    labels = np.load(dataset.y_path) if dataset.y_path else None
    edges = [
        _edges(one, float(array.minimum), float(array.maximum))
        for one, array in zip(inputs, dataset.info.arrays, strict=True)
    ]
    lowest_and_highest = list(zip(*edges, strict=True))[: max(0, count - 1)]
    vectors = [
        tuple(
            _batch(held, i, one["shape"]).astype(np.dtype(NUMPY_OF[one["datatype"]]))
            for one, held in zip(inputs, samples, strict=True)
        )
        for i in pick(samples, labels, count - len(lowest_and_highest))
    ]
    return Selection(
        vectors=(*vectors, *lowest_and_highest),
        source=f"samples of {Path(dataset.info.reference).name}, and the edges of its range",
        made_up=len(lowest_and_highest),
    )


def pick(samples: Sequence[Array], labels: Array | None, count: int) -> list[int]:
    """Return up to `count` distinct sample indices: extremes of each input, one a class in the order of classes, then
    evenly spread."""
    order: list[int] = []
    for held in samples:
        flat = held.reshape(len(held), -1)
        order += [int(flat.min(axis=1).argmin()), int(flat.max(axis=1).argmax())]
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu":
        order += [int(np.argmax(labels == value)) for value in np.unique(labels)]
    total = len(samples[0])
    order += [int(i) for i in np.linspace(0, total - 1, num=min(total, 4 * count))]
    return list(dict.fromkeys(order))[:count]


def preprocess_of(document: Mapping[str, Any] | None) -> Preprocess:
    """Return the value that a `preprocess` of service.json describes."""
    if document is None:
        return Preprocess()
    resize = document["resize"]
    return Preprocess(
        resize=Resize(**resize) if resize else None,
        scale=document["scale"],
        mean=tuple(document["mean"]),
        std=tuple(document["std"]),
    )


def _seeded(inputs: Sequence[Mapping[str, Any]], count: int) -> Selection:
    """Return noise between the ends of each input's range; the last two vectors are the ends themselves."""
    source = np.random.Generator(np.random.PCG64(SEED))
    vectors: list[tuple[Array, ...]] = []
    for number in range(count):
        edge = number - (count - 2) if count > 2 else -1
        arrays: list[Array] = []
        for entry in inputs:
            low, high = value_range(entry)
            shape, dtype = entry["shape"], np.dtype(NUMPY_OF[entry["datatype"]])
            # Generator.random makes the same doubles in every NumPy; its other methods promise less.
            at = source.random(shape) if edge < 0 else np.full(shape, float(edge))
            values = low + at * (high - low)
            arrays.append((np.rint(values) if dtype.kind in "iub" else values).astype(dtype))
        vectors.append(tuple(arrays))
    return Selection(
        vectors=tuple(vectors),
        source="seeded noise over the inputs' range: no data was given",
        made_up=2 if count > 2 else 0,
    )


def value_range(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Return the lowest and highest raw value worth sending for an input of service.json."""
    dtype = np.dtype(NUMPY_OF[entry["datatype"]])
    tensor = entry["tensor"]
    if dtype.kind == "b":
        return 0.0, 1.0
    plain = not tensor["scale"] and np.dtype(tensor["dtype"]).kind in "iu"
    if dtype.kind in "iu" and dtype.itemsize <= 2 and not plain:
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if dtype.kind in "iu":
        return 0.0, 1.0  # most often an index: larger ones may lead outside a table
    low, high = -1.0, 1.0
    if tensor["scale"]:
        limits = np.iinfo(np.dtype(tensor["dtype"]))
        low, high = (tensor["scale"] * (q - tensor["zero_point"]) for q in (limits.min, limits.max))
    rule = preprocess_of(entry["preprocess"])
    ends = [(v * s + m) / rule.scale for v in (low, high) for m in rule.mean for s in rule.std]
    return min(ends), max(ends)


def _batch(samples: Array, first: int, shape: Sequence[int]) -> Array:
    """Return as many samples from `first` on, around the end, as an input of `shape` holds."""
    size = math.prod(shape) // math.prod(samples.shape[1:])
    made: Array = np.stack([samples[(first + k) % len(samples)] for k in range(size)]).reshape(shape)
    return made


def _edges(entry: Mapping[str, Any], minimum: float, maximum: float) -> list[Array]:
    """Return the input that is all lowest value, and the one that is all highest: of the type, or of the
    data."""
    dtype = np.dtype(NUMPY_OF[entry["datatype"]])
    ends = value_range(entry) if dtype.kind in "iu" and dtype.itemsize <= 2 else (minimum, maximum)
    return [np.full(entry["shape"], end, dtype=dtype) for end in ends]
