"""What earlier steps of a chain made, as constraints that hold it (`held`), and the file with what came of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.codebook import Codebook
from edgeship.compress.constraints import Constraint, Constraints, Mask
from edgeship.compress.fake_quant import ActivationGrid, WeightGrid, axis_of, largest
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.training import Trained
from edgeship.compress.work import Work
from edgeship.tflite.refit import unpacked
from edgeship.tflite.weights import Layer, weight_limits, with_weights

Floats = NDArray[np.float32]
PRUNING = ("prune", "prune-2x4", "prune-blocks", "tfmot-prune")
SHARING = ("cluster",)


def bits_of(recipe: str) -> int | None:
    """Return the bits of a weight in files of a recipe, as its name says; None of float ones."""
    found = re.search(r"_wi(\d+)_", recipe)
    return int(found[1]) if found else None


def held(work: Work, graph: TrainableGraph, *, but: Sequence[str] = ()) -> list[Constraint]:
    """Return the constraints that earlier steps, apart from those of the methods `but`, ask for."""
    before = {step.method for step in work.before} - set(but)
    found: list[Constraint] = []
    layers = own_layers(graph)
    if before & {*PRUNING, *SHARING}:
        values = graph.values()
        found += [zeros_of(layers, values)] if before & set(PRUNING) else []
        if before & set(SHARING):
            found.append(shared_values(work, layers, values))
    return found


def own_layers(graph: TrainableGraph) -> list[Layer]:
    """Return the layers of a graph, one a weight."""
    return list({layer.weight: layer for layer in graph.layers}.values())


def zeros_of(layers: Sequence[Layer], values: Mapping[int, Floats]) -> Mask:
    """Return the mask of the zeros that weights hold."""
    return Mask({layer.weight: (values[layer.weight] != 0).astype(np.float32) for layer in layers})


def shared_values(work: Work, layers: Sequence[Layer], values: Mapping[int, Floats]) -> Codebook:
    """Return the codebook of the shared values that weights hold, as `cluster` left them."""
    bits = bits_of(work.recipe)
    limits = limits_in(work.content, layers)
    scales: dict[int, Floats] = {}
    shares: dict[int, Floats] = {}
    for layer in layers:
        value = values[layer.weight]
        scales[layer.weight] = limits.get(layer.weight, np.array([largest(value, None)[0]], np.float32))
        shares[layer.weight] = value / spread_over(scales[layer.weight], layer.axis, value.ndim)
    step = work.earlier("cluster")
    if step is not None and step.setting("share") == "model":
        together = merged(np.concatenate([share.reshape(-1) for share in shares.values()]))
        centres = dict.fromkeys(shares, together)
    else:
        centres = {index: merged(share) for index, share in shares.items()}
    return Codebook(layers, centres, scales, steps=None if bits is None else 2 ** (bits - 1) - 1)


def merged(shares: Floats) -> Floats:
    """Return the distinct values, those that only rounding tells apart taken together."""
    distinct = np.unique(np.round(shares.astype(np.float64), 5))
    return distinct.astype(np.float32)


def spread_over(limit: Floats, axis: int, rank: int) -> Floats:
    """Return limits `[c]` or `[1]` in a shape that multiplies a weight of `rank` along `axis`."""
    shape = [1] * rank
    if limit.size > 1:
        shape[axis] = limit.size
    return limit.reshape(shape)


def limits_in(content: bytes, layers: Sequence[Layer]) -> dict[int, Floats]:
    """Return the limits of weights that stand in a file, by tensor index."""
    model, _ = unpacked(content)
    told = weight_limits(model)
    names = {layer.weight: _name(model, layer.weight) for layer in layers}
    return {index: told[name][0] for index, name in names.items() if name in told}


def _name(model: object, index: int) -> str:
    name = model.subgraphs[0].tensors[index].name  # type: ignore[attr-defined]
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


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
