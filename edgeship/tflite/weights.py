"""The weights of a float model: which operations carry them, their values, and a file with other ones.

What training or rounding found out travels in the file itself: new values, the range of every activation that was
trained with, and the range of every channel of a weight (in the fields that the format has for it: `min` and `max`
of a tensor's quantization), of which a recipe makes the same integers again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.buffers import own_buffer
from edgeship.tflite.file import Operator, Subgraph, TfliteFile
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.refit import packed, unpacked

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an operation has its weights."""

    weight: int
    """Position among the inputs."""
    bias: int
    channels: int
    """Axis of the weight that holds output channels."""


PLACES: Mapping[str, Place] = {
    "CONV_2D": Place(weight=1, bias=2, channels=0),
    "DEPTHWISE_CONV_2D": Place(weight=1, bias=2, channels=3),
    "FULLY_CONNECTED": Place(weight=1, bias=2, channels=0),
    "TRANSPOSE_CONV": Place(weight=1, bias=3, channels=0),
}
"""Operations whose weights compression works on. [h, w, in, out] is nowhere: CONV_2D holds [out, h, w, in],
DEPTHWISE_CONV_2D [1, h, w, out], FULLY_CONNECTED [out, in], TRANSPOSE_CONV [out, h, w, in]."""

FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")
"""Operations whose weights a recipe of 4 bits stores in so few (ai-edge-quantizer 0.10 makes no others, and LiteRT 2.3
was seen to run these); other weights have 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An operation with a constant weight of its own."""

    operator: Operator
    name: str
    """What people call it."""
    weight: int
    """Tensor index."""
    bias: int | None
    """Tensor index of a constant bias; None: it has none."""
    axis: int
    """Of the weight: output channels."""


def layers_of(graph: Subgraph) -> tuple[Layer, ...]:
    """Return the layers with constant float32 weights, in the order they run.

    A weight that several operations share is each one's: whoever changes it once has changed it for all.
    """
    found = []
    for op in graph.operators:
        place = PLACES.get(op.op)
        if place is None or op.custom or len(op.inputs) <= place.weight:
            continue
        weight = graph.tensors[op.inputs[place.weight]]
        if not weight.has_data or weight.dtype != "float32" or weight.is_sparse:
            continue
        bias = op.inputs[place.bias] if len(op.inputs) > place.bias else -1
        held = bias >= 0 and graph.tensors[bias].has_data and graph.tensors[bias].dtype == "float32"
        found.append(
            Layer(
                operator=op,
                name=layer_of(graph, op),
                weight=weight.index,
                bias=bias if held else None,
                axis=place.channels,
            )
        )
    return tuple(found)


def spread(count: int, axis: int, rank: int) -> list[int]:
    """Return the shape in which `count` values, one in all or one for each place along `axis`, multiply an array."""
    shape = [1] * rank
    if count > 1:
        shape[axis] = count
    return shape


def constant(file: TfliteFile, index: int) -> Floats:
    """Return the value of a constant float32 tensor of the main graph, read-only."""
    return np.frombuffer(file.tensor_bytes(index), np.float32).reshape(file.main.tensors[index].shape)


def int4_values(data: bytes, count: int) -> NDArray[np.int8]:
    """Return `count` 4-bit integers that are stored two in a byte, the low half first."""
    packed = np.frombuffer(data, np.int8)
    both = np.stack([np.left_shift(packed, 4) >> 4, packed >> 4], axis=-1)  # shifts keep the sign
    return np.asarray(both.reshape(-1)[:count])


def with_weights(
    content: bytes,
    values: Mapping[int, Floats],
    *,
    ranges: Mapping[int, tuple[float, float]] = {},
    limits: Mapping[int, Floats] = {},
    axes: Mapping[int, int] = {},
) -> bytes:
    """Return the file with other values of constant float32 tensors of its main graph (by index, same shapes).

    Ranges that the file had before are gone: they were of the old weights. `ranges` are (low, high) of activations by
    tensor index. `limits` are of weights: the largest magnitude that
    each channel along `axes[index]` (or, where it holds one value, the whole tensor) may represent, so that its
    integers are steps of limit / (2^(bits - 1) - 1). The same arguments give the same bytes.
    """
    model, schema = unpacked(content)
    graph = model.subgraphs[0]
    if values:
        _forget_ranges(model)
    for index, value in values.items():
        tensor = graph.tensors[index]
        given = np.ascontiguousarray(value, np.float32)
        if list(given.shape) != [int(size) for size in (() if tensor.shape is None else tensor.shape)]:
            raise ValueError(f"tensor {index} has the shape {list(tensor.shape)}, not {list(given.shape)}")
        own_buffer(model, tensor)
        model.buffers[tensor.buffer].data = np.frombuffer(given.tobytes(), np.uint8)
    for index, (low, high) in ranges.items():
        told = schema.QuantizationParametersT()
        told.min, told.max = [float(low)], [float(high)]
        graph.tensors[index].quantization = told
    for index, limit in limits.items():
        flat = np.asarray(limit, np.float32).reshape(-1)
        told = schema.QuantizationParametersT()
        told.min, told.max = (-flat).tolist(), flat.tolist()
        told.quantizedDimension = int(axes.get(index, 0)) if flat.size > 1 else 0
        graph.tensors[index].quantization = told
    return packed(model, schema, content)


def _forget_ranges(model: Any) -> None:
    """Drop what is told of the ranges of float tensors."""
    for tensor in model.subgraphs[0].tensors:
        told = tensor.quantization
        if told is not None and (told.scale is None or not len(told.scale)):
            tensor.quantization = None


def weight_limits(model: Any) -> dict[str, tuple[Floats, int]]:
    """Return (limit of each channel, axis) by tensor name of the weights whose ranges stand in the object form of a
    float file, as `with_weights` writes them."""
    graph = model.subgraphs[0]
    found = {}
    for tensor in graph.tensors:
        data, told = model.buffers[tensor.buffer].data, tensor.quantization
        if told is None or told.max is None or data is None or not len(data):
            continue
        name = tensor.name.decode("utf-8", "replace") if isinstance(tensor.name, bytes) else tensor.name
        found[name] = (np.asarray(told.max, np.float32).reshape(-1), int(told.quantizedDimension))
    return found


def limits_by_index(content: bytes) -> dict[int, tuple[Floats, int]]:
    """Return (limit of each channel, axis) by tensor index of the weights whose ranges stand in a float file."""
    model, _ = unpacked(content)
    told = weight_limits(model)
    names = [
        t.name.decode("utf-8", "replace") if isinstance(t.name, bytes) else t.name
        for t in model.subgraphs[0].tensors
    ]
    return {index: told[name] for index, name in enumerate(names) if name in told}
