"""How much groups of channels matter: by their weights, or by what the layers behind them make of real inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.coupling import Coupling
from edgeship.compress.lanes import Cut
from edgeship.compress.samples import Samples
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.weights import constant

Scores = NDArray[np.float64]


SEEN = 128
"""Samples that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What real inputs make of what a layer reads: over samples and positions, for each place along its cut."""

    mean: Scores
    variance: Scores


def by_weights(coupling: Coupling) -> Scores:
    """Return of every group the mean, over all weights that it takes along, of its sum of squares relative to that of
    the layer's average channel: 1 is an average channel."""
    total, count = np.zeros(coupling.groups), np.zeros(coupling.groups)
    for cut in coupling.cuts:
        if cut.role == "beside" or coupling.file.main.tensors[cut.tensor].dtype != "float32":
            continue
        energy = _energy(coupling, cut)
        relative = energy / max(float(energy.mean()), 1e-30)
        _add(coupling, cut, relative, total)
        _add(coupling, cut, np.ones(len(energy)), count)
    return np.asarray(total / np.maximum(count, 1.0))


def by_outputs(coupling: Coupling, moments: Mapping[int, Moments]) -> Scores:
    """Return of every group the largest share that it has, in any layer that reads it, of the variance of what the
    layer computes: sum over its places of variance * squared weights, over the same sum of all places.

    A mean can be moved into the bias (`compensated`), so only what varies counts. The measure of FLAP (An et al.,
    "Fluctuation-based Adaptive Structured Pruning", AAAI 2024), with a share instead of the product itself, so that
    layers can be compared. Groups that no layer with weights reads are judged by their weights.
    """
    scores = np.full(coupling.groups, -1.0)
    for cut in reading(coupling):
        if cut.operator not in moments:
            continue
        part = moments[cut.operator].variance * _energy(coupling, cut)
        share = np.zeros(coupling.groups)
        _add(coupling, cut, part / max(float(part.sum()), 1e-30), share)
        touched = np.unique(coupling.of(cut.atoms))
        touched = touched[touched >= 0]
        scores[touched] = np.maximum(scores[touched], share[touched])
    unseen = scores < 0
    if unseen.any():
        scores[unseen] = by_weights(coupling)[unseen] / max(1, coupling.groups)
    return scores


def moments_of(coupling: Coupling, samples: Samples, seed: int = 0) -> dict[int, Moments]:
    """Return, by operation, the moments of what the layers read that read channels; of some samples, run in LiteRT."""
    cuts = {cut.operator: cut for cut in reading(coupling)}
    sums = {operator: np.zeros((3, len(cut.atoms))) for operator, cut in cuts.items()}
    for tensors in values_seen(coupling.file, samples.some(SEEN, seed)):
        for operator, cut in cuts.items():
            rows = np.asarray(tensors(source_of(coupling, cut)), np.float64).reshape(-1, len(cut.atoms))
            sums[operator] += np.stack([np.full(rows.shape[1], len(rows)), rows.sum(0), (rows**2).sum(0)])
    found = {}
    for operator, (count, total, squares) in sums.items():
        mean = total / np.maximum(count, 1.0)
        variance = np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0)
        found[operator] = Moments(mean=mean, variance=variance)
    return found


def values_seen(file: TfliteFile, samples: Samples) -> Iterator[Callable[[int], NDArray[Any]]]:
    """Yield, for every run of LiteRT over samples, what gives a tensor's value by its index."""
    from ai_edge_litert.interpreter import Interpreter

    graph = file.main
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tensors which are kept take memory
        interpreter = Interpreter(
            model_content=file.content, num_threads=1, experimental_preserve_all_tensors=True
        )
    interpreter.allocate_tensors()
    shapes = [graph.tensors[i].shape for i in graph.inputs]
    size = shapes[0][0] if shapes and shapes[0] else 1
    for held, _ in samples.batches(size):
        for index, shape, block in zip(graph.inputs, shapes, held, strict=True):
            whole = np.resize(block, (size, *block.shape[1:])) if len(block) < size else block
            interpreter.set_tensor(index, whole.astype(graph.tensors[index].dtype, copy=False).reshape(shape))
        interpreter.invoke()
        yield interpreter.get_tensor


def source_of(coupling: Coupling, cut: Cut) -> int:
    """Return the tensor that a layer reads whose weights are cut."""
    op = coupling.file.main.operators[cut.operator]
    return op.inputs[2 if op.op == "TRANSPOSE_CONV" else 0]


def reading(coupling: Coupling) -> list[Cut]:
    """Return the cuts of float weights that read channels."""
    tensors = coupling.file.main.tensors
    return [c for c in coupling.cuts if c.role == "reads" and tensors[c.tensor].dtype == "float32"]


def _energy(coupling: Coupling, cut: Cut) -> Scores:
    """Return the sum of squares of a weight at every place along a cut."""
    weight = np.asarray(constant(coupling.file, cut.tensor), np.float64)
    other = tuple(a for a in range(weight.ndim) if a != cut.axis)
    return np.asarray((weight**2).sum(other))


def _add(coupling: Coupling, cut: Cut, values: Scores, onto: Scores) -> None:
    groups = coupling.of(cut.atoms)
    free = groups >= 0
    np.add.at(onto, groups[free], values[free])
