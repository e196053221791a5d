"""One layer fitted by least squares: `solved(...)` gives the weights with which it computes, fed by a smaller model,
what it does in the whole one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.importance import values_seen
from edgeship.compress.samples import Samples
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.weights import constant

POSITIONS = 32
"""Positions of a map that are looked at in each sample."""
ROWS = 1024
"""Rows that are multiplied at once."""
WIDEST = 4608
"""Weights behind one output that are still solved for: a matrix of 170 MB."""
RIDGE = 1e-2
"""How strongly weights are held back, relative to the mean square of what they are multiplied with."""
FITTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A layer that is fitted."""

    operator: Operator
    """Of the whole model."""
    reads: tuple[int, int]
    """The tensor that it reads, in the whole model and in the smaller one."""
    weight: Floats
    """[out, places, in] of the whole model: of a dense layer one place, of a depthwise convolution one `in`."""
    bias: Floats | None
    kept_out: Mask
    kept_in: Mask
    """Of what is read in the whole model: places along `in`; of a depthwise convolution, channels."""


def can_be_fitted(file: TfliteFile, op: Operator) -> bool:
    """Return whether a layer has constants of its own, not by groups, and not more of them than can be solved for."""
    if op.op not in FITTED:
        return False
    held = [file.main.tensors[i] for i in op.inputs[1:3] if i >= 0]
    if not all(t.has_data and t.dtype == "float32" and not t.is_sparse for t in held):
        return False
    shape = held[0].shape
    plain = op.op != "CONV_2D" or file.main.tensors[op.inputs[0]].shape[-1] == shape[3]
    return plain and prod(shape[1:]) <= WIDEST


def fit_of(file: TfliteFile, op: Operator, reads: int, kept_out: Mask | None, kept_in: Mask | None) -> Fit:
    """Return what is to be fitted; None: everything stays. `reads`: the tensor that is read in the smaller model."""
    weight = constant(file, op.inputs[1]).astype(np.float64)
    if op.op == "DEPTHWISE_CONV_2D":
        weight = weight.reshape(-1, weight.shape[-1]).T[:, :, None]
        width = file.main.tensors[op.inputs[0]].shape[-1]
    else:
        weight = weight.reshape(weight.shape[0], -1, weight.shape[-1])
        width = weight.shape[-1]
    bias = op.inputs[2] if len(op.inputs) > 2 else -1
    return Fit(
        operator=op,
        reads=(op.inputs[0], reads),
        weight=weight,
        bias=constant(file, bias).astype(np.float64).reshape(-1) if bias >= 0 else None,
        kept_out=np.ones(len(weight), np.bool_) if kept_out is None else kept_out,
        kept_in=np.ones(width, np.bool_) if kept_in is None else kept_in,
    )


def solved(
    fit: Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return (weights, bias) in the whole model's shapes, of a layer whose outputs in the second file are nearest to
    those in the first one; what does not stay keeps its value."""
    alone = fit.operator.op == "DEPTHWISE_CONV_2D"
    change, weight = (_each if alone else _together)(fit, files, samples, seed), fit.weight.copy()
    count = change.shape[1] - (fit.bias is not None)
    kept_in = np.ones(1, np.bool_) if alone else fit.kept_in
    where = np.ix_(fit.kept_out, np.arange(weight.shape[1]), kept_in)
    weight[where] += change[:, :count].reshape(weight[where].shape)
    bias = None
    if fit.bias is not None:
        bias = fit.bias.copy()
        bias[fit.kept_out] += change[:, -1]
        bias = bias.reshape(files[0].main.tensors[fit.operator.inputs[2]].shape).astype(np.float32)
    shape = files[0].main.tensors[fit.operator.inputs[1]].shape
    turned = weight[:, :, 0].T if alone else weight
    return turned.reshape(shape).astype(np.float32), bias


def _together(fit: Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int) -> Floats:
    """Return the change of weights, [out, places * in] and the bias behind, where all outputs read the same."""
    whole = fit.weight[fit.kept_out]
    current = whole[:, :, fit.kept_in].reshape(len(whole), -1)
    whole = whole.reshape(len(whole), -1)
    size = current.shape[1] + (fit.bias is not None)
    square, target = np.zeros((size, size)), np.zeros((size, len(whole)))
    for made, read in _rows(fit, files, samples, seed):
        made, read = made.reshape(-1, whole.shape[1]), read.reshape(-1, current.shape[1])
        missing = made @ whole.T - read @ current.T
        if fit.bias is not None:
            read = np.hstack([read, np.ones((len(read), 1))])
        square += read.T @ read
        target += read.T @ missing
    hold = RIDGE * float(np.trace(square)) / size
    return np.asarray(np.linalg.solve(square + max(hold, 1e-12) * np.eye(size), target).T)


def _each(fit: Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int) -> Floats:
    """Return the change of weights, [out, places] and the bias behind, where each output reads a channel of its own."""
    weight = fit.weight[fit.kept_out][:, :, 0]
    channel = np.flatnonzero(fit.kept_out) // (len(fit.weight) // len(fit.kept_in))
    place = (np.cumsum(fit.kept_in) - 1)[channel]
    size = weight.shape[1] + (fit.bias is not None)
    square, target = np.zeros((len(weight), size, size)), np.zeros((len(weight), size))
    for made, read in _rows(fit, files, samples, seed):
        read = read[:, :, place]
        missing = np.einsum("rkc,ck->rc", made[:, :, channel] - read, weight)
        if fit.bias is not None:
            read = np.concatenate([read, np.ones((len(read), 1, read.shape[2]))], 1)
        columns = read.transpose(2, 1, 0)
        square += columns @ columns.transpose(0, 2, 1)
        target += np.einsum("ckr,rc->ck", columns, missing)
    hold = RIDGE * np.trace(square, axis1=1, axis2=2) / size
    square += np.maximum(hold, 1e-12)[:, None, None] * np.eye(size)
    return np.asarray(np.linalg.solve(square, target[:, :, None])[:, :, 0])


def _rows(
    fit: Fit, files: tuple[TfliteFile, TfliteFile], samples: Samples, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield what a layer reads in the whole model and in the smaller one, [rows, places, channels], ROWS at a time."""
    op, tensors = fit.operator, files[0].main.tensors
    random = np.random.default_rng(seed)
    held: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for whole, small in zip(*(values_seen(file, samples) for file in files), strict=True):
        made, read = whole(fit.reads[0]), small(fit.reads[1])
        if op.op == "FULLY_CONNECTED":
            made = made.reshape(-1, 1, fit.weight.shape[2])
            read = read.reshape(len(made), 1, -1)
        else:
            kernel, shape = tensors[op.inputs[1]].shape[1:3], tensors[op.outputs[0]].shape
            places = _places(op, kernel, made.shape, shape, random)
            made, read = _patches(made, places), _patches(read, places)
        held.append((made, read))
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
    """Return what a convolution reads at places: [batch * positions, kh * kw, channels]; 0 outside."""
    high, wide, inside = places
    patches = values[:, high, wide, :] * inside[None, ..., None]
    return np.asarray(patches.reshape(len(values) * len(high), -1, values.shape[3]))
