"""Operations that only move values: several at once, none where they cancel, and paddings that a layer does itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeship.compress.rewriting.idle import NONE, fused
from edgeship.tflite.draft import Draft
from edgeship.tflite.pure import ELEMENTWISE, PAIRS

SHAPES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
SAME, VALID = 0, 1


def merge_moves(draft: Draft) -> None:
    """Make one of RESHAPEs (SQUEEZEs, EXPAND_DIMS) that follow one another, and of TRANSPOSEs, also through operations
    that go value by value; leave out those that cancel, and call a TRANSPOSE that moves nothing a RESHAPE."""
    for op in draft.operators:
        if not draft.there(op) or len(op.outputs) != 1:
            continue
        if draft.name(op) in SHAPES:
            _merge_shapes(draft, op)
        elif draft.name(op) == "TRANSPOSE":
            _merge_transposes(draft, op) or _through(draft, op) or _as_reshape(draft, op)


def _merge_shapes(draft: Draft, op: Any) -> bool:
    first = draft.maker(op.inputs[0])
    made = draft.shape(op.outputs[0])
    if first is None or draft.name(first) not in SHAPES or made is None:
        return False
    source = first.inputs[0]
    fixed = all(draft.is_constant(i) for one in (first, op) for i in one.inputs[1:])
    if not fixed or draft.shape(source) is None or draft.is_constant(source):
        return False
    if draft.shape(source) == made and draft.can_pass(op, source):
        if draft.may(op):
            draft.bypass(op, source)
            return True
    elif draft.alone(op.inputs[0]) and draft.may(op):
        _reshape(draft, op, source, made)
        return True
    return False


def _reshape(draft: Draft, op: Any, source: int, shape: Sequence[int]) -> None:
    sizes = draft.put(op.outputs[0], "shape", np.array(shape, np.int32))
    draft.become(op, "RESHAPE", [source, sizes], "ReshapeOptions", newShape=[int(size) for size in shape])


def _order(draft: Draft, op: Any) -> list[int] | None:
    value = draft.integers(op.inputs[1])
    return None if value is None else [int(axis) for axis in value.reshape(-1)]


def _merge_transposes(draft: Draft, op: Any) -> bool:
    first = draft.maker(op.inputs[0])
    if first is None or draft.name(first) != "TRANSPOSE":
        return False
    one, two = _order(draft, first), _order(draft, op)
    source = first.inputs[0]
    if one is None or two is None or len(one) != len(two) or draft.is_constant(source):
        return False
    order = [one[axis] for axis in two]
    if order == list(range(len(order))) and draft.can_pass(op, source):
        if draft.may(op):
            draft.bypass(op, source)
            return True
    elif draft.alone(op.inputs[0]) and draft.may(op):
        held = draft.put(op.inputs[1], "order", np.array(order, np.int32))
        draft.read(op, [source, held])
        return True
    return False


def _through(draft: Draft, op: Any) -> bool:
    """Let an operation between two TRANSPOSEs go before them, since it looks at no place: then they are beside one
    another."""
    middle = draft.maker(op.inputs[0])
    if middle is None or not draft.alone(op.inputs[0]) or len(middle.outputs) != 1:
        return False
    place = _moved_input(draft, middle)
    first = None if place is None else draft.maker(middle.inputs[place])
    if (
        place is None
        or first is None
        or draft.name(first) != "TRANSPOSE"
        or not draft.alone(first.outputs[0])
    ):
        return False
    one, two = _order(draft, first), _order(draft, op)
    source = first.inputs[0]
    shape = draft.shape(source)
    if one is None or two is None or len(one) != len(two) or shape is None or draft.is_constant(source):
        return False
    if not draft.may(op):
        return False
    tensor = draft.graph.tensors[middle.outputs[0]]
    tensor.shape, tensor.shapeSignature = list(shape), None
    draft.read(middle, [source if n == place else i for n, i in enumerate(middle.inputs)])
    order = [one[axis] for axis in two]
    draft.read(op, [middle.outputs[0], draft.put(op.inputs[1], "order", np.array(order, np.int32))])
    return True


def _moved_input(draft: Draft, op: Any) -> int | None:
    """Return which input's places an operation keeps, value by value, None where it looks at places."""
    if draft.name(op) in ELEMENTWISE:
        return 0
    if draft.name(op) in PAIRS and len(op.inputs) == 2:
        for place in (0, 1):
            other = draft.floats(op.inputs[1 - place])
            same = draft.shape(op.inputs[place]) == draft.shape(op.outputs[0])
            if other is not None and other.size == 1 and same:
                return place
    return None


