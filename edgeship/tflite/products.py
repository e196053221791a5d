"""Negations and squares as products, which compute the same to the bit: NEG(x) is x * -1, SQUARE(x) is x * x.

Keras 3 writes its normalisation layers with both. The quantizer has an int8 form of MUL only, and accelerators map no
other of the three. Works on the object form of the flatbuffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeship.tflite.repeats import operator_code
from edgeship.tflite.schema import enum_names

PRODUCTS = frozenset({"NEG", "SQUARE"})
"""What becomes a product; a file without one of these is left alone."""


def multiply_instead(model: Any, schema: Any) -> int:
    """Turn every NEG and SQUARE of float32 in the main graph into a MUL; return how many there were."""
    graph = model.subgraphs[0]
    names = enum_names(schema.BuiltinOperator)
    turned, minus_one = 0, -1
    for op in graph.operators:
        name = names.get(model.operatorCodes[op.opcodeIndex].builtinCode, "")
        if name not in PRODUCTS or graph.tensors[op.inputs[0]].type != schema.TensorType.FLOAT32:
            continue
        if name == "NEG" and minus_one < 0:
            minus_one = _minus_one(model, schema)
        factor = minus_one if name == "NEG" else int(op.inputs[0])
        op.opcodeIndex = operator_code(model, schema, schema.BuiltinOperator.MUL)
        op.inputs = [int(op.inputs[0]), factor]
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
        turned += 1
    return turned


def _minus_one(model: Any, schema: Any) -> int:
    """Return a constant of one number, -1, which broadcasts over any shape."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.float32(-1).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.name, tensor.type, tensor.shape = b"minus_one", schema.TensorType.FLOAT32, [1]
    tensor.buffer = len(model.buffers) - 1
    graph = model.subgraphs[0]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
