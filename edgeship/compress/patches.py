"""A layer as a product: the rows of inputs that its weights multiply (`Form`).

Every layer with weights multiplies rows of its input by a matrix: a dense layer the vectors, a convolution its patches
(im2col), a depthwise convolution the patches of each channel by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.file import Operator

Floats = NDArray[np.float32]
KNOWN = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Weights of one layer as `[groups, rows of a group, K]`: rows are output channels, K what each multiplies."""

    kind: str
    shape: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, op: Operator, weight: tuple[int, ...], entry: tuple[int, ...]) -> Form | None:
        """Return the form of a layer whose input is of the shape `entry`, None of an operation that is not known."""
        if op.op not in KNOWN or not all(weight):
            return None
        if op.op == "FULLY_CONNECTED":
            return cls(kind=op.op, shape=weight, groups=1)
        channels = entry[3]
        if op.op == "DEPTHWISE_CONV_2D":
            return cls(kind=op.op, shape=weight, groups=channels) if weight[3] % channels == 0 else None
        groups = channels // weight[3] if weight[3] else 0
        if groups < 1 or groups * weight[3] != channels or weight[0] % groups:
            return None
        return cls(kind=op.op, shape=weight, groups=groups)

    @property
    def taps(self) -> int:
        """K."""
        kind, shape = self.kind, self.shape
        if kind == "FULLY_CONNECTED":
            return shape[1]
        return shape[1] * shape[2] * (1 if kind == "DEPTHWISE_CONV_2D" else shape[3])

    def matrix(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a weight as `[groups, rows, K]`, rows in the order of the output channels."""
        if self.kind == "DEPTHWISE_CONV_2D":
            return np.moveaxis(weight[0], -1, 0).reshape(self.groups, -1, self.taps)
        return weight.reshape(self.groups, -1, self.taps)

    def weight(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[groups, rows, K]` as the weight: the way back of `matrix`."""
        if self.kind == "DEPTHWISE_CONV_2D":
            return np.moveaxis(matrix.reshape(self.shape[3], *self.shape[1:3]), 0, -1)[None]
        return matrix.reshape(self.shape)

    def places(self, op: Operator, value: Floats) -> int:
        """Return how many rows an input value has."""
        if self.kind == "FULLY_CONNECTED":
            return value.size // self.taps
        n, height, width, _ = value.shape
        tall, wide = _out(height, op, self.shape[1], "h"), _out(width, op, self.shape[2], "w")
        return int(n * tall[0] * wide[0])

    def rows(self, op: Operator, value: Floats, chosen: NDArray[np.int64]) -> Floats:
        """Return `[groups, m, K]`: the `chosen` of the rows that an input value has."""
        if self.kind == "FULLY_CONNECTED":
            return value.reshape(-1, self.taps)[chosen][None]
        kernel = self.shape[1:3]
        tall, wide = (_out(value.shape[a], op, kernel[a - 1], "hw"[a - 1]) for a in (1, 2))
        padded = np.pad(value, ((0, 0), tall[1], wide[1], (0, 0)))
        steps = [op.options.get(f"dilation_{a}_factor", 1) or 1 for a in "hw"]
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, steps, strict=True)]
        view: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(  # type: ignore[call-overload]
            padded, tuple(spans), axis=(1, 2)
        )
        n, y, x = np.unravel_index(chosen, (len(value), tall[0], wide[0]))
        found = view[n, y * op.options["stride_h"], x * op.options["stride_w"]]
        found = found[..., :: steps[0], :: steps[1]]  # [m, channels, kh, kw]
        if self.kind == "DEPTHWISE_CONV_2D":
            return np.ascontiguousarray(found.reshape(len(chosen), self.groups, -1).transpose(1, 0, 2))
        parts = found.reshape(len(chosen), self.groups, -1, *kernel).transpose(1, 0, 3, 4, 2)
        return np.ascontiguousarray(parts.reshape(self.groups, len(chosen), -1))


def _out(size: int, op: Operator, kernel: int, side: str) -> tuple[int, tuple[int, int]]:
    """Return (size of the output, padding before and after) along one side."""
    stride = op.options[f"stride_{side}"]
    span = (kernel - 1) * (op.options.get(f"dilation_{side}_factor", 1) or 1) + 1
    if op.options["padding"] == "VALID":
        return max(0, (size - span) // stride + 1), (0, 0)
    count = -(-size // stride)
    padding = max(0, (count - 1) * stride + span - size)
    return count, (padding // 2, padding - padding // 2)
