"""Layers with weights: where channels come from and what reads them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.lanes import Lane, Masks, Places, Trace, Value
from edgeship.tflite.file import Operator


def convolution(trace: Trace, op: Operator) -> None:
    """CONV_2D, weights [out, h, w, in / groups]; with groups, the k-th channels of all of them go together."""
    x, w = op.inputs[:2]
    if not _weights(trace, op, 1):
        return trace.stop(op)
    shape, channels = trace.shape(w), trace.shape(x)[-1]
    lane = _lane_along(trace, op, x, len(trace.shape(x)) - 1)
    groups = max(1, channels // max(1, shape[3]))
    if groups * shape[3] != channels or shape[0] % groups:
        return trace.stop(op)
    if groups == 1:
        if lane is not None:
            trace.cut(op, 1, 3, lane.atoms, "reads")
        return _made(trace, op, 0, trace.atoms.new(shape[0]))
    each = shape[0] // groups
    if shape[3] == 1:
        if lane is not None:
            made = np.repeat(lane.atoms, each)
        elif each > 1:
            made = np.tile(trace.atoms.new(each), groups)
        else:
            return None
        return _made(trace, op, 0, made)
    if lane is not None:
        grid = lane.atoms.reshape(groups, shape[3])
        for row in grid[1:]:
            trace.atoms.join(grid[0], row)
        trace.cut(op, 1, 3, grid[0], "reads")
    return _made(trace, op, 0, np.tile(trace.atoms.new(each), groups))


def depthwise(trace: Trace, op: Operator) -> None:
    """DEPTHWISE_CONV_2D, weights [1, h, w, in * multiplier]: what is made of a channel goes with it. Of an input that
    stays whole, the k-th of what is made of every channel go together, and the multiplier falls."""
    x, w = op.inputs[:2]
    channels, made = trace.shape(x)[-1], trace.shape(w)[-1]
    multiplier = made // max(1, channels)
    if not _weights(trace, op, 1) or multiplier * channels != made:
        return trace.stop(op)
    lane = _lane_along(trace, op, x, 3)
    if lane is not None and channels > 1:
        return _made(trace, op, 3, np.repeat(lane.atoms, multiplier))
    if lane is not None:
        trace.pin(op, [x])
    if multiplier > 1:
        new = trace.atoms.new(multiplier)
        trace.change(op, "depthMultiplier", trace.count(new))
        _made(trace, op, 3, np.tile(new, channels))
    return None


def dense(trace: Trace, op: Operator) -> None:
    """FULLY_CONNECTED, weights [out, in]; an input of more axes is flattened to rows of `in` values."""
    x, w = op.inputs[:2]
    plain = op.options.get("weights_format", "DEFAULT") == "DEFAULT"
    if not _weights(trace, op, 1) or not plain or len(trace.shape(w)) != 2:
        return trace.stop(op)
    out, width = trace.shape(w)
    lane, shape = trace.lane(x), trace.shape(x)
    if lane is not None:
        flat = lane if len(shape) == 2 else None
        if shape and shape[-1] == width:
            flat = Lane(1, lane.atoms) if lane.axis == len(shape) - 1 else None
        elif math.prod(shape) % width == 0:
            flat = trace.reshaped(lane, shape, (math.prod(shape) // width, width))
        if flat is None or flat.axis != 1 or len(flat.atoms) != width:
            trace.pin(op, [x])
        else:
            trace.cut(op, 1, 1, flat.atoms, "reads")
    return _made(trace, op, 0, trace.atoms.new(out))


def transposed(trace: Trace, op: Operator) -> None:
    """TRANSPOSE_CONV: output shape, weights [out, h, w, in], input, bias."""
    if len(op.inputs) < 3 or not _weights(trace, op, 1):
        return trace.stop(op)
    shape = trace.shape(op.inputs[1])
    lane = _lane_along(trace, op, op.inputs[2], 3)
    if lane is not None:
        trace.cut(op, 1, 3, lane.atoms, "reads")
    wanted = trace.integers(op, 0)
    if wanted is None or wanted.size != 4:
        return None
    new = trace.atoms.new(shape[0])
    trace.rewrite(op, 0, sized(trace, op, 0, 3, new))
    return _made(trace, op, 0, new, bias=3)


def product(trace: Trace, op: Operator) -> None:
    """BATCH_MATMUL by a constant [.., in, out] ([.., out, in] where it is turned), or of two tensors."""
    x, w = op.inputs[:2]
    if trace.lane(w) is not None or not trace.is_constant(op, 1):
        return _both(trace, op)
    if not _weights(trace, op, 1) or op.options.get("adj_x") or len(trace.shape(w)) < 2:
        return trace.stop(op)
    rank = len(trace.shape(w))
    reads, makes = (rank - 1, rank - 2) if op.options.get("adj_y") else (rank - 2, rank - 1)
    lane = _lane_along(trace, op, x, len(trace.shape(x)) - 1)
    if lane is not None:
        trace.cut(op, 1, reads, lane.atoms, "reads")
    new = trace.atoms.new(trace.shape(w)[makes])
    trace.cut(op, 1, makes, new, "makes")
    return trace.set(op.outputs[0], len(trace.shape(op.outputs[0])) - 1, new)


def _both(trace: Trace, op: Operator) -> None:
    """A product of two tensors, as attention has them: channels that are summed over go together, others go on to the
    result. Channels along an axis that both have are not followed."""
    shapes = [trace.shape(i) for i in op.inputs[:2]]
    turned = [bool(op.options.get(name)) for name in ("adj_x", "adj_y")]
    summed = [len(shapes[0]) - (2 if turned[0] else 1), len(shapes[1]) - (1 if turned[1] else 2)]
    lanes = [trace.lane(i) for i in op.inputs[:2]]
    inner = [lane is not None and lane.axis == axis for lane, axis in zip(lanes, summed, strict=True)]
    outer = [
        lane is not None and lane.axis == 2 * len(shape) - 3 - axis
        for lane, shape, axis in zip(lanes, shapes, summed, strict=True)
    ]
    if all(inner) and lanes[0] and lanes[1]:
        return trace.atoms.join(lanes[0].atoms, lanes[1].atoms)
    found = [n for n, lane in enumerate(lanes) if lane is not None]
    if len(found) != 1 or not outer[found[0]]:
        return trace.stop(op)
    lane = lanes[found[0]]
    assert lane is not None
    return trace.set(op.outputs[0], len(trace.shape(op.outputs[0])) - (2 if found[0] == 0 else 1), lane.atoms)


def lookup(trace: Trace, op: Operator) -> None:
    """EMBEDDING_LOOKUP: the columns of a table [words, width]."""
    if not _weights(trace, op, 1) or len(trace.shape(op.inputs[1])) != 2:
        return trace.stop(op)
    new = trace.atoms.new(trace.shape(op.inputs[1])[1])
    trace.cut(op, 1, 1, new, "makes")
    return trace.set(op.outputs[0], len(trace.shape(op.outputs[0])) - 1, new)


def lookup_table(trace: Trace, op: Operator) -> None:
    """GATHER of rows of a constant float table [words, width]."""
    width = trace.shape(op.inputs[0])[1]
    if trace.graph.tensors[op.inputs[0]].dtype != "float32":
        return trace.stop(op)
    new = trace.atoms.new(width)
    trace.cut(op, 0, 1, new, "makes")
    return trace.set(op.outputs[0], len(trace.shape(op.outputs[0])) - 1, new)


def sized(trace: Trace, op: Operator, position: int, place: int, atoms: Places) -> Value:
    """Return what gives a constant of sizes, of which one counts the atoms that stay; -1 stays what it is."""
    tensor = trace.graph.tensors[op.inputs[position]]
    held = np.frombuffer(trace.file.tensor_bytes(tensor.index), tensor.dtype).reshape(tensor.shape)

    def value(masks: Masks) -> NDArray[np.int64]:
        new = held.copy().reshape(-1)
        if new[place] >= 0:
            new[place] = masks(atoms).sum()
        return new.reshape(held.shape)

    return value


def _weights(trace: Trace, op: Operator, position: int) -> bool:
    """Return whether a layer has constant float32 weights."""
    constant = trace.is_constant(op, position)
    return constant and trace.graph.tensors[op.inputs[position]].dtype == "float32"


def _lane_along(trace: Trace, op: Operator, index: int, axis: int) -> Lane | None:
    """Return the lane of a tensor where it lies along `axis`; pin it where it lies along another."""
    lane = trace.lane(index)
    if lane is not None and lane.axis != axis:
        trace.pin(op, [index])
        return None
    return lane


def _made(trace: Trace, op: Operator, axis: int, atoms: Places, bias: int = 2) -> None:
    """Note that weights make channels along an axis of theirs, and the bias has a value for each."""
    trace.cut(op, 1, axis, atoms, "makes")
    if len(op.inputs) > bias and op.inputs[bias] >= 0:
        shape = trace.shape(op.inputs[bias])
        if not trace.is_constant(op, bias) or not shape or shape[-1] != len(atoms):
            trace.atoms.pin(atoms, trace.said(op))
        else:
            trace.cut(op, bias, len(shape) - 1, atoms, "beside")
    trace.set(op.outputs[0], len(trace.shape(op.outputs[0])) - 1, atoms)
