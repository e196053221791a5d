"""What a freshly quantized file still needs: corrected biases and true operator versions. Runs inside a
worker.

Works on the object form of the flatbuffer (`ai_edge_litert.schema_py_generated`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.quantize.observe import Observation
from edgeship.quantize.versions import needed_version, oldest_release

WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
VERSION_ENTRY = b"min_runtime_version"
VERSION_BYTES = 16
"""The size TensorFlow Lite gives the metadata entry."""

Floats = NDArray[np.float64]


def constants_of(model: Any) -> set[int]:
    """Return the indices of the main graph's tensors whose value stands in the file."""
    graph = model.subgraphs[0]
    return {i for i, t in enumerate(graph.tensors) if _has_data(model, t)}


def correct_biases(quantized: Any, original: Any, seen: Observation) -> int:
    """Take out of each bias what rounding the weights adds to it on average; return how many were corrected.

    Rounding weights by dW shifts a layer's output by dW . E[x]; E[x] is the mean input over the calibration
    samples (Nagel et al., 2019, section 4.2, with measured means). Biases that several operations share are
    left alone.
    """
    layers, sources = _layers(quantized), _layers(original)
    if [name for name, _ in layers] != [name for name, _ in sources]:
        return 0
    uses = Counter(
        quantized.subgraphs[0].tensors[op.inputs[2]].buffer for _, op in layers if len(op.inputs) > 2
    )
    done = 0
    for (name, op), (_, source) in zip(layers, sources, strict=True):
        if len(op.inputs) < 3 or op.inputs[2] < 0:
            continue
        bias = quantized.subgraphs[0].tensors[op.inputs[2]]
        shift = _shift(quantized, original, name, op, source, seen)
        if shift is None or uses[bias.buffer] > 1 or not _has_data(quantized, bias):
            continue
        if bias.quantization is None or bias.quantization.scale is None:
            continue
        data = bytes(quantized.buffers[bias.buffer].data)
        kind: Any = np.int64 if len(data) == 8 * shift.size else np.int32
        stored = np.frombuffer(data, kind).astype(np.float64)
        scale = np.asarray(bias.quantization.scale, np.float64)
        limits = np.iinfo(kind)
        corrected = np.clip(np.rint(stored - shift / scale), limits.min, limits.max).astype(kind)
        quantized.buffers[bias.buffer].data = np.frombuffer(corrected.tobytes(), np.uint8)
        done += 1
    return done


def _shift(
    quantized: Any, original: Any, name: str, op: Any, source: Any, seen: Observation
) -> Floats | None:
    """Return how far each output channel moved on average, or None where that cannot be told."""
    weight = quantized.subgraphs[0].tensors[op.inputs[1]]
    float_weight = original.subgraphs[0].tensors[source.inputs[1]]
    mean = seen.mean(source.inputs[0])
    if mean is None or not _has_data(quantized, weight) or not _has_data(original, float_weight):
        return None
    if weight.quantization is None or weight.quantization.scale is None or weight.type != _types()["INT8"]:
        return None
    shape = [int(size) for size in weight.shape]
    scale = np.asarray(weight.quantization.scale, np.float64)
    spread = [1] * len(shape)
    if scale.size > 1:
        spread[weight.quantization.quantizedDimension] = scale.size
    stored = np.frombuffer(bytes(quantized.buffers[weight.buffer].data), np.int8).reshape(shape)
    exact = np.frombuffer(bytes(original.buffers[float_weight.buffer].data), np.float32).reshape(shape)
    change = stored * scale.reshape(spread) - exact
    if name == "FULLY_CONNECTED":
        per_input: Floats = mean.reshape(-1, shape[1]).mean(axis=0)
        return np.asarray(change @ per_input)
    channels: Floats = mean.reshape(-1, mean.shape[-1]).mean(axis=0)
    if name == "DEPTHWISE_CONV_2D":
        return np.asarray(change.sum(axis=(0, 1, 2)) * np.repeat(channels, shape[3] // channels.size))
    groups = channels.size // shape[3]
    split = change.sum(axis=(1, 2)).reshape(groups, -1, shape[3])
    return np.asarray(np.einsum("goc,gc->go", split, channels.reshape(groups, shape[3])).reshape(-1))


def set_versions(model: Any) -> None:
    """Write into the file the operator versions its tensor types ask for, and the oldest release that has
    them all.
    """
    names = {index: name for name, index in _types().items()}
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]

            def kinds(indices: Any, tensors: Any = graph.tensors) -> list[str | None]:
                return [names[tensors[i].type].lower() if i >= 0 else None for i in indices]

            weights = [graph.tensors[i] for i in op.inputs if i >= 0 and _has_data(model, graph.tensors[i])]
            per_channel = any(_is_per_channel(t) for t in weights)
            needed = needed_version(_name(code), kinds(op.inputs), kinds(op.outputs), per_channel=per_channel)
            code.version = max(code.version, needed)
    release = oldest_release([(_name(code), code.version) for code in model.operatorCodes])
    for entry in model.metadata or ():
        if entry.name == VERSION_ENTRY and release is not None:
            text = release.encode().ljust(VERSION_BYTES, b"\0")
            model.buffers[entry.buffer].data = np.frombuffer(text, np.uint8)


def _layers(model: Any) -> list[tuple[str, Any]]:
    graph = model.subgraphs[0]
    named = ((_name(model.operatorCodes[op.opcodeIndex]), op) for op in graph.operators)
    return [(name, op) for name, op in named if name in WITH_BIAS]


def _has_data(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _is_per_channel(tensor: Any) -> bool:
    """Return whether a constant has several scales. (A bias has as many as its weights: it tells nothing
    new.)
    """
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return scale is not None and len(scale) > 1


def _name(code: Any) -> str:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names: dict[str, Any] = vars(BuiltinOperator)
    return next(name for name, value in names.items() if value == number)


def _types() -> dict[str, int]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {name: value for name, value in vars(TensorType).items() if isinstance(value, int)}
