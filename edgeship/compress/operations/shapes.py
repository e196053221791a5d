"""Operations that move values and compute none."""

from __future__ import annotations

import math
from typing import Any

from edgeship.compress.operations.call import (
    Call,
    Function,
    Unfit,
    aligned,
    axis_of,
    flat,
    lifted_again,
    shaped,
)


def _reshape(call: Call) -> Any:
    if call.count > 1 and call.given(1):
        target = call.numbers(1)
    else:
        target = [int(size) for size in call.options.get("new_shape", ())]
    elements = math.prod(call.shape())
    if -1 in target:
        rest = math.prod(size for size in target if size != -1)
        if target.count(-1) > 1 or not rest or elements % rest:
            raise Unfit(f"makes {target} of {elements} values")
        target = [elements // rest if size == -1 else size for size in target]
    if math.prod(target) != elements:
        raise Unfit(f"makes {target} of {elements} values")
    return shaped(call, call.x(), target)


def _squeeze(call: Call) -> Any:
    shape = call.shape()
    axes = {axis_of(int(a), len(shape)) - 1 for a in call.options.get("squeeze_dims", ())}
    gone = axes or {axis for axis, size in enumerate(shape) if size == 1}
    return shaped(call, call.x(), [size for axis, size in enumerate(shape) if axis not in gone])


def _expand_dims(call: Call) -> Any:
    return call.tf.expand_dims(call.x(), axis_of(call.numbers(1)[0], len(call.shape()) + 1))


def _transpose(call: Call) -> Any:
    return call.tf.transpose(call.x(), [0, *(axis + 1 for axis in call.numbers(1))])


def _pads(call: Call) -> list[list[int]]:
    return [[0, 0], *call.fixed(1).reshape(-1, 2).tolist()]


def _pad(call: Call) -> Any:
    value = call.fixed(2).reshape(()) if call.given(2) else 0
    return call.tf.pad(call.x(), _pads(call), constant_values=value)


def _mirror_pad(call: Call) -> Any:
    return call.tf.pad(call.x(), _pads(call), mode=str(call.options["mode"]))


def _concatenation(call: Call) -> Any:
    values = call.together([call.x(position) for position in range(call.count)])
    return call.tf.concat(values, axis_of(int(call.options.get("axis", 0)), len(call.shape())))


def _split(call: Call) -> Any:
    axis = axis_of(call.numbers(0)[0], len(call.shape(1)))
    return call.tf.split(call.x(1), int(call.options.get("num_splits", 0)), axis)


def _split_v(call: Call) -> Any:
    axis = axis_of(call.numbers(2)[0], len(call.shape()))
    parts = call.numbers(1)
    rest = call.shape()[axis - 1] - sum(size for size in parts if size != -1)
    return call.tf.split(call.x(), [rest if size == -1 else size for size in parts], axis)


def _pack(call: Call) -> Any:
    values = call.together([call.x(position) for position in range(call.count)])
    return call.tf.stack(values, axis_of(int(call.options.get("axis", 0)), len(call.shape()) + 1))


def _unpack(call: Call) -> Any:
    return call.tf.unstack(call.x(), axis=axis_of(int(call.options.get("axis", 0)), len(call.shape())))


def _slice(call: Call) -> Any:
    return call.tf.slice(call.x(), [0, *call.numbers(1)], [-1, *call.numbers(2)])


def _strided_slice(call: Call) -> Any:
    """The masks are bits by axis: those of the file's axes move up by one, and the samples are all kept."""
    begin, end, strides = (call.numbers(position) for position in (1, 2, 3))
    if call.options.get("offset"):
        end = [first + more for first, more in zip(begin, end, strict=True)]
    masks = {
        name: int(call.options.get(name, 0)) << 1
        for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    }
    masks["begin_mask"] |= 1
    masks["end_mask"] |= 1
    return call.tf.strided_slice(call.x(), [0, *begin], [0, *end], [1, *strides], **masks)


def _gather(call: Call) -> Any:
    tf, rank = call.tf, len(call.shape())
    axis = axis_of(int(call.options.get("axis", 0)), rank)
    grouped = int(call.options.get("batch_dims", 0))
    if grouped < 0:
        grouped += len(call.shape(1))
    if not grouped and call.is_same(1):
        return tf.gather(call.x(), call.x(1)[0], axis=axis)
    if not grouped and axis == 1 and call.is_same(0):  # an embedding
        return tf.gather(call.x()[0], call.x(1))
    x, rows = call.together([call.x(), call.x(1)])
    return tf.gather(x, rows, axis=axis, batch_dims=grouped + 1)


def _gather_nd(call: Call) -> Any:
    x, places = call.together([call.x(), call.x(1)])
    return call.tf.gather_nd(x, places, batch_dims=1)


def _tile(call: Call) -> Any:
    return call.tf.tile(call.x(), [1, *call.numbers(1)])


def _broadcast_to(call: Call) -> Any:
    tf, x, target = call.tf, call.x(), call.numbers(1)
    own = call.shape()
    if len(own) > len(target):
        raise Unfit(f"makes {target} of {own}")
    x = shaped(call, x, [*[1] * (len(target) - len(own)), *own])
    return tf.broadcast_to(x, tf.concat([tf.shape(x)[:1], target], 0))


def _reverse(call: Call) -> Any:
    rank = len(call.shape())
    return call.tf.reverse(call.x(), [axis_of(axis, rank) for axis in call.numbers(1)])


def _space_to_depth(call: Call) -> Any:
    return _blocks(call, call.tf.nn.space_to_depth)


def _depth_to_space(call: Call) -> Any:
    return _blocks(call, call.tf.nn.depth_to_space)


def _blocks(call: Call, function: Any) -> Any:
    size = int(call.options["block_size"])
    if size == 1:
        return call.x()
    made = function(flat(call, call.x()), size)
    return lifted_again(call, made, call.shape()[0])


def _space_to_batch(call: Call) -> Any:
    """Blocks stand in front of the file's batch; samples in front of both."""
    tf, x, blocks = call.tf, call.x(), call.numbers(1)
    made = tf.space_to_batch(flat(call, x), blocks, call.fixed(2))
    rest, rows = [int(size) for size in made.shape[1:]], call.shape()[0]
    made = tf.reshape(made, [math.prod(blocks), -1, rows, *rest])
    return shaped(call, _first_two_swapped(call, made), [math.prod(blocks) * rows, *rest])


def _batch_to_space(call: Call) -> Any:
    tf, x, blocks = call.tf, call.x(), call.numbers(1)
    rows, *rest = call.shape()
    if rows % math.prod(blocks):
        raise Unfit(f"joins {math.prod(blocks)} of {rows} images")
    rows //= math.prod(blocks)
    made = _first_two_swapped(call, tf.reshape(x, [-1, math.prod(blocks), rows, *rest]))
    made = tf.batch_to_space(tf.reshape(made, [-1, *rest]), blocks, call.fixed(2))
    return lifted_again(call, made, rows)


def _first_two_swapped(call: Call, value: Any) -> Any:
    return call.tf.transpose(value, [1, 0, *range(2, value.shape.rank)])


def _select(call: Call) -> Any:
    """A condition of one axis chooses whole rows."""
    condition, rank = call.x(), len(call.shape(1))
    if len(call.shape()) < rank:
        condition = shaped(call, condition, [*call.shape(), *[1] * (rank - len(call.shape()))])
    return call.tf.where(condition, call.x(1), call.x(2))


def _one_hot(call: Call) -> Any:
    axis = int(call.options.get("axis", -1))
    on, off = call.weight(2), call.weight(3)
    return call.tf.one_hot(call.x(), call.numbers(1)[0], on, off, axis=axis if axis < 0 else axis + 1)


def _fill(call: Call) -> Any:
    tf, value, target = call.tf, call.x(1), call.numbers(0)
    value = shaped(call, value, [1] * len(target))
    return tf.broadcast_to(value, tf.concat([tf.shape(value)[:1], target], 0))


def _range(call: Call) -> Any:
    start, limit, step = (call.fixed(position).reshape(()) for position in range(3))
    return call.tf.range(start, limit, step, dtype=call.dtypes[0])[None]


TABLE: dict[str, Function] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "CONCATENATION": _concatenation,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast_to,
    "REVERSE_V2": _reverse,
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "SELECT": _select,
    "SELECT_V2": lambda call: call.tf.where(*aligned(call, 0, 1, 2)),
    "ONE_HOT": _one_hot,
    "FILL": _fill,
    "RANGE": _range,
    "SHAPE": lambda call: call.tf.constant([call.shape()], call.dtypes[0]),
    "RANK": lambda call: call.tf.constant([len(call.shape())], call.dtypes[0]),
    "ZEROS_LIKE": lambda call: call.tf.zeros_like(call.x()),
}
OF_SHAPES = {"SHAPE", "RANK"}
"""Operations whose results follow from the shapes of their inputs: constants here."""
