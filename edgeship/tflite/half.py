"""Weights in half precision, as TFLiteConverter's float16 option and Ultralytics' `_float16.tflite` have them:
`widened(content)`.

Each such constant stands behind a DEQUANTIZE of its own. Every float16 is a float32, so the same numbers as float32
constants give a file that computes the same, and whose weights everything here knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeship.tflite.buffers import drop_unused
from edgeship.tflite.flat import parse
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.refit import cannot_be_moved, packed, pruned, unpacked
from edgeship.tflite.schema import enum_names


def widened(content: bytes) -> tuple[bytes, int]:
    """Return a file whose float16 constants behind DEQUANTIZE are float32 constants, and how many tensors these are.

    (`content`, 0) where there is none, where something else in the file is quantized, or where it cannot be moved.
    """
    file = parse(Path("model.tflite"), content, "")
    if precision_of(file).weights not in ("float16", "mixed") or cannot_be_moved(file):
        return content, 0
    model, schema = unpacked(content)
    made: dict[int, int] = {}
    count = sum(_widen(model, schema, graph, made) for graph in model.subgraphs)
    if not count:
        return content, 0
    pruned(model)
    drop_unused(model)
    wide = packed(model, schema, content)
    return (wide, count) if is_float(precision_of(parse(Path("model.tflite"), wide, ""))) else (content, 0)


def _widen(model: Any, schema: Any, graph: Any, made: dict[int, int]) -> int:
    """Make constants of what DEQUANTIZE makes of float16 ones; `made`: old buffer -> new one, for all graphs."""
    names, kept, gone = enum_names(schema.BuiltinOperator), [], set()
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        name = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        source = graph.tensors[op.inputs[0]] if name == "DEQUANTIZE" else None
        data = None if source is None else model.buffers[source.buffer].data
        if (
            source is None
            or data is None
            or not len(data)
            or source.type != schema.TensorType.FLOAT16
            or source.sparsity is not None
            or op.outputs[0] in graph.outputs
        ):
            kept.append(op)
            continue
        if source.buffer not in made:
            values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float16).astype(np.float32)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made[source.buffer] = len(model.buffers) - 1
        target = graph.tensors[op.outputs[0]]
        target.buffer, target.shape, target.shapeSignature = made[source.buffer], source.shape, None
        target.quantization = None
        gone.add(int(op.inputs[0]))
    count = len(graph.operators) - len(kept)
    graph.operators = kept
    for index in gone - {int(i) for op in kept for i in op.inputs} - {int(i) for i in graph.outputs}:
        graph.tensors[index].buffer = 0  # in graphs that tensors are not taken out of
    return count
