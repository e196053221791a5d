"""Operations that put values elsewhere: joined, parted, cut out, turned, folded into other shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.following.layers import lookup_table, sized
from edgeship.compress.lanes import Masks, Places, Trace
from edgeship.tflite.file import Operator


def reshaped(trace: Trace, op: Operator) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS."""
    x, y = op.inputs[0], op.outputs[0]
    lane = trace.lane(x)
    if lane is None:
        return None
    opens = any(size < 0 for i in (x, y) for size in trace.graph.tensors[i].shape_signature[1:])
    told = op.op != "RESHAPE" or len(op.inputs) < 2 or trace.integers(op, 1) is not None
    found = None if opens or not told else trace.reshaped(lane, trace.shape(x), trace.shape(y))
    if found is None:
        return trace.stop(op)
    if op.op == "RESHAPE":
        if len(op.inputs) > 1:
            trace.rewrite(op, 1, sized(trace, op, 1, found.axis, found.atoms))
        shape = op.options.get("new_shape") or ()
        if len(shape) == len(trace.shape(y)):
            trace.change(
                op, "newShape", lambda masks: _with(shape, found.axis, int(masks(found.atoms).sum()))
            )
    return trace.set(y, found.axis, found.atoms)


def _with(shape: tuple[int, ...], axis: int, size: int) -> list[int]:
    return [size if n == axis and held >= 0 else held for n, held in enumerate(shape)]


def turned(trace: Trace, op: Operator) -> None:
    """TRANSPOSE by a constant order."""
    lane, order = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    if order is None:
        return trace.stop(op)
    return trace.set(op.outputs[0], order.reshape(-1).tolist().index(lane.axis), lane.atoms)


def reversed_(trace: Trace, op: Operator) -> None:
    """REVERSE_V2 along constant axes."""
    lane, axes = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    if axes is None:
        return trace.stop(op)
    rank = len(trace.shape(op.inputs[0]))
    flipped = lane.axis in {int(a) % rank for a in axes.reshape(-1)}
    return trace.set(op.outputs[0], lane.axis, lane.atoms[::-1] if flipped else lane.atoms)


def joined(trace: Trace, op: Operator) -> None:
    """CONCATENATION and PACK: behind one another along the lane, or side by side."""
    lanes = [trace.lane(i) for i in op.inputs]
    if not any(lanes):
        return None
    rank = len(trace.shape(op.outputs[0]))
    axis = int(op.options.get("axis", 0)) % rank
    packs = op.op == "PACK"
    own = {lane.axis for lane in lanes if lane is not None}
    if len(own) != 1:
        return trace.stop(op)
    (along,) = own
    if not packs and along == axis:
        whole = [
            np.full(trace.shape(i)[axis], -1) if lane is None else lane.atoms
            for i, lane in zip(op.inputs, lanes, strict=True)
        ]
        atoms = np.concatenate(whole)
        fixed = trace.atoms.new(int((atoms < 0).sum()))
        trace.atoms.pin(fixed, f"{trace.said(op)} joins what stays whole")
        atoms[atoms < 0] = fixed
        return trace.set(op.outputs[0], axis, atoms)
    if not all(lanes):
        return trace.stop(op)
    first = next(lane for lane in lanes if lane is not None)
    for lane in lanes:
        assert lane is not None
        trace.atoms.join(first.atoms, lane.atoms)
    return trace.set(op.outputs[0], along + (packs and axis <= along), first.atoms)


def unpacked(trace: Trace, op: Operator) -> None:
    """UNPACK along another axis than the lane's."""
    lane = trace.lane(op.inputs[0])
    if lane is None:
        return None
    axis = int(op.options.get("axis", 0)) % len(trace.shape(op.inputs[0]))
    if axis == lane.axis:
        return trace.stop(op)
    for y in op.outputs:
        trace.set(y, lane.axis - (axis < lane.axis), lane.atoms)
    return None


