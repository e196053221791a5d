"""Quantization as training sees it: rounded forwards, straight through backwards.

Weights lie on a symmetric grid of 2^bits - 1 steps, as the runtime's kernels take them; activations on an affine grid
whose range is trained with the weights (gradients of ends of a range as in Jacob et al., 2018; of the limit of a
weight channel as in Esser et al., 2020, "learned step size quantization").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.constraints import Free
from edgeship.tflite.file import Subgraph
from edgeship.tflite.weights import Layer, spread

Floats = NDArray[np.float32]
SAME_SCALE = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "MIRROR_PAD", "SLICE",
    "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "GATHER", "GATHER_ND", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "TILE", "BROADCAST_TO", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND",
    "REVERSE_V2",
)  # fmt: skip
"""Operations whose int8 kernels hand the scale of their input on."""
JOINING = ("CONCATENATION", "PACK")
"""Operations whose int8 kernels want one scale for all inputs and the output."""
FIXED = {"SOFTMAX": (0.0, 255 / 256), "LOGISTIC": (0.0, 255 / 256), "TANH": (-1.0, 127 / 128)}
"""Operation -> the range that its int8 kernel gives its output, whatever was calibrated."""


OF_A_TURN = re.compile(r"(.*)/turn_\d+")
"""Name of what a turn of an unrolled loop makes (`edgeship/compress/rewriting/loops.py`)."""
LEAST = np.float32(1e-30)
"""A limit: of a smaller one not even a step can be told apart from zero in float32."""


def rounded(value: Any) -> Any:
    """Return `value` rounded to whole numbers, with the gradient of not being rounded."""
    import tensorflow as tf

    return tf.stop_gradient(tf.round(value)) + (value - tf.stop_gradient(value))  # the latter is exactly zero


def short(limit: Any, steps: int | None) -> Any:
    """Return limits whose scale (limit / `steps`) has 8 significant bits, with the gradient of not being rounded: two
    bytes of four then are zero in the file. Nothing is lost by it: weights are trained on the grid that it makes.
    """
    import tensorflow as tf

    limit = tf.convert_to_tensor(limit, tf.float32)
    if steps is None:
        return limit
    held = tf.cast(tf.cast(limit / steps, tf.bfloat16), tf.float32) * steps
    return tf.stop_gradient(held) + (limit - tf.stop_gradient(limit))


def largest(value: Floats, axis: int | None) -> Floats:
    """Return the largest magnitude of each channel along `axis` (None: of all), never below LEAST."""
    size = np.abs(value)
    found = size.max(axis=tuple(i for i in range(size.ndim) if i != axis)) if axis is not None else size.max()
    flat = np.asarray(found, np.float32).reshape(-1)
    whole = float(flat.max()) or 1.0
    return np.maximum(np.where(flat > 0, flat, np.float32(whole)), LEAST).astype(np.float32)


def best_limits(value: Floats, axis: int | None, bits: int, shares: int = 40) -> Floats:
    """Return for each channel the limit, of `shares` candidates down to a fifth of the largest magnitude, whose grid is
    nearest to the values in the mean square."""
    top, steps = largest(value, axis), 2 ** (bits - 1) - 1
    shape = spread(top.size, axis or 0, value.ndim)
    others = tuple(i for i in range(value.ndim) if i != axis)
    best, least = top.copy(), np.full(top.shape, np.inf, np.float64)
    for share in np.linspace(1.0, 0.2, shares):
        scale = (top * np.float32(share) / steps).reshape(shape)
        error = (np.clip(np.rint(value / scale), -steps, steps) * scale - value) ** 2
        total = np.asarray(error.sum(axis=others, dtype=np.float64)).reshape(-1)
        better = total < least
        best, least = np.where(better, top * np.float32(share), best), np.where(better, total, least)
    return best.astype(np.float32)


class WeightGrid(Free):
    """Weights on the symmetric grid of an integer type.

    The limit of a channel is its largest magnitude, or, of few bits, trained from `limits` on.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        bits: int,
        *,
        one_scale: Collection[str],
        limits: Mapping[int, Floats] | None,
    ) -> None:
        import tensorflow as tf

        self.steps = 2 ** (bits - 1) - 1
        self.axes = {layer.weight: axis_of(layer, one_scale) for layer in layers}
        self.limits = {index: tf.Variable(limit) for index, limit in (limits or {}).items()}

    def variables(self) -> Sequence[Any]:
        return list(self.limits.values())

    def weight(self, index: int, value: Any) -> Any:
        import tensorflow as tf

        if index not in self.axes:
            return value
        axis, rank = self.axes[index], len(value.shape)
        if index in self.limits:  # LSQ: a limit sums the gradients of all its weights
            limit = tf.abs(self.limits[index])
            damp = 1.0 / np.sqrt(int(np.prod(value.shape)) / limit.shape[0] * self.steps)
            limit = tf.stop_gradient(limit) + damp * (limit - tf.stop_gradient(limit))
            limit = tf.reshape(short(limit, self.steps), spread(limit.shape[0], axis or 0, rank))
        else:
            others = [i for i in range(rank) if i != axis]
            limit = tf.stop_gradient(tf.reduce_max(tf.abs(value), axis=others, keepdims=True))
            limit = tf.stop_gradient(short(limit, self.steps))
        scale = tf.maximum(limit, 1e-12) / self.steps
        return rounded(tf.clip_by_value(value / scale, -self.steps, self.steps)) * scale

    def told(self, values: Mapping[int, Floats]) -> dict[int, Floats]:
        """Return the limits by tensor index; `values` are the weights as the file holds them."""
        found = {
            index: self.limits[index].numpy() if index in self.limits else largest(values[index], axis)
            for index, axis in self.axes.items()
        }
        return {index: short(np.abs(limit), self.steps).numpy() for index, limit in found.items()}


