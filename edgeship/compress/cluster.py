"""Weight clustering: every weight of a tensor becomes one of k values, which are trained on (`cluster-16`).

Makes the download smaller, and neither the file nor the time. Under an integer recipe the k values are integers of its
grid, so that the final file holds no more than k.
"""

from __future__ import annotations

import numpy as np

from edgeship.compress.came import came_with, told_of
from edgeship.compress.codebook import Codebook, centres_of
from edgeship.compress.constraints import Constraint, Constraints
from edgeship.compress.fake_quant import ActivationGrid, axis_of, largest
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import (
    PRUNING,
    SHARING,
    bits_of,
    counted,
    held,
    own_layers,
    ranges_by_index,
    written,
)
from edgeship.compress.training import Plan, train
from edgeship.compress.work import Outcome, Work
from edgeship.tflite.weights import spread


def apply(work: Work) -> Outcome:
    """Share `count` values a tensor, keep zeros that pruning made, and train on."""
    graph, teacher = TrainableGraph(work.content), TrainableGraph(work.original)
    values, layers, bits = graph.values(), own_layers(graph), bits_of(work.recipe)
    came = came_with(work, graph.file)
    zero = bool(came.pruned) or any(step.method in PRUNING for step in work.before)
    limits, shares = {}, {}
    for layer in layers:
        value = values[layer.weight]
        axis = axis_of(layer, work.one_scale) if bits is not None else None
        limit = limits[layer.weight] = largest(value, axis)
        shares[layer.weight] = value / limit.reshape(spread(limit.size, layer.axis, value.ndim))
    count = work.step.setting("count")
    if work.step.setting("share") == "model" and shares:
        everything = np.concatenate([share.reshape(-1) for share in shares.values()])
        centres = dict.fromkeys(shares, centres_of(everything, count, zero=zero))
    else:
        centres = {index: centres_of(share, count, zero=zero) for index, share in shares.items()}
    steps = None if bits is None else 2 ** (bits - 1) - 1
    book = Codebook(layers, centres, limits, steps=steps)
    constraints: list[Constraint] = [*held(work, graph, but=SHARING), book]
    if work.recipe.endswith("_ai8"):  # what is trained is what runs
        constraints.append(ActivationGrid(graph.file.main, ranges_by_index(work, graph), 8))
    all_of_them = Constraints(*constraints)
    plan = Plan.of(work.step)
    trained = train(graph, all_of_them, teacher, work, plan)
    used = book.told() or limits
    placed = {
        layer.weight: trained.values[layer.weight]
        / used[layer.weight].reshape(spread(used[layer.weight].size, layer.axis, values[layer.weight].ndim))
        for layer in layers
    }
    distinct = [np.unique(np.rint(s * steps) if steps else np.round(s, 6)).size for s in placed.values()]
    return Outcome(
        content=written(work, all_of_them, trained, graph),
        figures=dict(trained.figures)
        | counted(graph, trained.values)
        | {"unique_weights": float(max(distinct, default=0))},
        notes=told_of(work, graph.file),
    )
