"""Activations: fused ones and those that are operations of their own."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, Unfit, aligned


def fused(tf: Any, name: str, value: Any) -> Any:
    """Return a value after the activation that an operation has fused."""
    if name in ("NONE", ""):
        return value
    if name == "RELU":
        return tf.nn.relu(value)
    if name == "RELU6":
        return tf.nn.relu6(value)
    if name == "RELU_N1_TO_1":
        return tf.clip_by_value(value, -1.0, 1.0)
    if name == "TANH":
        return tf.tanh(value)
    raise Unfit(f"has the fused activation {name}")


def _relu(name: str) -> Function:
    return lambda call: fused(call.tf, name, call.x())


def _relu_0_to_1(call: Call) -> Any:
    return call.tf.clip_by_value(call.x(), 0.0, 1.0)


def _leaky_relu(call: Call) -> Any:
    return call.tf.nn.leaky_relu(call.x(), float(call.options.get("alpha", 0.0)))


def _prelu(call: Call) -> Any:
    x, slope = aligned(call, 0, 1)
    return call.tf.where(x >= 0, x, x * slope)


def _gelu(call: Call) -> Any:
    return call.tf.nn.gelu(call.x(), approximate=bool(call.options.get("approximate", False)))


def _hard_swish(call: Call) -> Any:
    x = call.x()
    return x * call.tf.nn.relu6(x + 3.0) / 6.0


def _softmax(call: Call) -> Any:
    _has_axes(call)
    return call.tf.nn.softmax(float(call.options.get("beta", 1.0)) * call.x())


def _log_softmax(call: Call) -> Any:
    _has_axes(call)
    return call.tf.nn.log_softmax(call.x())


def _l2_normalization(call: Call) -> Any:
    """Of the last axis; a runtime bounds the length, not its square, from below."""
    _has_axes(call)
    tf, x = call.tf, call.x()
    square = tf.reduce_sum(x * x, axis=-1, keepdims=True)
    return x / tf.maximum(tf.sqrt(tf.maximum(square, 1e-24)), 1e-6)


def _local_response_normalization(call: Call) -> Any:
    tf, x, options = call.tf, call.x(), call.options
    radius, depth = int(options.get("radius", 0)), int(x.shape[-1])
    square = tf.pad(x * x, [*[[0, 0]] * (x.shape.rank - 1), [radius, radius]])
    near = sum(square[..., shift : shift + depth] for shift in range(2 * radius + 1))
    base = float(options.get("bias", 0.0)) + float(options.get("alpha", 0.0)) * near
    return x * base ** -float(options.get("beta", 0.0))


def _has_axes(call: Call) -> None:
    if not call.shape():
        raise Unfit("works on a single number")


TABLE: dict[str, Function] = {
    "RELU": _relu("RELU"),
    "RELU6": _relu("RELU6"),
    "RELU_N1_TO_1": _relu("RELU_N1_TO_1"),
    "RELU_0_TO_1": _relu_0_to_1,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "ELU": lambda call: call.tf.nn.elu(call.x()),
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": lambda call: call.tf.sigmoid(call.x()),
    "TANH": lambda call: call.tf.tanh(call.x()),
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
    "L2_NORMALIZATION": _l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response_normalization,
}
