"""What a model came with: zeros of somebody who pruned it, values that somebody who clustered it shares (`came_with`).

Training holds on to both, as it does to what earlier steps of a chain made; `given=free` lets them go. Judged in the
model as it was given, by the names of its weights, and again in what the steps before left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.fake_quant import axis_of, largest
from edgeship.compress.work import Work
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import Layer, constant, layers_of, spread

Floats = NDArray[np.float32]
ZEROS = 0.3
"""Share of exact zeros from which on a weight was pruned: training leaves none, dead channels seldom so many."""
FEW = 256
"""Distinct values that a clustered weight holds at most; what 8 bits stored holds no more either."""
TIMES = 4
"""A clustered weight has this many elements for each distinct value at least."""
SMALLEST = 64
"""Elements of a weight that says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """Weights of a model, by tensor index, that hold what is to be kept."""

    pruned: frozenset[int] = frozenset()
    shared: Mapping[int, Floats] = field(default_factory=dict)
    """Tensor -> the limits `[channels]` or `[1]` in whose units the values are few."""


def came_with(work: Work, file: TfliteFile) -> Came:
    """Return what the weights of `file` (`work.content`, parsed) still hold of what the model came with."""
    if dict(work.step.settings).get("given") == "free":
        return Came()
    first = parse(Path("model.tflite"), work.original, "")
    given = {first.main.tensors[layer.weight].name: layer for layer in layers_of(first.main)}
    pruned, shared = set(), {}
    for layer in {layer.weight: layer for layer in layers_of(file.main)}.values():
        before = given.get(file.main.tensors[layer.weight].name)
        if before is None:
            continue
        if is_pruned(constant(first, before.weight)) and is_pruned(constant(file, layer.weight)):
            pruned.add(layer.weight)
        limits = few_in(work, file, layer)
        if limits is not None and few_in(work, first, before) is not None:
            shared[layer.weight] = limits
    return Came(pruned=frozenset(pruned), shared=shared)


def limits_in(file: TfliteFile, layers: Sequence[Layer]) -> dict[int, Floats]:
    """Return the limits of weights that stand in a file, by tensor index."""
    found = {}
    for layer in layers:
        tensor = file.main.tensors[layer.weight]
        limits = np.asarray(tensor.maximum, np.float32)
        if limits.size and limits.size in (1, tensor.shape[layer.axis]) and (limits > 0).all():
            found[layer.weight] = limits
    return found


def is_pruned(value: Floats) -> bool:
    """Return whether so much of a weight is exactly zero that somebody pruned it."""
    return value.size >= SMALLEST and bool(np.mean(value == 0) >= ZEROS)


def few_in(work: Work, file: TfliteFile, layer: Layer) -> Floats | None:
    """Return the limits in whose units a weight holds few values: those that stand in the file, one in all, or one a
    channel (what was clustered before batch normalisation was folded into it). None: it holds many."""
    value, told = constant(file, layer.weight), limits_in(file, (layer,))
    if value.size < SMALLEST:
        return None
    units = list(told.values())
    units += [largest(value, axis) for axis in dict.fromkeys((None, axis_of(layer, work.one_scale)))]
    for limits in units:
        shares = value / limits.reshape(spread(limits.size, layer.axis, value.ndim))
        count = merged(shares).size
        if count <= FEW and count * TIMES <= value.size:
            return limits
    return None


def merged(shares: Floats) -> Floats:
    """Return the distinct values, those that only rounding tells apart taken together."""
    distinct = np.unique(np.round(shares.astype(np.float64), 5))
    return distinct.astype(np.float32)


def told_of(work: Work, file: TfliteFile) -> tuple[str, ...]:
    """Return what is kept, a sentence each."""
    came, count = came_with(work, file), len({layer.weight for layer in layers_of(file.main)})
    notes = []
    if came.pruned:
        values = [constant(file, index) for index in came.pruned]
        zeros = sum(int((value == 0).sum()) for value in values) / sum(value.size for value in values)
        notes.append(
            f"{len(came.pruned)} of {count} weights came pruned ({zeros:.0%} zeros): their zeros are kept; "
            "given=free lets them go"
        )
    if came.shared:
        notes.append(
            f"{len(came.shared)} of {count} weights came clustered: their values stay shared; given=free lets them go"
        )
    return tuple(notes)
