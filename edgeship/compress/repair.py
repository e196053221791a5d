"""Weights that make good for channels that went: `repaired(...)`, layer by layer, without labels or gradients.

Each layer's remaining weights are fitted so that, fed by the smaller model, it computes what it did in the whole one:
least squares over real inputs (He, Zhang and Sun, "Channel pruning for accelerating very deep neural networks", ICCV
2017), with what the layers before have become by then as its input, and held back towards the weights it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.coupling import Coupling
from edgeship.compress.importance import values_seen
from edgeship.compress.samples import Samples
from edgeship.compress.surgery import Stays, masks_of, without
from edgeship.compress.work import Report
from edgeship.tflite.cost import macs
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import constant

SAMPLES = (32, 256)
"""Samples that are run at least and at most."""
BUDGET = 2e12
"""Multiply-accumulates of all runs together: about a minute and a half of one core."""
POSITIONS = 32
"""Positions of a map that are looked at in each sample."""
ROWS = 1024
"""Rows that are multiplied at once."""
WIDEST = 4608
"""Weights behind one output that are still solved for: a matrix of 170 MB."""
RIDGE = 1e-2
"""How strongly weights are held back, relative to the mean square of what they are multiplied with."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """A layer that is fitted."""

    operator: Operator
    weight: Floats
    """[out, places, in]; of a dense layer one place."""
    bias: Floats | None
    kept_out: NDArray[np.bool_]
    kept_in: NDArray[np.bool_]


def repaired(
    coupling: Coupling, stays: Stays, samples: Samples, *, seed: int = 0, report: Report = lambda *_: None
) -> tuple[bytes, int]:
    """Return (the file without what does not stay, how many layers were fitted)."""
    file = coupling.file
    small = without(coupling, stays)
    fits = list(_fits(coupling, stays))
    if not fits:
        return small, 0
    runs = BUDGET / max(1.0, 2.0 * len(fits) * macs(file))
    some = samples.some(int(min(max(runs, SAMPLES[0]), SAMPLES[1])), seed)
    values: dict[tuple[int, int], NDArray[Any]] = {}
    for done, fit in enumerate(fits):
        report("fitting what is left", done, len(fits))
        weight, bias = _solved(fit, (file, parse(Path("small.tflite"), small, "")), some, seed)
        index = fit.operator.inputs[1]
        values[fit.operator.index, 1] = weight.reshape(file.main.tensors[index].shape).astype(np.float32)
        if bias is not None:
            shape = file.main.tensors[fit.operator.inputs[2]].shape
            values[fit.operator.index, 2] = bias.reshape(shape).astype(np.float32)
        small = without(coupling, stays, values=values)
    return small, len(fits)


def _fits(coupling: Coupling, stays: Stays) -> list[_Fit]:
    """Return the convolutions and dense layers behind the first one that lost a channel, in the order they run."""
    file, masks, found = coupling.file, masks_of(coupling, stays), []
    uses: dict[int, int] = {}
    for op in file.main.operators:
        for index in op.inputs:
            uses[index] = uses.get(index, 0) + 1
    cuts = {(c.operator, c.role): c for c in coupling.cuts if c.position == 1}
    changed: set[int] = set()
    for op in file.main.operators:
        reads, makes = cuts.get((op.index, "reads")), cuts.get((op.index, "makes"))
        lost = reads is not None and not masks(reads.atoms).all()
        if lost or changed & set(op.inputs):
            changed |= set(op.outputs)
            if makes is None or not _can_be_fitted(file, op) or uses[op.inputs[1]] > 1:
                continue
            shape = file.main.tensors[op.inputs[1]].shape
            held = len(op.inputs) > 2 and op.inputs[2] >= 0
            everything = np.ones(shape[-1], np.bool_)
            found.append(
                _Fit(
                    operator=op,
                    weight=constant(file, op.inputs[1]).astype(np.float64).reshape(shape[0], -1, shape[-1]),
                    bias=constant(file, op.inputs[2]).astype(np.float64).reshape(-1) if held else None,
                    kept_out=masks(makes.atoms),
                    kept_in=everything if reads is None else masks(reads.atoms),
                )
            )
    return found


def _can_be_fitted(file: TfliteFile, op: Operator) -> bool:
    shape = file.main.tensors[op.inputs[1]].shape
    if prod(shape[1:]) > WIDEST:
        return False
    if op.op == "CONV_2D":
        return file.main.tensors[op.inputs[0]].shape[-1] == shape[3]
    return op.op == "FULLY_CONNECTED"


def _solved(
    fit: _Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int
) -> tuple[Floats, Floats | None]:
    """Return (weights, bias) of a layer whose outputs are nearest to those of the whole model."""
    current = fit.weight[fit.kept_out][:, :, fit.kept_in]
    rows = current[0].size + (fit.bias is not None)
    square, target = np.zeros((rows, rows)), np.zeros((rows, len(current)))
    whole = fit.weight[fit.kept_out].reshape(len(current), -1).T
    for made, read in _blocks(fit, files, samples, seed):
        missing = made @ whole - read @ current.reshape(len(current), -1).T
        if fit.bias is not None:
            read = np.hstack([read, np.ones((len(read), 1))])
        square += read.T @ read
        target += read.T @ missing
    hold = RIDGE * float(np.trace(square)) / rows
    change = np.linalg.solve(square + max(hold, 1e-12) * np.eye(rows), target).T
    weight = fit.weight.copy()
    weight[np.ix_(fit.kept_out, np.arange(weight.shape[1]), fit.kept_in)] = current + change[
        :, : current[0].size
    ].reshape(current.shape)
    if fit.bias is None:
        return weight, None
    bias = fit.bias.copy()
    bias[fit.kept_out] += change[:, -1]
    return weight, bias


def _blocks(
    fit: _Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield what a layer reads in the whole model and in the smaller one, [rows, weights of an output], ROWS at a
    time."""
    op, tensors = fit.operator, files[0].main.tensors
    random = np.random.default_rng(seed)
    wide, narrow = fit.weight[0].size, fit.weight[0][:, fit.kept_in].size
    held: list[tuple[NDArray[Any], NDArray[Any]]] = []
    runs = zip(*(values_seen(file, samples) for file in files), strict=True)
    for whole, small in runs:
        made, read = whole(op.inputs[0]), small(op.inputs[0])
        if op.op == "CONV_2D":
            kernel, shape = tensors[op.inputs[1]].shape[1:3], tensors[op.outputs[0]].shape
            places = _places(op, kernel, made.shape, shape, random)
            made, read = _patches(made, places), _patches(read, places)
        held.append((made.reshape(-1, wide), read.reshape(-1, narrow)))
        if sum(len(rows) for rows, _ in held) >= ROWS:
            yield _stacked(held)
            held = []
    if held:
        yield _stacked(held)