def _as_reshape(draft: Draft, op: Any) -> bool:
    order, shape = _order(draft, op), draft.shape(op.inputs[0])
    made = draft.shape(op.outputs[0])
    if order is None or shape is None or made is None or len(order) != len(shape):
        return False
    real = [axis for axis in order if shape[axis] != 1]
    if real != sorted(real) or draft.is_constant(op.inputs[0]) or not draft.may(op):
        return False
    _reshape(draft, op, op.inputs[0], made)
    return True


def cancel_splits(draft: Draft) -> None:
    """Leave out a CONCATENATION of all parts of a SPLIT, and a SPLIT into what a CONCATENATION joined."""
    for op in draft.operators:
        if not draft.there(op):
            continue
        if draft.name(op) == "CONCATENATION" and fused(op) == NONE:
            _cancel_join(draft, op)
        elif draft.name(op) in ("SPLIT", "SPLIT_V"):
            _cancel_split(draft, op)


def _split_axis(draft: Draft, op: Any) -> tuple[int, int] | None:
    """Return (source, axis) of SPLIT or SPLIT_V."""
    source, held = (op.inputs[1], op.inputs[0]) if draft.name(op) == "SPLIT" else (op.inputs[0], op.inputs[2])
    axis, shape = draft.integers(held), draft.shape(source)
    return None if axis is None or shape is None else (source, int(axis.reshape(-1)[0]) % len(shape))


def _cancel_join(draft: Draft, op: Any) -> None:
    maker = draft.maker(op.inputs[0])
    if maker is None or draft.name(maker) not in ("SPLIT", "SPLIT_V") or maker.outputs != op.inputs:
        return
    parted, made = _split_axis(draft, maker), draft.shape(op.outputs[0])
    if parted is None or made is None or draft.shape(parted[0]) != made:
        return
    if (
        int(op.builtinOptions.axis) % len(made) == parted[1]
        and draft.can_pass(op, parted[0])
        and draft.may(op)
    ):
        draft.bypass(op, parted[0])


def _cancel_split(draft: Draft, op: Any) -> None:
    parted = _split_axis(draft, op)
    maker = None if parted is None else draft.maker(parted[0])
    if parted is None or maker is None or draft.name(maker) != "CONCATENATION" or fused(maker) != NONE:
        return
    shape = draft.shape(parted[0])
    if shape is None or int(maker.builtinOptions.axis) % len(shape) != parted[1]:
        return
    alike = [draft.shape(i) for i in maker.inputs] == [draft.shape(i) for i in op.outputs]
    if not alike or None in [draft.shape(i) for i in op.outputs] or any(i in draft.shown for i in op.outputs):
        return
    if draft.may(op):
        draft.drop(op)
        for part, source in zip(op.outputs, maker.inputs, strict=True):
            draft.redirect(part, source)


def fold_pads(draft: Draft) -> None:
    """Take a PAD with zeros into a convolution without padding, where that is what SAME does."""
    for op in draft.operators:
        if draft.name(op) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or op.builtinOptions.padding != VALID:
            continue
        pad = draft.maker(op.inputs[0])
        pads = None if pad is None else _zeros_around(draft, pad)
        weight = draft.shape(op.inputs[1])
        shape = None if pads is None else draft.shape(pad.inputs[0])
        if pads is None or weight is None or shape is None or len(shape) != 4:
            continue
        o = op.builtinOptions
        along = (
            (shape[1], weight[1], o.strideH, o.dilationHFactor),
            (shape[2], weight[2], o.strideW, o.dilationWFactor),
        )
        wanted = [[0, 0], *(_same(*one) for one in along), [0, 0]]
        if pads == wanted and draft.may(op):
            o.padding = SAME
            draft.read(op, [pad.inputs[0], *op.inputs[1:]])


def _same(size: int, window: int, stride: int, dilation: int) -> list[int]:
    """Return [before, after] that SAME pads, as TensorFlow's documentation says (`tf.nn.convolution`)."""
    total = max((math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return [total // 2, total - total // 2]


def _zeros_around(draft: Draft, op: Any) -> list[list[int]] | None:
    """Return the paddings of a PAD with zeros, `[[before, after], ...]`, else None."""
    name = draft.name(op)
    if name not in ("PAD", "PADV2"):
        return None
    filled = draft.floats(op.inputs[2]) if name == "PADV2" else np.zeros(1, np.float32)
    pads = draft.integers(op.inputs[1])
    zeros = filled is not None and not filled.any()
    return pads.tolist() if zeros and pads is not None else None
