"""Weights that make good for channels that went: `repaired(...)`, layer by layer, without labels or gradients.

Each layer's remaining weights are fitted so that, fed by the smaller model, it computes what it did in the whole one:
least squares over real inputs (He, Zhang and Sun, "Channel pruning for accelerating very deep neural networks", ICCV
2017), with what the layers before have become by then as its input, and held back towards the weights it had.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from edgeship.tflite.weights import constant, with_weights

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


Values = dict[tuple[int, int], NDArray[Any]]
"""(operation of the whole model, position among its inputs) -> value, in the whole model's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """A layer that is fitted."""

    operator: Operator
    """Of the whole model."""
    reads: tuple[int, int]
    """The tensor that it reads, in the whole model and in the smaller one."""
    weight: Floats
    """[out, places, in] of the whole model; of a dense layer one place."""
    bias: Floats | None
    kept_out: NDArray[np.bool_]
    kept_in: NDArray[np.bool_]


def repaired(
    coupling: Coupling, stays: Stays, samples: Samples, *, seed: int = 0, report: Report = lambda *_: None
) -> tuple[bytes, int]:
    """Return (the file without the channels that do not stay, how many layers were fitted)."""
    masks, fits = masks_of(coupling, stays), []
    cuts = {(c.operator, c.role): c for c in coupling.cuts if c.position == 1}
    lost = [op for (op, role), cut in cuts.items() if role == "reads" and not masks(cut.atoms).all()]
    for op in _behind(coupling.file, lost, set()):
        reads, makes = cuts.get((op.index, "reads")), cuts.get((op.index, "makes"))
        everything = np.ones(coupling.file.main.tensors[op.inputs[1]].shape[-1], np.bool_)
        if makes is not None:
            kept_in = everything if reads is None else masks(reads.atoms)
            fits.append(_fit(coupling.file, op, op.inputs[0], (masks(makes.atoms), kept_in)))
    write = functools.partial(without, coupling, stays)
    return _fitted(coupling.file, fits, lambda values: write(values=values), (samples, seed, report))


def repaired_without(
    file: TfliteFile,
    left: tuple[bytes, Mapping[int, int]],
    exits: Iterable[int],
    samples: Samples,
    *,
    seed: int = 0,
    report: Report = lambda *_: None,
) -> tuple[bytes, int]:
    """Return (the file that some blocks were left out of, the layers behind them fitted; how many these are).

    `left`: what `without_blocks` returned of `file`; `exits`: the tensors of `file` that the blocks ended in. A bias
    that layers share stays as it is.
    """
    small, moved = left
    graph = parse(Path("small.tflite"), small, "").main
    uses = Counter(index for op in file.main.operators for index in op.inputs)
    fits = []
    for op in _behind(file, (), set(exits)):
        if op.index in moved:
            shape = file.main.tensors[op.inputs[1]].shape
            everything = np.ones(shape[0], np.bool_), np.ones(shape[-1], np.bool_)
            fit = _fit(file, op, graph.operators[moved[op.index]].inputs[0], everything)
            shared = fit.bias is not None and uses[op.inputs[2]] > 1
            fits.append(replace(fit, bias=None) if shared else fit)

    def write(values: Values) -> bytes:
        return with_weights(
            small, {graph.operators[moved[op]].inputs[n]: value for (op, n), value in values.items()}
        )

    return _fitted(file, fits, write, (samples, seed, report))


def _fitted(
    file: TfliteFile,
    fits: list[_Fit],
    write: Callable[[Values], bytes],
    how: tuple[Samples, int, Report],
) -> tuple[bytes, int]:
    """Fit one layer after the other, each behind those before it."""
    (samples, seed, report), values = how, Values()
    small = write(values)
    runs = BUDGET / max(1.0, 2.0 * len(fits) * macs(file))
    some = samples.some(int(min(max(runs, SAMPLES[0]), SAMPLES[1])), seed)
    for done, fit in enumerate(fits):
        report("fitting what is left", done, len(fits))
        weight, bias = _solved(fit, (file, parse(Path("small.tflite"), small, "")), some, seed)
        op, tensors = fit.operator, file.main.tensors
        values[op.index, 1] = weight.reshape(tensors[op.inputs[1]].shape).astype(np.float32)
        if bias is not None:
            values[op.index, 2] = bias.reshape(tensors[op.inputs[2]].shape).astype(np.float32)
        small = write(values)
    return small, len(fits)


def _behind(file: TfliteFile, lost: Iterable[int], changed: set[int]) -> Iterator[Operator]:
    """Yield the layers that can be fitted among those operations, and behind them and some tensors, in the order they
    run."""
    uses = Counter(index for op in file.main.operators for index in op.inputs)
    first = set(lost)
    for op in file.main.operators:
        if op.index in first or changed & set(op.inputs):
            changed |= set(op.outputs)
            if (
                op.op in ("CONV_2D", "FULLY_CONNECTED")
                and uses[op.inputs[1]] == 1
                and _can_be_fitted(file, op)
            ):
                yield op


def _fit(
    file: TfliteFile, op: Operator, reads: int, kept: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> _Fit:
    weight = constant(file, op.inputs[1]).astype(np.float64)
    bias = op.inputs[2] if len(op.inputs) > 2 else -1
    return _Fit(
        operator=op,
        reads=(op.inputs[0], reads),
        weight=weight.reshape(weight.shape[0], -1, weight.shape[-1]),
        bias=constant(file, bias).astype(np.float64).reshape(-1) if bias >= 0 else None,
        kept_out=kept[0],
        kept_in=kept[1],
    )


def _can_be_fitted(file: TfliteFile, op: Operator) -> bool:
    """Return whether a layer has constants of its own, not by groups, and not more of them than can be solved for."""
    held = [file.main.tensors[i] for i in op.inputs[1:3] if i >= 0]
    if not all(t.has_data and t.dtype == "float32" and not t.is_sparse for t in held):
        return False
    shape = held[0].shape
    plain = op.op != "CONV_2D" or file.main.tensors[op.inputs[0]].shape[-1] == shape[3]
    return plain and prod(shape[1:]) <= WIDEST


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
        made, read = whole(fit.reads[0]), small(fit.reads[1])
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
