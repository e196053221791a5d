"""Layers: convolutions, dense layers and products of matrices. Weights have the axes of the file."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import (
    Call,
    Function,
    Unfit,
    aligned,
    flat,
    lifted_again,
    shaped,
    sizes,
)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return (before, after) of an axis that SAME pads, as TensorFlow Lite does: the odd one behind."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window(call: Call) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Return ((stride down, across), (dilation down, across), padding) of an operation with a window."""
    told = call.options
    strides = int(told.get("stride_h", 1)), int(told.get("stride_w", 1))
    dilations = int(told.get("dilation_h_factor", 1)), int(told.get("dilation_w_factor", 1))
    return strides, (max(dilations[0], 1), max(dilations[1], 1)), str(told.get("padding", "VALID"))


def _conv_2d(call: Call) -> Any:
    tf, rows = call.tf, call.shape()[0]
    strides, dilations, padding = window(call)
    x, kernel = flat(call, call.x()), tf.transpose(_floats(call, 1), [1, 2, 3, 0])
    groups = int(x.shape[-1]) // int(kernel.shape[2])
    if groups > 1 and int(kernel.shape[2]) == 1:
        height, width, _, out = kernel.shape
        kernel = tf.reshape(kernel, [height, width, groups, out // groups])
        made = _depthwise(call, x, kernel)
    elif groups > 1:
        parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
        made = tf.concat([_convolved(tf, p, k, strides, dilations, padding) for p, k in parts], axis=-1)
    else:
        made = _convolved(tf, x, kernel, strides, dilations, padding)
    return lifted_again(call, _biased(call, made, 2), rows)


def _convolved(
    tf: Any, x: Any, kernel: Any, strides: tuple[int, int], dilations: tuple[int, int], padding: str
) -> Any:
    if dilations == (1, 1):
        return tf.nn.conv2d(x, kernel, strides, padding)
    # TensorFlow has no gradient of a dilated convolution on a CPU: samples of the image are put side by side instead
    x, crops = _spread(tf, x, kernel, strides, dilations, padding)
    made = tf.nn.conv2d(x, kernel, 1, "VALID")
    return tf.batch_to_space(made, dilations, crops)[:, :: strides[0], :: strides[1]]


def _spread(
    tf: Any, x: Any, kernel: Any, strides: tuple[int, int], dilations: tuple[int, int], padding: str
) -> tuple[Any, list[list[int]]]:
    """Return (every d-th row and column as images of their own, what is cropped when they are joined again)."""
    pads, crops = [], []
    for axis in (0, 1):
        size, reach = int(x.shape[1 + axis]), (int(kernel.shape[axis]) - 1) * dilations[axis] + 1
        before, after = (
            same_padding(size, int(kernel.shape[axis]), strides[axis], dilations[axis])
            if padding == "SAME"
            else (0, 0)
        )
        wanted = size + before + after
        more = -wanted % dilations[axis]
        pads.append([before, after + more])
        made = wanted + more - (reach - 1)
        crops.append([0, made - (wanted - reach + 1)])
    return tf.space_to_batch(x, dilations, pads), crops


def _depthwise_conv_2d(call: Call) -> Any:
    tf, rows = call.tf, call.shape()[0]
    x, weight = flat(call, call.x()), _floats(call, 1)
    _, height, width, out = (int(size) for size in weight.shape)
    channels = int(x.shape[-1])
    if out % channels:
        raise Unfit(f"makes {out} channels of {channels}")
    kernel = tf.reshape(weight, [height, width, channels, out // channels])
    return lifted_again(call, _biased(call, _depthwise(call, x, kernel), 2), rows)


def _depthwise(call: Call, x: Any, kernel: Any) -> Any:
    tf = call.tf
    strides, dilations, padding = window(call)
    if dilations != (1, 1):
        x, crops = _spread(tf, x, kernel, strides, dilations, padding)
        made = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
        return tf.batch_to_space(made, dilations, crops)[:, :: strides[0], :: strides[1]]
    if strides[0] == strides[1]:
        return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding)
    if (
        padding == "SAME"
    ):  # TensorFlow has square strides only: every result is computed, and those in between dropped
        pads = [same_padding(int(x.shape[1 + a]), int(kernel.shape[a]), strides[a]) for a in (0, 1)]
        x = tf.pad(x, [[0, 0], *pads, [0, 0]])
    made = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
    return made[:, :: strides[0], :: strides[1]]


def _transpose_conv(call: Call) -> Any:
    tf = call.tf
    strides, _, padding = window(call)
    x, kernel = call.x(2), tf.transpose(_floats(call, 1), [1, 2, 0, 3])
    rows, *size = call.numbers(0)
    flat_x = flat(call, x)
    made = tf.nn.conv2d_transpose(
        flat_x, kernel, tf.stack([tf.shape(flat_x)[0], *size]), [1, *strides, 1], padding
    )
    made = tf.ensure_shape(made, [None, *size])
    return lifted_again(call, _biased(call, made, 3), rows)


def _conv_3d(call: Call) -> Any:
    """Its kernel is [depth, height, width, in, out] in the file too."""
    tf, told, rows = call.tf, call.options, call.shape()[0]
    strides = [int(told.get(f"stride_{axis}", 1)) for axis in "dhw"]
    if any(int(told.get(f"dilation_{axis}_factor", 1)) > 1 for axis in "dhw"):
        raise Unfit("is dilated")
    padding = str(told.get("padding", "VALID"))
    made = tf.nn.conv3d(flat(call, call.x()), _floats(call, 1), [1, *strides, 1], padding)
    return lifted_again(call, _biased(call, made, 2), rows)


def _fully_connected(call: Call) -> Any:
    tf, x = call.tf, call.x()
    if call.options.get("weights_format", "DEFAULT") != "DEFAULT":
        raise Unfit(f"has weights in the format {call.options['weights_format']}")
    out, columns = call.shape(1)
    elements = 1
    for size in sizes(x):
        elements *= size
    if call.is_same(1):
        made = tf.matmul(tf.reshape(x, [-1, columns]), _floats(call, 1), transpose_b=True)
    else:
        x, weight = call.together([shaped(call, x, [elements // columns, columns]), call.x(1)])
        made = tf.matmul(x, weight, transpose_b=True)
    made = _biased(call, made, 2)
    kept = sizes(x)[:-1] if call.options.get("keep_num_dims") else [elements // columns]
    return shaped(call, made, [*kept, out])


def _batch_matmul(call: Call) -> Any:
    tf, (left, right) = call.tf, aligned(call, 0, 1)
    turned = bool(call.options.get("adj_x", False)), bool(call.options.get("adj_y", False))
    if call.is_same(1) and not turned[0] and all(size == 1 for size in call.shape(1)[:-2]):
        # one matrix for all: a single product instead of one a sample
        *outer, rows, columns = sizes(left)
        matrix = tf.reshape(right, call.shape(1)[-2:])
        made = tf.matmul(tf.reshape(left, [-1, columns]), matrix, transpose_b=turned[1])
        return shaped(call, made, [*outer, rows, int(made.shape[-1])])
    return tf.matmul(left, right, transpose_a=turned[0], transpose_b=turned[1])


def _floats(call: Call, position: int) -> Any:
    weight = call.weight(position)
    if weight.dtype != call.tf.float32:
        raise Unfit(f"has weights of {weight.dtype.name}")
    return weight


def _biased(call: Call, value: Any, position: int) -> Any:
    if not call.given(position):
        return value
    return call.tf.nn.bias_add(value, call.tf.reshape(_floats(call, position), [-1]))


TABLE: dict[str, Function] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
}
