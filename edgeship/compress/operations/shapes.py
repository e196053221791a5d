"""Operations that move values and compute none."""

from __future__ import annotations

import math
from typing import Any

from edgeship.compress.operations.call import Call, Function, Unfit, axis_of, shaped


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


TABLE: dict[str, Function] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "CONCATENATION": _concatenation,
}
