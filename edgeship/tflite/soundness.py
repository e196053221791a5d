"""What is unsound in a file's quantization: facts, found once. Each reader words them for its own question: inspect
(what is odd here?), the contract of a produced file (may it ship?), the check before compiling (what to change?).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile

SMALLEST_NORMAL = 2.0**-126
"""Smallest normal float32: kernels and accelerators may flush a smaller scale to zero."""
RANGES = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
INT32_MAX = 2**31 - 1
"""The largest int32; a bias stored as it (or its negative) was clipped there, by some tools with 64 bits as well."""
KERNEL_BITS = {"int32": 32, "int64": 48}
"""Type of a bias -> bits that kernels take of it (TensorFlow Lite's MultiplyByQuantizedMultiplier of an int64)."""
BIAS_TOLERANCE = 1e-3
"""Share by which a bias's scale may differ from input scale times weight scale (kernels allow 2 % at most)."""
UNLIKE = 8.0
"""Ratio of joined scales from which the finer tensor loses 3 of its 8 bits."""
BIASED = {
    "CONV_2D": (0, 1, 2), "DEPTHWISE_CONV_2D": (0, 1, 2), "FULLY_CONNECTED": (0, 1, 2), "CONV_3D": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}  # fmt: skip
"""Operation -> input positions of data, weights and bias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadScale:
    """One scale that is not a normal positive number."""

    tensor: Tensor
    channel: int
    scale: float
    channels: int
    """Scales of the tensor, and how many of them are bad."""
    bad: int

    @property
    def kind(self) -> str:
        """`not finite`, `zero or negative` or `denormal`."""
        if not math.isfinite(self.scale):
            return "not finite"
        return "denormal" if self.scale > 0 else "zero or negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadZeroPoint:
    """A zero point that its tensor's type cannot hold."""

    tensor: Tensor
    channel: int
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBias:
    """A bias value that kernels do not hold: |bias / (input scale * weight scale)| reaches 2^31 (edgetpu#453),
    with int16 activations 2^47.
    """

    operator: Operator
    bias: Tensor
    channel: int
    stored: int
    needed: float
    """What would have to be stored at the scale the kernels use; `stored` itself where that was clipped."""
    bits: int
    """What it was clipped to, or what there is."""

    @property
    def clipped(self) -> bool:
        """Whether the value was clipped where it is stored, so that nobody knows what it was."""
        return self.bits == 32 and abs(self.stored) >= INT32_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class OddBiasScale:
    """A bias whose scale is not input scale times weight scale, which kernels take it to be."""

    operator: Operator
    bias: Tensor
    channel: int
    scale: float
    product: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlikeJoin:
    """A CONCATENATION that brings tensors of unlike ranges to one scale."""

    operator: Operator
    joined: Tensor
    finest: Tensor
    ratio: float


def producer_of(graph: Subgraph) -> dict[int, Operator]:
    """Return tensor -> the operation that makes it."""
    return {index: operator for operator in graph.operators for index in operator.outputs if index >= 0}


def bad_scales(graph: Subgraph) -> Iterator[BadScale]:
    """Yield every scale that is zero, negative, infinite, not a number or denormal, tensor by tensor."""
    for tensor in graph.tensors:
        if tensor.dtype.startswith("float"):  # whatever scale a converter left there, nothing reads it
            continue
        scales = tensor.quantization.scales if tensor.quantization else ()
        bad = [(c, s) for c, s in enumerate(scales) if not math.isfinite(s) or s < SMALLEST_NORMAL]
        for channel, scale in bad:
            yield BadScale(tensor=tensor, channel=channel, scale=scale, channels=len(scales), bad=len(bad))


def bad_zero_points(graph: Subgraph) -> Iterator[BadZeroPoint]:
    """Yield every zero point outside its tensor's type."""
    for tensor in graph.tensors:
        low, high = RANGES.get(tensor.dtype, (-(2**63), 2**63 - 1))
        for channel, zero_point in enumerate(tensor.quantization.zero_points if tensor.quantization else ()):
            if not low <= zero_point <= high:
                yield BadZeroPoint(tensor=tensor, channel=channel, zero_point=zero_point)


def bad_biases(file: TfliteFile, graph: Subgraph) -> Iterator[BadBias]:
    """Yield every bias value that was clipped at 32 bits, or is beyond what the kernels take at the scale they use."""
    for operator, data, weights, bias in _biased(graph):
        stored = stored_bias(file, graph, bias)
        product = _products(data, weights)
        own = bias.quantization.scales if bias.quantization else ()
        for channel, value in enumerate(stored):
            needed = float(value)
            if own and (step := product(channel)) > 0 and abs(value) != INT32_MAX:
                needed = value * (own[channel] if len(own) > channel else own[0]) / step
            # some tools keep the lowest int32 out, others do not; 64 bits hold others beyond these two honestly
            clipped = abs(value) in (INT32_MAX, INT32_MAX + 1)
            bits = 32 if clipped else KERNEL_BITS[bias.dtype]
            if clipped or abs(needed) >= 2.0 ** (bits - 1) - 1:
                yield BadBias(
                    operator=operator, bias=bias, channel=channel, stored=value, needed=needed, bits=bits
                )


def odd_bias_scales(graph: Subgraph) -> Iterator[OddBiasScale]:
    """Yield every channel whose bias has a scale of its own."""
    for operator, data, weights, bias in _biased(graph):
        if not (data.quantization and weights.quantization and bias.quantization):
            continue
        product = _products(data, weights)
        for channel, scale in enumerate(bias.quantization.scales):
            step = product(channel)
            if abs(scale - step) > BIAS_TOLERANCE * step:
                yield OddBiasScale(operator=operator, bias=bias, channel=channel, scale=scale, product=step)


def unlike_joins(graph: Subgraph) -> Iterator[UnlikeJoin]:
    """Yield every CONCATENATION whose finest input was, or becomes, much finer than the scale it ends in."""
    made_by = producer_of(graph)
    for operator in graph.operators:
        if operator.op != "CONCATENATION" or operator.custom or not operator.outputs:
            continue
        before = []
        for index in operator.inputs:
            source = made_by.get(index)
            requantized = source is not None and source.op == "QUANTIZE"
            tensor = graph.tensors[source.inputs[0] if source and requantized else index]
            if index >= 0 and tensor.quantization and tensor.quantization.scales[0] > 0:
                before.append((tensor.quantization.scales[0], tensor))
        if not before:
            continue
        joined = graph.tensors[operator.outputs[0]]
        finest, tensor = min(before, key=lambda pair: pair[0])
        after = joined.quantization.scales[0] if joined.quantization else 0.0
        ratio = max(after, *(scale for scale, _ in before)) / finest
        if ratio >= UNLIKE:
            yield UnlikeJoin(operator=operator, joined=joined, finest=tensor, ratio=ratio)


def _biased(graph: Subgraph) -> Iterator[tuple[Operator, Tensor, Tensor, Tensor]]:
    """Yield (operation, data, weights, bias) wherever a bias is stored as int32 or int64."""
    for operator in graph.operators:
        positions = BIASED.get(operator.op)
        if positions is None or len(operator.inputs) <= positions[2] or operator.inputs[positions[2]] < 0:
            continue
        data, weights, bias = (graph.tensors[operator.inputs[p]] for p in positions)
        if bias.dtype in KERNEL_BITS and bias.has_data:
            yield operator, data, weights, bias


def _products(data: Tensor, weights: Tensor) -> Callable[[int], float]:
    """Return channel -> input scale times weight scale; 0 where one of them is not quantized."""
    if not (data.quantization and weights.quantization):
        return lambda channel: 0.0
    entry, scales = data.quantization.scales[0], weights.quantization.scales
    return lambda channel: entry * (scales[channel] if channel < len(scales) else scales[0])


def stored_bias(file: TfliteFile, graph: Subgraph, bias: Tensor) -> tuple[int, ...]:
    raw = file.tensor_bytes(bias.index, graph.index)
    size, code = (8, "q") if bias.dtype == "int64" else (4, "i")
    return struct.unpack(f"<{len(raw) // size}{code}", raw[: len(raw) // size * size])
