"""Images of other sizes: both ways that TensorFlow has, with each way of laying the grids over one another."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, flat, lifted_again


def _resized(name: str) -> Function:
    def compute(call: Call) -> Any:
        made = getattr(call.tf.raw_ops, name)(
            images=flat(call, call.x()),
            size=call.numbers(1),
            align_corners=bool(call.options.get("align_corners", False)),
            half_pixel_centers=bool(call.options.get("half_pixel_centers", False)),
        )
        return lifted_again(call, made, call.shape()[0])

    return compute


TABLE: dict[str, Function] = {
    "RESIZE_BILINEAR": _resized("ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resized("ResizeNearestNeighbor"),
}
