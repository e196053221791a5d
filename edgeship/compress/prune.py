"""Magnitude pruning: the smallest weights become zero, gradually, while the rest learns to do without.

Zeros in no order make the download smaller, and neither the file nor the time: runtimes multiply by them like by
anything else. The schedule is that of Zhu and Gupta (2017): s(t) = s (1 - (1 - t)^3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.came import told_of
from edgeship.compress.constraints import Constraints, Mask, Values
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted, held, own_layers, written
from edgeship.compress.training import Plan, best_rate, train
from edgeship.compress.work import Outcome, Work
from edgeship.tflite.weights import Layer

Floats = NDArray[np.float32]
RISE = 0.5
"""Share of the training in which zeros grow to their number."""
SMALL = 0.01
"""A layer with a smaller share of all weights is left alone: its zeros save a few bytes and cost as much as any."""


class Pruning(Mask):
    """A mask that grows over the training."""

    def __init__(
        self, layers: Sequence[Layer], values: Mapping[int, Floats], pattern: str, share: float
    ) -> None:
        super().__init__({layer.weight: (values[layer.weight] != 0).astype(np.float32) for layer in layers})
        self.pattern, self.share = pattern, share
        total = sum(values[layer.weight].size for layer in layers)
        self.layers = [layer for layer in layers if values[layer.weight].size >= SMALL * total]
        self.settled = False

    def at(self, share: float, values: Values) -> None:
        """Set the mask for this moment of the schedule; once it is whole it stays."""
        if self.settled:
            return
        grown = 1.0 - (1.0 - min(share / RISE, 1.0)) ** 3
        held = values()
        for index, mask in masks_of(self.layers, held, self.pattern, self.share * grown).items():
            self.masks[index].assign(mask * (self.masks[index].numpy() if share == 0 else 1.0))
        self.settled = share >= RISE


def masks_of(
    layers: Sequence[Layer], values: Mapping[int, Floats], pattern: str, share: float
) -> dict[int, Floats]:
    """Return masks with `share` of all weights zero, by tensor index.

    `free`: a weight counts by its magnitude in units of its layer's (root of the mean square), over all layers alike,
    so that layers with weights to spare give more; none gives all. `2x4`: the two smallest of every four along the last
    axis. `blocks`: runs of four along the last axis by their norm.
    """
    if not layers:
        return {}
    if pattern == "2x4":
        return {layer.weight: _two_of_four(values[layer.weight], share) for layer in layers}
    scores = {layer.weight: _scores(values[layer.weight], pattern) for layer in layers}
    everything = np.concatenate([s.reshape(-1) for s in scores.values()])
    if share <= 0:
        return {index: np.ones_like(score) for index, score in scores.items()}
    limit = np.partition(everything, int(share * (everything.size - 1)))[int(share * (everything.size - 1))]
    found = {}
    for index, score in scores.items():
        least = min(float(limit), float(np.quantile(score, 0.98)))
        found[index] = (score > least).astype(np.float32)
    return found


def _scores(value: Floats, pattern: str) -> Floats:
    size = np.abs(value) / max(float(np.sqrt(np.mean(value**2))), 1e-12)
    if pattern != "blocks":
        return size.astype(np.float32)
    padded = _in_fours(size)
    norms = np.sqrt((padded**2).mean(axis=-1, keepdims=True)) * np.ones_like(padded)
    return _as_before(norms, value)


def _two_of_four(value: Floats, share: float) -> Floats:
    """Return the mask that keeps the two largest of every four; with `share` below one half, in as many fours."""
    fours = _in_fours(np.abs(value))
    order = np.argsort(np.argsort(fours, axis=-1), axis=-1)
    mask = (order >= 2).astype(np.float32)
    part = min(share / 0.5, 1.0)
    if part < 1.0:  # the fours that lose least come first
        lost = np.sort(fours, axis=-1)[..., :2].sum(axis=-1)
        mask = np.where((lost <= np.quantile(lost, part))[..., None] if part > 0 else False, mask, 1.0)
    return _as_before(mask.astype(np.float32), value)


def _in_fours(size: Floats) -> Floats:
    """Return values `[..., n]` as `[..., ceil(n / 4), 4]`, filled up with infinity that is never small."""
    last = size.shape[-1]
    padded = np.pad(
        size, [(0, 0)] * (size.ndim - 1) + [(0, -last % 4)], constant_values=size.max(initial=1.0)
    )
    return padded.reshape(*size.shape[:-1], -1, 4)


def _as_before(fours: Floats, value: Floats) -> Floats:
    return fours.reshape(*value.shape[:-1], -1)[..., : value.shape[-1]].astype(np.float32)


def apply(work: Work) -> Outcome:
    """Prune: `prune-80` (percent of zeros), `prune-2x4`, `prune-blocks-50`."""
    pattern = {"prune-2x4": "2x4", "prune-blocks": "blocks"}.get(work.step.method, "free")
    share = 0.5 if pattern == "2x4" else work.step.setting("percent") / 100
    teacher, plan = TrainableGraph(work.original), Plan.of(work.step, settled=RISE)

    def begun() -> tuple[TrainableGraph, Constraints]:
        graph = TrainableGraph(work.content)
        mask = Pruning(own_layers(graph), graph.values(), pattern, share)
        return graph, Constraints(mask, *held(work, graph, zero=True))

    if not plan.rate:
        plan = replace(plan, rate=best_rate(begun, teacher, work, plan))
    graph, constraints = begun()
    trained = train(graph, constraints, teacher, work, plan)
    layers = own_layers(graph)
    pruning = constraints.several[0]
    assert isinstance(pruning, Pruning)
    small = sum(layer not in pruning.layers for layer in layers)
    notes = (
        [
            f"{small} of {len(layers)} layers hold less than {SMALL:.0%} of the weights each and were left whole"
        ]
        if small
        else []
    )
    return Outcome(
        content=written(work, constraints, trained, graph),
        figures=dict(trained.figures) | counted(graph, trained.values),
        notes=(*notes, *told_of(work, graph.file)),
    )