def split(trace: Trace, op: Operator) -> None:
    """SPLIT(axis, x): parts of one size, so the k-th channels of all parts go together."""
    lane, axis = trace.lane(op.inputs[1]), trace.integers(op, 0)
    if lane is None:
        return None
    if axis is None:
        return trace.stop(op)
    parts = [lane.atoms] * len(op.outputs)
    if int(axis.reshape(-1)[0]) % len(trace.shape(op.inputs[1])) == lane.axis:
        parts = np.split(lane.atoms, len(op.outputs))
        for part in parts[1:]:
            trace.atoms.join(parts[0], part)
    for y, part in zip(op.outputs, parts, strict=True):
        trace.set(y, lane.axis, part)
    return None


def split_by_sizes(trace: Trace, op: Operator) -> None:
    """SPLIT_V(x, sizes, axis): each part loses its own."""
    lane, sizes, axis = trace.lane(op.inputs[0]), trace.integers(op, 1), trace.integers(op, 2)
    if lane is None:
        return None
    if axis is None or sizes is None:
        return trace.stop(op)
    if int(axis.reshape(-1)[0]) % len(trace.shape(op.inputs[0])) != lane.axis:
        for y in op.outputs:
            trace.set(y, lane.axis, lane.atoms)
        return None
    ends = np.cumsum([trace.shape(y)[lane.axis] for y in op.outputs])
    parts = np.split(lane.atoms, ends[:-1])
    dtype, shape = trace.graph.tensors[op.inputs[1]].dtype, sizes.shape
    trace.rewrite(op, 1, lambda masks: np.array([masks(part).sum() for part in parts], dtype).reshape(shape))
    for y, part in zip(op.outputs, parts, strict=True):
        trace.set(y, lane.axis, part)
    return None


def sliced(trace: Trace, op: Operator) -> None:
    """SLICE(x, begin, size)."""
    lane, begin, size = trace.lane(op.inputs[0]), trace.integers(op, 1), trace.integers(op, 2)
    if lane is None:
        return None
    if begin is None or size is None:
        return trace.stop(op)
    axis, first = lane.axis, int(begin.reshape(-1)[lane.axis])
    count = int(size.reshape(-1)[axis])
    last = len(lane.atoms) if count < 0 else first + count
    before, inside = lane.atoms[:first], lane.atoms[first:last]
    trace.rewrite(op, 1, sized(trace, op, 1, axis, before))
    trace.rewrite(op, 2, sized(trace, op, 2, axis, inside))
    return trace.set(op.outputs[0], axis, inside)


def strided(trace: Trace, op: Operator) -> None:
    """STRIDED_SLICE(x, begin, end, strides), where the lane is cut by steps of one, or one channel is picked."""
    lane = trace.lane(op.inputs[0])
    if lane is None:
        return None
    told = [trace.integers(op, n) for n in (1, 2, 3)]
    options = op.options
    if any(t is None for t in told) or options.get("ellipsis_mask") or options.get("new_axis_mask"):
        return trace.stop(op)
    begin, end, strides = (t.reshape(-1).tolist() for t in told if t is not None)
    axis, size = lane.axis, len(lane.atoms)
    shrunk = int(options.get("shrink_axis_mask") or 0)
    out = axis - sum(1 for a in range(axis) if shrunk >> a & 1)
    if axis >= len(begin):
        return trace.set(op.outputs[0], out, lane.atoms)
    if options.get("offset") or (strides[axis] != 1 and not shrunk >> axis & 1):
        return trace.stop(op)
    if shrunk >> axis & 1:
        first = begin[axis] % size
        trace.atoms.pin(lane.atoms[first : first + 1], trace.said(op))
        before = lane.atoms[:first]
        _placed(trace, op, 1, axis, before)
        return _placed(trace, op, 2, axis, before, 1)
    first = 0 if int(options.get("begin_mask") or 0) >> axis & 1 else begin[axis]
    last = size if int(options.get("end_mask") or 0) >> axis & 1 else end[axis]
    first, last, _ = slice(first, last).indices(size)
    if last <= first:
        return trace.stop(op)
    inside = lane.atoms[first:last]
    _placed(trace, op, 1, axis, lane.atoms[:first])
    _placed(trace, op, 2, axis, lane.atoms[:last])
    return trace.set(op.outputs[0], out, inside)


