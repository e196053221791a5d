"""What earlier steps of a chain made, as constraints that hold it (`held`), and the file with what came of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.came import came_with, limits_in, merged
from edgeship.compress.codebook import Codebook
from edgeship.compress.constraints import Constraint, Constraints, Mask
from edgeship.compress.fake_quant import ActivationGrid, WeightGrid, axis_of, largest
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.training import Trained
from edgeship.compress.work import Work
from edgeship.tflite.weights import Layer, spread, with_weights

Floats = NDArray[np.float32]
PRUNING = ("prune", "prune-2x4", "prune-blocks", "tfmot-prune")
SHARING = ("cluster",)


def bits_of(recipe: str) -> int | None:
    """Return the bits of a weight in files of a recipe, as its name says; None of float ones."""
    found = re.search(r"_wi(\d+)_", recipe)
    return int(found[1]) if found else None


def held(
    work: Work, graph: TrainableGraph, *, but: Sequence[str] = (), zero: bool = False
) -> list[Constraint]:
    """Return the constraints that earlier steps, apart from those of the methods `but`, and what the model came with
    ask for; with `zero` zeros may come to shared values."""
    before = {step.method for step in work.before} - set(but)
    layers, came = own_layers(graph), came_with(work, graph.file)
    pruned = layers if before & set(PRUNING) else [layer for layer in layers if layer.weight in came.pruned]
    shared = [layer for layer in layers if layer.weight in came.shared and not set(but) & set(SHARING)]
    shared = layers if before & set(SHARING) else shared
    found: list[Constraint] = []
    values = graph.values() if pruned or shared else {}
    if pruned:
        found.append(zeros_of(pruned, values))
    if shared:
        limits = {**came.shared, **limits_in(graph.file, shared)}
        found.append(shared_values(work, shared, values, limits, zero=zero))
    return found


def own_layers(graph: TrainableGraph) -> list[Layer]:
    """Return the layers of a graph, one a weight."""
    return list({layer.weight: layer for layer in graph.layers}.values())


def zeros_of(layers: Sequence[Layer], values: Mapping[int, Floats]) -> Mask:
    """Return the mask of the zeros that weights hold."""
    return Mask({layer.weight: (values[layer.weight] != 0).astype(np.float32) for layer in layers})


def shared_values(
    work: Work,
    layers: Sequence[Layer],
    values: Mapping[int, Floats],
    limits: Mapping[int, Floats],
    *,
    zero: bool,
) -> Codebook:
    """Return the codebook of the shared values that weights hold, in units of `limits` (of the largest where there are
    none), as `cluster` or others left them; with `zero` it has 0 besides."""
    bits = bits_of(work.recipe)
    scales: dict[int, Floats] = {}
    shares: dict[int, Floats] = {}
    for layer in layers:
        value = values[layer.weight]
        limit = scales[layer.weight] = limits.get(layer.weight, largest(value, None))
        shares[layer.weight] = value / limit.reshape(spread(limit.size, layer.axis, value.ndim))
    step = work.earlier("cluster")
    if step is not None and step.setting("share") == "model":
        together = centres_in(np.concatenate([share.reshape(-1) for share in shares.values()]), zero)
        centres = dict.fromkeys(shares, together)
    else:
        centres = {index: centres_in(share, zero) for index, share in shares.items()}
    return Codebook(layers, centres, scales, steps=None if bits is None else 2 ** (bits - 1) - 1)


def centres_in(shares: Floats, zero: bool) -> Floats:
    """Return the distinct values, ascending, and 0 in any case where `zero`."""
    distinct = merged(shares)
    return np.unique(np.append(distinct, np.float32(0))) if zero else distinct


def ranges_by_index(work: Work, graph: TrainableGraph) -> dict[int, tuple[float, float]]:
    """Return the activations' ranges by tensor index."""
    return {
        t.index: work.ranges[t.name]
        for t in graph.file.main.tensors
        if t.name in work.ranges and not t.has_data
    }


def written(work: Work, constraints: Constraints, trained: Trained, graph: TrainableGraph) -> bytes:
    """Return the file with the trained weights, and with the limits and ranges that they were trained with."""
    limits: dict[int, Floats] = {}
    ranges: dict[int, tuple[float, float]] = {}
    axes: dict[int, int] = {}
    for layer in own_layers(graph):
        axis = axis_of(layer, work.one_scale)
        axes[layer.weight] = layer.axis if axis is None else axis
    for one in constraints.several:
        if isinstance(one, WeightGrid):
            limits |= one.told(trained.values)
        elif isinstance(one, Codebook):
            limits |= one.told()
        elif isinstance(one, ActivationGrid):
            ranges |= one.told()
    return with_weights(work.content, trained.values, ranges=ranges, limits=limits, axes=axes)


def counted(graph: TrainableGraph, values: Mapping[int, Floats]) -> dict[str, float]:
    """Return what weights hold: the share of zeros, and the most distinct values of a tensor."""
    weights = [values[layer.weight] for layer in own_layers(graph)]
    total = sum(weight.size for weight in weights)
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {"parameters": float(total), "zeros": zeros / max(total, 1)}
