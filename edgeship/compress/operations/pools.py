"""Pools."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, flat, lifted_again
from edgeship.compress.operations.layers import window


def _pool(name: str) -> Function:
    def compute(call: Call) -> Any:
        strides, _, padding = window(call)
        size = int(call.options["filter_height"]), int(call.options["filter_width"])
        made = getattr(call.tf.nn, name)(flat(call, call.x()), size, strides, padding)
        return lifted_again(call, made, call.shape()[0])

    return compute


def _l2_pool(call: Call) -> Any:
    tf, rows = call.tf, call.shape()[0]
    strides, _, padding = window(call)
    size = int(call.options["filter_height"]), int(call.options["filter_width"])
    x = flat(call, call.x())
    return lifted_again(call, tf.sqrt(tf.nn.avg_pool2d(x * x, size, strides, padding)), rows)


TABLE: dict[str, Function] = {
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "L2_POOL_2D": _l2_pool,
}
