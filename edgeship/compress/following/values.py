"""Operations that give one result for each value, or for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.lanes import Masks, Trace
from edgeship.tflite.file import Operator

UNARY = (
    "ABS", "CAST", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGICAL_NOT",
    "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT",
    "SQUARE", "TANH", "ZEROS_LIKE",
)  # fmt: skip
BROADCAST = (
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW", "FLOOR_DIV", "FLOOR_MOD", "ADD_N",
    "EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "SELECT_V2",
    "SELECT", "PRELU", "ATAN2",
)  # fmt: skip
REDUCED = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")
PICTURES = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


def same(trace: Trace, op: Operator) -> None:
    """One value in, one out."""
    lane = trace.lane(op.inputs[0])
    if lane is not None:
        trace.set(op.outputs[0], lane.axis, lane.atoms)


def broadcast(trace: Trace, op: Operator) -> None:
    """Values of several inputs together; shorter shapes are aligned at the end, and what has a single value along the
    lane goes with every channel."""
    rank = len(trace.shape(op.outputs[0]))
    shift = {i: rank - len(trace.shape(i)) for i in op.inputs}
    lanes = {i: lane for i in op.inputs if (lane := trace.lane(i)) is not None}
    wide = [i for i, lane in lanes.items() if len(lane.atoms) > 1] or list(lanes)[:1]
    axes = {lanes[i].axis + shift[i] for i in wide}
    if len(axes) != 1:
        return trace.stop(op)
    (axis,), atoms = axes, lanes[wide[0]].atoms
    for position, i in enumerate(op.inputs):
        own = axis - shift[i]
        if own < 0 or i == wide[0]:
            continue
        size = trace.shape(i)[own]
        if i in lanes and i not in wide:
            trace.pin(op, [i])
        elif i in lanes:
            trace.atoms.join(atoms, lanes[i].atoms)
        elif trace.graph.tensors[i].shape_signature[own] < 0:
            trace.atoms.pin(atoms, trace.said(op))
        elif size == len(atoms) and size > 1:
            if trace.is_constant(op, position):
                trace.cut(op, position, own, atoms, "beside")
            else:
                trace.atoms.pin(atoms, trace.said(op))
    return trace.set(op.outputs[0], axis, atoms)


def reduced(trace: Trace, op: Operator) -> None:
    """Means and sums along other axes than the lane's."""
    lane, axes = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    rank = len(trace.shape(op.inputs[0]))
    gone = set() if axes is None else {int(a) % rank for a in axes.reshape(-1)}
    if axes is None or lane.axis in gone:
        return trace.stop(op)
    axis = lane.axis if op.options.get("keep_dims") else lane.axis - sum(a < lane.axis for a in gone)
    return trace.set(op.outputs[0], axis, lane.atoms)


def pictures(trace: Trace, op: Operator) -> None:
    """Pools and resizes work on the middle axes and leave the last one."""
    lane = trace.lane(op.inputs[0])
    if lane is not None:
        if lane.axis != len(trace.shape(op.inputs[0])) - 1:
            return trace.stop(op)
        trace.set(op.outputs[0], lane.axis, lane.atoms)
    return None


def padded(trace: Trace, op: Operator) -> None:
    """PAD, PADV2, MIRROR_PAD. Channels of padding can be gone without as others can, but for mirrored ones."""
    lane, pads = trace.lane(op.inputs[0]), trace.integers(op, 1)
    if lane is None:
        return None
    if pads is None:
        return trace.stop(op)
    before, after = (int(n) for n in pads[lane.axis])
    if not before and not after:
        return trace.set(op.outputs[0], lane.axis, lane.atoms)
    if op.op == "MIRROR_PAD":
        return trace.stop(op)
    first, last, axis = trace.atoms.new(before), trace.atoms.new(after), lane.axis
    dtype = trace.graph.tensors[op.inputs[1]].dtype

    def value(masks: Masks) -> NDArray[Any]:
        new = pads.astype(dtype)
        new[axis] = masks(first).sum(), masks(last).sum()
        return new

    trace.rewrite(op, 1, value)
    return trace.set(op.outputs[0], axis, np.concatenate([first, lane.atoms, last]))
