"""Weights on the grid that training or rounding put them on: `use_given_limits`. Runs inside a worker.

A float file may tell the largest magnitude that each channel of a weight represents (`tflite.weights.with_weights`).
The quantizer does not know of it and measures anew; here its integers and scales are replaced by those of the grid, so
that what was trained is what runs: the same zeros, and no more different integers than there were values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.quantize.finish import operator_name, tensor_name, tensor_types
from edgeship.tflite.buffers import own_buffer
from edgeship.tflite.soundness import BIASED
from edgeship.tflite.weights import spread, weight_limits

Floats = NDArray[np.float64]
STEPS = {"INT8": 127, "INT4": 7}
"""Largest integer of a weight's type; the grid is symmetric."""
ON_GRID = 1e-3
"""Share of a step that a weight may lie beside the grid it is on, by the rounding of float32."""


def use_given_limits(model: Any, original: Any) -> list[str]:
    """Put the weights of a freshly quantized `model` on the grids that the float model `original` tells of; return what
    people should know, a sentence each.

    To be called before biases are made to fit and corrected: biases follow the scales. Where the target wants one scale
    for a weight that has a limit a channel, it is the largest of them, and the integers are rounded once more.
    """
    limits = weight_limits(original)
    sources = {tensor_name(t): t for t in original.subgraphs[0].tensors}
    coarser = []
    for tensor in model.subgraphs[0].tensors:
        name = tensor_name(tensor)
        kind = _kind(tensor)
        if name not in limits or kind not in STEPS or tensor.quantization is None:
            continue
        told, axis = limits[name]
        exact = _floats(original, sources[name])
        count = len(tensor.quantization.scale)
        if exact is None or (told.size > 1 and count > 1 and told.size != count):
            continue
        before = np.asarray(tensor.quantization.scale, np.float64)
        scale = told.astype(np.float64) / _steps(exact, told, axis, kind)
        if count == 1 and scale.size > 1:
            if not np.allclose(scale, scale.max(), rtol=1e-6):
                coarser.append(name)
            scale = scale.max(keepdims=True)
        elif scale.size == 1:
            scale = np.repeat(scale, count)
        along = axis if told.size > 1 else int(tensor.quantization.quantizedDimension)
        divided = exact / scale.reshape(spread(scale.size, along, exact.ndim))
        stored = np.clip(np.rint(divided), -STEPS[kind], STEPS[kind]).astype(np.int8)
        _store(model, tensor, stored, scale, kind)
        _follow(model, original, sources, tensor, scale / before)
    if not coarser:
        return []
    layers = "1 weight" if len(coarser) == 1 else f"{len(coarser)} weights"
    return [
        f"{layers} trained with a scale per channel got one scale in all, as the target wants: compress for it"
    ]


def _steps(exact: Floats, told: NDArray[np.float32], axis: int, kind: str) -> int:
    """Return the steps of a limit: those of the type, but the 7 of 4 bits where the weights lie on these exactly and 8
    bits store them, so that they stay the integers that they are."""
    limits = np.maximum(told.astype(np.float64), 1e-30)
    shares = exact / limits.reshape(spread(told.size, axis, exact.ndim))
    fine, coarse = (np.abs(shares * n - np.rint(shares * n)).max(initial=0.0) < ON_GRID for n in (127, 7))
    return 7 if kind == "INT8" and coarse and not fine else STEPS[kind]


def _store(model: Any, tensor: Any, stored: NDArray[np.int8], scale: Floats, kind: str) -> None:
    """Put integers and scales in place; 4-bit ones are packed two to a byte, the first in the low half."""
    own_buffer(model, tensor)
    if kind == "INT4":
        flat = stored.reshape(-1).view(np.uint8) & 0x0F
        flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
        data = flat[0::2] | (flat[1::2] << 4)
    else:
        data = stored.reshape(-1).view(np.uint8)
    model.buffers[tensor.buffer].data = np.ascontiguousarray(data)
    tensor.quantization.scale = scale.astype(np.float32)
    tensor.quantization.zeroPoint = np.zeros(scale.size, np.int64)


def _follow(model: Any, original: Any, sources: dict[str, Any], weight: Any, ratio: Floats) -> None:
    """Give the biases beside a weight the scales that its products now have, from their real values."""
    graph = model.subgraphs[0]
    for op in graph.operators:
        positions = BIASED.get(operator_name(model.operatorCodes[op.opcodeIndex]))
        if positions is None or len(op.inputs) <= positions[2] or op.inputs[positions[2]] < 0:
            continue
        if graph.tensors[op.inputs[positions[1]]] is not weight:
            continue
        bias = graph.tensors[op.inputs[positions[2]]]
        kind = _kind(bias)
        if kind not in ("INT32", "INT64") or bias.quantization is None:
            continue
        old = np.asarray(bias.quantization.scale, np.float64)
        new = old * (ratio if ratio.size in (1, old.size) else ratio.max())
        source = sources.get(tensor_name(bias))
        exact = None if source is None else _floats(original, source)
        integers: Any = np.int64 if kind == "INT64" else np.int32
        held = np.frombuffer(bytes(model.buffers[bias.buffer].data), integers)
        real = held * old if exact is None else exact.reshape(-1)
        limits = np.iinfo(integers)
        own_buffer(model, bias)
        stored = np.clip(np.rint(real / new), limits.min, limits.max).astype(integers)
        model.buffers[bias.buffer].data = np.frombuffer(stored.tobytes(), np.uint8)
        bias.quantization.scale = new.astype(np.float32)


def _floats(model: Any, tensor: Any) -> Floats | None:
    data = model.buffers[tensor.buffer].data
    if data is None or _kind(tensor) != "FLOAT32":
        return None
    shape = [int(size) for size in tensor.shape]
    return np.frombuffer(bytes(bytearray(data)), np.float32).reshape(shape).astype(np.float64)


def _kind(tensor: Any) -> str:
    return next(name for name, value in tensor_types().items() if value == tensor.type)
