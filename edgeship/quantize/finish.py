"""What a freshly quantized file still needs: types for outputs nobody reads, corrected biases and true operator
versions. Runs inside a worker.

Works on the object form of the flatbuffer (`ai_edge_litert.schema_py_generated`).
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.quantize.observe import Observation
from edgeship.quantize.versions import needed_version, oldest_release
from edgeship.tflite.buffers import own_buffer
from edgeship.tflite.weights import int4_values

WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
FLOAT32 = 0
"""TensorType.FLOAT32 of the schema."""
VERSION_ENTRY = b"min_runtime_version"
VERSION_BYTES = 16
"""The size TensorFlow Lite gives the metadata entry."""

Floats = NDArray[np.float64]


def constants_of(model: Any) -> set[int]:
    """Return the indices of the main graph's tensors whose value stands in the file."""
    graph = model.subgraphs[0]
    return {i for i, t in enumerate(graph.tensors) if _has_data(model, t)}


def type_unread_outputs(model: Any) -> int:
    """Give outputs that nothing reads the type of their siblings; return how many were given one.

    ai-edge-quantizer leaves them float32: the gate of an unrolled LSTM's first step that its zero state makes
    superfluous is one. A runtime prepares every output, and refuses a SPLIT or UNPACK of two types. Only where all
    siblings share one quantization, as the parts of one tensor do.
    """
    done = 0
    for graph in model.subgraphs:
        read = {i for op in graph.operators for i in op.inputs} | set(graph.outputs)
        for op in graph.operators:
            typed = [graph.tensors[i] for i in op.outputs if i in read]
            unread = [graph.tensors[i] for i in op.outputs if i not in read]
            if not typed or len({(t.type, *_parameters(t)) for t in typed}) != 1 or not _parameters(typed[0]):
                continue
            for tensor in unread:
                if tensor.type == FLOAT32:
                    tensor.type, tensor.quantization = typed[0].type, copy.deepcopy(typed[0].quantization)
                    done += 1
    return done


def _parameters(tensor: Any) -> tuple[float, ...]:
    """Return scale and zero point of a tensor quantized as a whole, nothing for another."""
    held = tensor.quantization
    if held is None or held.scale is None or len(held.scale) != 1:
        return ()
    return float(held.scale[0]), float(held.zeroPoint[0])


def correct_biases(quantized: Any, original: Any, seen: Observation) -> int:
    """Take out of each bias what rounding the weights adds to it on average; return how many were corrected.

    Rounding weights by dW shifts a layer's output by dW . E[x]; E[x] is the mean input over the calibration
    samples (Nagel et al., 2019, section 4.2, with measured means). Biases that several operations share are
    left alone.
    """
    layers, sources = _layers(quantized), _layers(original)
    if [name for name, _ in layers] != [name for name, _ in sources]:
        return 0
    tensors = quantized.subgraphs[0].tensors
    uses = Counter(int(i) for op in quantized.subgraphs[0].operators for i in op.inputs)
    done = 0
    for (name, op), (_, source) in zip(layers, sources, strict=True):
        if len(op.inputs) < 3 or op.inputs[2] < 0:
            continue
        bias = tensors[op.inputs[2]]
        mean = seen.mean(source.inputs[0])
        now = weights_of(quantized, op.inputs[1])
        exact = weights_of(original, source.inputs[1])
        if mean is None or now is None or exact is None or now.shape != exact.shape:
            continue
        if uses[int(op.inputs[2])] > 1 or not _has_data(quantized, bias):
            continue
        _add_to_bias(quantized, bias, -output_shift(name, now - exact, mean))
        done += 1
    return done