def _stacked(held: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[Floats, Floats]:
    made, read = (np.concatenate(rows).astype(np.float64) for rows in zip(*held, strict=True))
    return made, read


def _places(
    op: Operator,
    kernel: tuple[int, ...],
    shape: tuple[int, ...],
    made: tuple[int, ...],
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return (rows, columns, whether inside) of what some positions of a convolution look at: [positions, kh, kw]."""
    found = []
    chosen = random.choice(made[1] * made[2], min(POSITIONS, made[1] * made[2]), replace=False)
    for axis, name, place in ((0, "h", chosen // made[2]), (1, "w", chosen % made[2])):
        stride, dilation = op.options[f"stride_{name}"], op.options[f"dilation_{name}_factor"]
        size, reach = shape[1 + axis], (kernel[axis] - 1) * dilation + 1
        before = 0
        if op.options["padding"] == "SAME":
            before = max(0, (made[1 + axis] - 1) * stride + reach - size) // 2
        found.append(place[:, None] * stride + np.arange(kernel[axis])[None] * dilation - before)
    high, wide = found[0][:, :, None], found[1][:, None, :]
    high, wide = np.broadcast_arrays(high, wide)
    inside = (high >= 0) & (high < shape[1]) & (wide >= 0) & (wide < shape[2])
    return high.clip(0, shape[1] - 1), wide.clip(0, shape[2] - 1), inside


def _patches(
    values: NDArray[Any], places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]
) -> NDArray[Any]:
    """Return what a convolution reads at places: [batch * positions, kh * kw * channels]; 0 outside."""
    high, wide, inside = places
    patches = values[:, high, wide, :] * inside[None, ..., None]
    return np.asarray(patches.reshape(values.shape[0] * len(high), -1))
