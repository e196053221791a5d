"""The gradient of a batch in parts, one after the other, where its activations would take too much memory at once.

It is the gradient of the whole: no operation of a trainable graph joins samples, and batch norms are folded already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Value = Any
"""A tf.Tensor, or an array."""
ROOM_MB = 256
"""What the activations of a part may take, MiB. A step takes about as much again for gradients."""


def rows_for(sample_bytes: int, batch: int, room_mb: float = ROOM_MB) -> int:
    """Return how many samples a part may have: the batch in the fewest parts that fit, of like size."""
    most = max(1, int(room_mb * 2**20 // max(sample_bytes, 1)))
    parts = -(-batch // most)
    return -(-batch // parts)


class InParts:
    """The mean loss of a batch and its gradient."""

    def __init__(self, loss_of: Callable[..., Value], variables: Sequence[Any], rows: int) -> None:
        """`loss_of(inputs, labels)` is the mean over the samples that it is given; labels may be None."""
        import tensorflow as tf

        self._tf, self._rows = tf, rows

        def part(inputs: Sequence[Value], labels: Value | None) -> tuple[Value, list[Value]]:
            with tf.GradientTape() as tape:
                loss = loss_of(inputs, labels)
            none = tf.UnconnectedGradients.ZERO
            found = tape.gradient(loss, list(variables), unconnected_gradients=none)
            return loss, [tf.convert_to_tensor(gradient) for gradient in found]

        self._part = tf.function(part, reduce_retracing=True, autograph=False)

    def __call__(self, inputs: Sequence[Value], labels: Value | None = None) -> tuple[Value, list[Value]]:
        """Return (loss, gradient of each variable); called outside of compiled functions, so that a part ends before
        the next begins."""
        count = len(inputs[0])
        total: Value = 0.0
        whole: list[Value] = []
        for start in range(0, count, self._rows):
            some = tuple(self._tf.constant(value[start : start + self._rows]) for value in inputs)
            told = None if labels is None else self._tf.constant(labels[start : start + self._rows])
            loss, found = self._part(some, told)
            if count <= self._rows:
                return loss, list(found)
            share = len(some[0]) / count
            total += share * loss
            scaled = [share * gradient for gradient in found]
            whole = [a + b for a, b in zip(whole, scaled, strict=True)] if whole else scaled
        return total, whole
