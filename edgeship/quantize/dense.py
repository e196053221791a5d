"""Dense layers with one scale for all of their weights, for runtimes and compilers that read no more than one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeship.quantize.versions import equivalent_release, per_channel_dense
from edgeship.tflite.buffers import own_buffer
from edgeship.tflite.refit import packed, unpacked

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile

INT32 = np.iinfo(np.int32)


def with_one_scale(content: bytes) -> tuple[bytes, int]:
    """Return the file with every int8 FULLY_CONNECTED's weights stored at one scale, and how many that were.

    Runtimes before TensorFlow 2.17 take the first channel's scale for all and compute nonsense without a word. The
    one scale is the largest, so nothing is cut off; a channel with weights `n` times smaller keeps log2(n) bits less.
    Biases go from input scale * own scale to input scale * the one scale. The same bytes where there is none.
    """
    model, schema = unpacked(content)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    dense = schema.BuiltinOperator.FULLY_CONNECTED
    done: dict[int, np.ndarray[Any, Any]] = {}
    changed = 0
    for graph in model.subgraphs:
        for op in graph.operators:
            if codes[op.opcodeIndex] != dense:
                continue
            weights = graph.tensors[op.inputs[1]]
            own = None if weights.quantization is None else weights.quantization.scale
            if weights.type != schema.TensorType.INT8 or own is None or len(own) < 2:
                continue
            scales = np.asarray(own, np.float64)
            ratio = scales / scales.max()
            if weights.buffer not in done:
                buffer = model.buffers[weights.buffer]
                stored = np.frombuffer(bytes(bytearray(buffer.data)), np.int8).reshape(len(scales), -1)
                buffer.data = np.rint(stored * ratio[:, None]).astype(np.int8).tobytes()
                done[weights.buffer] = ratio
            _one(weights.quantization, float(scales.max()))
            if len(op.inputs) > 2 and op.inputs[2] >= 0:
                _bias(model, graph.tensors[op.inputs[2]], done[weights.buffer])
            changed += 1
    return (packed(model, schema, content), changed) if changed else (content, 0)


def as_runtime_reads(content: bytes, profile: TargetProfile) -> tuple[bytes, int]:
    """Return a model that came quantized in the form that a target's runtime reads, and how many layers changed."""
    runtime = profile.runtime
    if per_channel_dense("static", equivalent_release(runtime.engine, runtime.version)):
        return content, 0
    return with_one_scale(content)


def _one(quantization: Any, scale: float) -> None:
    quantization.scale, quantization.zeroPoint = [scale], [0]
    quantization.quantizedDimension = 0


def _bias(model: Any, bias: Any, ratio: np.ndarray[Any, Any]) -> None:
    if (
        model.buffers[bias.buffer].data is None
        or bias.quantization is None
        or bias.quantization.scale is None
    ):
        return
    own_buffer(model, bias)
    buffer = model.buffers[bias.buffer]
    stored = np.frombuffer(bytes(bytearray(buffer.data)), "<i4").astype(np.float64)
    buffer.data = np.clip(np.rint(stored * ratio), INT32.min, INT32.max).astype("<i4").tobytes()
    _one(bias.quantization, float(np.max(bias.quantization.scale)))
