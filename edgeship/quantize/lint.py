"""Finds quantization parameters that a runtime or a compiler chokes on, or that compute nonsense without a
word.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from edgeship.model.tflite import Operator, Subgraph, Tensor, TfliteFile
from edgeship.values import Quantization

SMALLEST_NORMAL = 2.0**-126
"""Below this a float32 scale is denormal, which some kernels and compilers flush to zero."""
RANGES = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
BIAS_TOLERANCE = 1e-3
"""Share by which a bias's scale may differ from input scale times weight scale (the kernels allow 2 % at
most).
"""
INT32_EDGE = 2**31 - 1


def lint(held: TfliteFile, graph: Subgraph) -> Iterator[str]:
    """Yield one line per unsound scale, zero point or bias of a graph, naming tensor, channel and value."""
    for tensor in graph.tensors:
        if tensor.quantization is not None:
            yield from _scales(tensor, tensor.quantization)
    for op in graph.operators:
        if op.op in WITH_BIAS and len(op.inputs) > 2 and op.inputs[2] >= 0:
            yield from _bias(held, graph, op)


def _scales(tensor: Tensor, quantization: Quantization) -> Iterator[str]:
    for channel, scale in enumerate(quantization.scales):
        where = f"'{tensor.name}'" + (f" channel {channel}" if len(quantization.scales) > 1 else "")
        if not math.isfinite(scale):
            yield f"the scale of {where} is {scale}: look for NaN or infinity in weights or samples"
        elif scale <= 0:
            yield f"the scale of {where} is {scale:g}, not above 0: look for a channel of zeros"
        elif scale < SMALLEST_NORMAL:
            yield f"the scale of {where} is {scale:g}, denormal: its channel holds almost nothing"
    low, high = RANGES.get(tensor.dtype, (-(2**63), 2**63 - 1))
    for channel, zero_point in enumerate(quantization.zero_points):
        if not low <= zero_point <= high:
            yield f"zero point {zero_point} of '{tensor.name}' is outside {tensor.dtype}, channel {channel}"


def _bias(held: TfliteFile, graph: Subgraph, op: Operator) -> Iterator[str]:
    """Yield what is wrong with an int32 bias: values at the edge of int32, or a scale of its own."""
    entry, weights, bias = (graph.tensors[i] for i in op.inputs[:3])
    if bias.dtype != "int32" or not bias.has_data:
        return
    where = f"op {op.index} {op.op} bias '{bias.name}'"
    data = held.tensor_bytes(bias.index, graph.index)
    values = struct.unpack(f"<{len(data) // 4}i", data)
    for channel, value in enumerate(values):
        if abs(value) >= INT32_EDGE:
            yield f"{where} channel {channel} overflows int32: its weights are far smaller than its bias"
    if entry.quantization is None or weights.quantization is None or bias.quantization is None:
        return
    ours = bias.quantization.scales
    theirs = weights.quantization.scales
    for channel in range(len(ours)):
        product = entry.quantization.scales[0] * theirs[channel if len(theirs) > 1 else 0]
        if abs(ours[channel] - product) > BIAS_TOLERANCE * product:
            yield f"{where} channel {channel} has scale {ours[channel]:g}, input times weight is {product:g}"