def axis_of(layer: Layer, one_scale: Collection[str]) -> int | None:
    """Return the axis of a layer's weight along which scales differ, None where it has one scale in all."""
    return None if layer.operator.op in one_scale else layer.axis


class ActivationGrid(Free):
    """Activations on the affine grid of 8-bit (symmetric 16-bit) integers, ranges trained."""

    def __init__(self, graph: Subgraph, ranges: Mapping[int, tuple[float, float]], bits: int) -> None:
        import tensorflow as tf

        self.bits = bits
        self.first = shared_ranges(graph)
        held: dict[int, tuple[float, float]] = {}
        for index, (low, high) in ranges.items():
            first = self.first.get(index, index)
            before = held.get(first, (0.0, 0.0))
            held[first] = min(low, before[0], 0.0), max(high, before[1], 0.0)
        fixed = {i for op in graph.operators if op.op in FIXED for i in op.outputs}
        self.ranges = {
            index: (tf.Variable(low, dtype=tf.float32), tf.Variable(max(high, low + 1e-6), dtype=tf.float32))
            for index, (low, high) in held.items()
            if index not in fixed
        }
        # What an operation only hands on is on its grid already.
        handed = {i for op in graph.operators if op.op in SAME_SCALE for i in op.outputs}
        self.skipped = fixed | {i for i in handed if self.first.get(i, i) != i}

    def variables(self) -> Sequence[Any]:
        return [end for pair in self.ranges.values() for end in pair]

    def activation(self, index: int, value: Any) -> Any:
        import tensorflow as tf

        pair = None if index in self.skipped else self.ranges.get(self.first.get(index, index))
        if pair is None:
            return value
        low, high = tf.minimum(pair[0], 0.0), tf.maximum(pair[1], 0.0)
        if self.bits == 16:
            high = tf.maximum(-low, high)
            low = -high
        return tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=self.bits)

    def told(self) -> dict[int, tuple[float, float]]:
        """Return (low, high) of every tensor that has a range."""
        found = {}
        for index in {*self.first, *self.ranges}:
            pair = self.ranges.get(self.first.get(index, index))
            if pair is not None:
                found[index] = min(float(pair[0].numpy()), 0.0), max(float(pair[1].numpy()), 0.0)
        return found


def shared_ranges(graph: Subgraph) -> dict[int, int]:
    """Return tensor -> the first of those that have one range with it; tensors alone are left out. One scale is what
    int8 kernels ask for; what the turns of an unrolled loop make has one range besides, as of the loop's own tensor,
    since one for each turn would take longer to train than the weights."""
    first: dict[int, int] = {}

    def find(index: int) -> int:
        while index in first:
            index = first[index]
        return index

    def join(members: Sequence[int]) -> None:
        for index in members[1:]:
            one, other = find(members[0]), find(index)
            if one != other:
                first[max(one, other)] = min(one, other)

    floats = {t.index for t in graph.tensors if t.dtype == "float32" and not t.has_data}
    for op in graph.operators:
        if op.op in SAME_SCALE:
            together = [*(i for i in op.inputs[-1 if op.op == "SPLIT" else 0 :][:1]), *op.outputs]
        elif op.op in JOINING:
            together = [*op.outputs, *op.inputs]
        else:
            continue
        join([i for i in together if i in floats])
    turns: dict[str, list[int]] = {}
    for tensor in graph.tensors:
        if tensor.index in floats and (turn := OF_A_TURN.fullmatch(tensor.name)):
            turns.setdefault(turn[1], []).append(tensor.index)
    for members in turns.values():
        join(members)
    return {index: find(index) for index in first}