def _placed(trace: Trace, op: Operator, position: int, axis: int, before: Places, more: int = 0) -> None:
    """Note that a place along `axis`, in a constant of places, is `more` behind the atoms before it that stay."""
    tensor = trace.graph.tensors[op.inputs[position]]
    held = np.frombuffer(trace.file.tensor_bytes(tensor.index), tensor.dtype).reshape(tensor.shape)

    def value(masks: Masks) -> NDArray[Any]:
        new = held.copy().reshape(-1)
        new[axis] = masks(before).sum() + more
        return new.reshape(held.shape)

    trace.rewrite(op, position, value)


def picked(trace: Trace, op: Operator) -> None:
    """GATHER: the columns of a constant table, channels by constant indices, or places along another axis."""
    table, indices = op.inputs[:2]
    options, rank = op.options, len(trace.shape(op.inputs[0]))
    if trace.is_constant(op, 0):
        plain = (
            not int(options.get("axis", 0)) and not options.get("batch_dims") and trace.lane(indices) is None
        )
        return lookup_table(trace, op) if plain and rank == 2 else trace.stop(op)
    lane = trace.lane(table)
    if lane is None or options.get("batch_dims"):
        return trace.stop(op)
    axis = int(options.get("axis", 0)) % rank
    if trace.lane(indices) is not None:
        return trace.stop(op)
    if axis != lane.axis:
        more = len(trace.shape(indices)) - 1 if axis < lane.axis else 0
        return trace.set(op.outputs[0], lane.axis + more, lane.atoms)
    chosen = trace.integers(op, 1)
    if chosen is None or chosen.ndim != 1 or (chosen < 0).any():
        return trace.stop(op)
    dtype, atoms = trace.graph.tensors[indices].dtype, lane.atoms

    def value(masks: Masks) -> NDArray[Any]:
        stays = masks(atoms)
        places = np.cumsum(stays) - 1
        return np.asarray(places[chosen[stays[chosen]]], dtype)

    trace.rewrite(op, 1, value)
    return trace.set(op.outputs[0], axis, atoms[chosen])


def to_depth(trace: Trace, op: Operator) -> None:
    """SPACE_TO_DEPTH: a channel becomes one for each pixel of a block; they go together."""
    lane, block = trace.lane(op.inputs[0]), int(op.options.get("block_size", 0))
    if lane is None:
        return None
    if lane.axis != 3:
        return trace.stop(op)
    return trace.set(op.outputs[0], 3, np.tile(lane.atoms, block * block))


def to_space(trace: Trace, op: Operator) -> None:
    """DEPTH_TO_SPACE: the channels that become the pixels of one channel go together."""
    lane, block = trace.lane(op.inputs[0]), int(op.options.get("block_size", 0))
    if lane is None:
        return None
    if lane.axis != 3:
        return trace.stop(op)
    grid = lane.atoms.reshape(block * block, -1)
    for row in grid[1:]:
        trace.atoms.join(grid[0], row)
    return trace.set(op.outputs[0], 3, grid[0])


def batches(trace: Trace, op: Operator) -> None:
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND leave the axes behind the blocks alone."""
    lane, block = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    if block is None or lane.axis <= block.size:
        return trace.stop(op)
    return trace.set(op.outputs[0], lane.axis, lane.atoms)


def tiled(trace: Trace, op: Operator) -> None:
    """TILE: repeated channels go with their original."""
    lane, times = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    if times is None:
        return trace.stop(op)
    return trace.set(op.outputs[0], lane.axis, np.tile(lane.atoms, int(times.reshape(-1)[lane.axis])))


def spread(trace: Trace, op: Operator) -> None:
    """BROADCAST_TO a constant shape, along other axes than the lane's."""
    lane = trace.lane(op.inputs[0])
    if lane is None:
        return None
    y = op.outputs[0]
    axis = lane.axis + len(trace.shape(y)) - len(trace.shape(op.inputs[0]))
    if trace.integers(op, 1) is None or trace.shape(y)[axis] != len(lane.atoms):
        return trace.stop(op)
    trace.rewrite(op, 1, sized(trace, op, 1, axis, lane.atoms))
    return trace.set(y, axis, lane.atoms)