def output_shift(name: str, change: Floats, mean: Floats) -> Floats:
    """Return how far each output channel of a layer moves on average when its weights change by `change`.

    `mean` is the mean of each element of the layer's input. Border pixels, where padding takes part, count as
    any other.
    """
    shape = change.shape
    if name == "FULLY_CONNECTED":
        return np.asarray(change @ mean.reshape(-1, shape[1]).mean(axis=0))
    channels: Floats = mean.reshape(-1, mean.shape[-1]).mean(axis=0)
    if name == "DEPTHWISE_CONV_2D":
        return np.asarray(change.sum(axis=(0, 1, 2)) * np.repeat(channels, shape[3] // channels.size))
    groups = channels.size // shape[3]
    split = change.sum(axis=(1, 2)).reshape(groups, -1, shape[3])
    return np.asarray(np.einsum("goc,gc->go", split, channels.reshape(groups, shape[3])).reshape(-1))


def weights_of(model: Any, index: int) -> Floats | None:
    """Return the real values of a constant weight, looking through a DEQUANTIZE; None where it is no
    constant.
    """
    graph = model.subgraphs[0]
    tensor = graph.tensors[index]
    if not _has_data(model, tensor):
        makers = [op for op in graph.operators if index in op.outputs]
        if len(makers) != 1 or operator_name(model.operatorCodes[makers[0].opcodeIndex]) != "DEQUANTIZE":
            return None
        tensor = graph.tensors[makers[0].inputs[0]]
    if not _has_data(model, tensor):
        return None
    data = bytes(model.buffers[tensor.buffer].data)
    shape = [int(size) for size in tensor.shape]
    kinds = tensor_types()
    if tensor.type == kinds["FLOAT32"]:
        return np.frombuffer(data, np.float32).reshape(shape).astype(np.float64)
    if tensor.type not in (kinds["INT8"], kinds["INT4"]) or tensor.quantization is None:
        return None
    packed = tensor.type == kinds["INT4"]
    stored = int4_values(data, int(np.prod(shape))) if packed else np.frombuffer(data, np.int8)
    scale = np.asarray(tensor.quantization.scale, np.float64)
    spread = [1] * len(shape)
    if scale.size > 1:
        spread[tensor.quantization.quantizedDimension] = scale.size
    return np.asarray(stored.reshape(shape) * scale.reshape(spread))


def _add_to_bias(model: Any, bias: Any, amount: Floats) -> None:
    """Add real values to a bias in place, in its own type: float32, or int32 or int64 steps of its scale."""
    own_buffer(model, bias)
    data = bytes(model.buffers[bias.buffer].data)
    kinds = tensor_types()
    if bias.type == kinds["FLOAT32"]:
        corrected: Any = (np.frombuffer(data, np.float32) + amount).astype(np.float32)
    else:
        kind: Any = np.int64 if bias.type == kinds["INT64"] else np.int32
        steps = np.frombuffer(data, kind) + amount / np.asarray(bias.quantization.scale, np.float64)
        limits = np.iinfo(kind)
        corrected = np.clip(np.rint(steps), limits.min, limits.max).astype(kind)
    model.buffers[bias.buffer].data = np.frombuffer(corrected.tobytes(), np.uint8)


def set_versions(model: Any) -> None:
    """Write into the file the operator versions its tensor types ask for, and the oldest release that has
    them all.
    """
    names = {index: name for name, index in tensor_types().items()}
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]

            def kinds(indices: Any, tensors: Any = graph.tensors) -> list[str | None]:
                return [names[tensors[i].type].lower() if i >= 0 else None for i in indices]

            weights = [graph.tensors[i] for i in op.inputs if i >= 0 and _has_data(model, graph.tensors[i])]
            per_channel = any(_is_per_channel(t) for t in weights)
            needed = needed_version(
                operator_name(code), kinds(op.inputs), kinds(op.outputs), per_channel=per_channel
            )
            code.version = max(code.version, needed)
    release = oldest_release([(operator_name(code), code.version) for code in model.operatorCodes])
    for entry in model.metadata or ():
        if entry.name == VERSION_ENTRY and release is not None:
            if not _holds(model.buffers[entry.buffer]):  # the quantizer lets all that hold nothing be one
                model.buffers.append(type(model.buffers[0])())
                entry.buffer = len(model.buffers) - 1
            text = release.encode().ljust(VERSION_BYTES, b"\0")
            model.buffers[entry.buffer].data = np.frombuffer(text, np.uint8)


def _layers(model: Any) -> list[tuple[str, Any]]:
    graph = model.subgraphs[0]
    named = ((operator_name(model.operatorCodes[op.opcodeIndex]), op) for op in graph.operators)
    return [(name, op) for name, op in named if name in WITH_BIAS]


def _has_data(model: Any, tensor: Any) -> bool:
    return _holds(model.buffers[tensor.buffer])


def _holds(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _is_per_channel(tensor: Any) -> bool:
    """Return whether a constant has several scales. (A bias has as many as its weights: it tells nothing
    new.)
    """
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return scale is not None and len(scale) > 1


def operator_name(code: Any) -> str:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names: dict[str, Any] = vars(BuiltinOperator)
    return next(name for name, value in names.items() if value == number)


def tensor_types() -> dict[str, int]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {name: value for name, value in vars(TensorType).items() if isinstance(value, int)}


def tensor_name(tensor: Any) -> str:
    """Return the name of a tensor of the object form."""
    return bytes(tensor.name or b"").decode(errors="replace")
