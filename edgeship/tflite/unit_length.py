"""Vectors brought to length 1 in one operation: L2_NORMALIZATION instead of SQUARE, SUM, RSQRT, MINIMUM and MUL.

Keras 3 writes `UnitNormalization` and `ops.normalize` as the five; MINIMUM and SQUARE have no int8 form, and 8 bits for
squares and their inverse roots would leave little of the vector. The one operation keeps every int8 step. Works on the
object form of the flatbuffer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeship.tflite.repeats import operator_code
from edgeship.tflite.schema import enum_names

LEAST = 1e-6
"""Length below which the kernel divides by this. Keras bounds the inverse length by 1e6 or 1e12: so short a vector is
rounding, which nothing can rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """What the search for the five operations asks of a graph."""

    model: Any
    makers: dict[int, Any]
    readers: Counter[int]
    names: dict[int, str]

    def alone(self, index: int, name: str) -> Any:
        """Return the operation `name` that makes a tensor which one operation reads, else None."""
        op = self.makers.get(index)
        return op if op is not None and self.name(op) == name and self.readers[index] == 1 else None

    def name(self, op: Any) -> str:
        return self.names.get(self.model.operatorCodes[op.opcodeIndex].builtinCode, "")

    def constant(self, index: int, dtype: type) -> list[float]:
        """Return the values of a constant; none of what is computed."""
        data = self.model.buffers[self.model.subgraphs[0].tensors[index].buffer].data
        return [] if data is None else np.frombuffer(bytes(bytearray(data)), dtype).tolist()


def normalise_at_once(model: Any, schema: Any) -> int:
    """Replace the five operations by one wherever they stand in the main graph; return how often they did."""
    graph = model.subgraphs[0]
    readers = Counter(int(i) for op in graph.operators for i in op.inputs)
    readers.update(int(i) for i in graph.outputs)
    held = _Graph(
        model=model,
        makers={int(i): op for op in graph.operators for i in op.outputs},
        readers=readers,
        names=enum_names(schema.BuiltinOperator),
    )
    gone: set[int] = set()
    found = 0
    for op in graph.operators:
        steps = _steps(held, op, schema)
        if not steps:
            continue
        gone |= {id(step) for step in steps}
        op.inputs = [int(steps[-1].inputs[0])]
        op.opcodeIndex = operator_code(model, schema, schema.BuiltinOperator.L2_NORMALIZATION)
        op.builtinOptionsType, op.builtinOptions = (
            schema.BuiltinOptions.L2NormOptions,
            schema.L2NormOptionsT(),
        )
        found += 1
    graph.operators = [op for op in graph.operators if id(op) not in gone]
    return found


def _steps(held: _Graph, last: Any, schema: Any) -> list[Any]:
    """Return the four operations before a MUL that brings its other factor to length 1; none before any other."""
    tensors = held.model.subgraphs[0].tensors
    fused = getattr(last.builtinOptions, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
    if held.name(last) != "MUL" or fused != schema.ActivationFunctionType.NONE:
        return []
    for factor, vector in (last.inputs, list(reversed(last.inputs))):
        least = held.alone(int(factor), "MINIMUM")
        if least is None:
            continue
        root, bound = (int(i) for i in least.inputs)
        root, bound = (bound, root) if held.constant(root, np.float32) else (root, bound)
        inverse = held.alone(root, "RSQRT")
        total = None if inverse is None else held.alone(int(inverse.inputs[0]), "SUM")
        square = None if total is None else held.alone(int(total.inputs[0]), "SQUARE")
        if total is None or square is None or int(square.inputs[0]) != int(vector):
            continue
        shape, summed = (
            [] if tensors[int(i)].shape is None else [int(n) for n in tensors[int(i)].shape]
            for i in (vector, total.outputs[0])
        )
        over = held.constant(int(total.inputs[1]), np.int32)
        limit = held.constant(bound, np.float32)
        is_float = tensors[int(vector)].type == schema.TensorType.FLOAT32
        if not is_float or over not in ([-1], [len(shape) - 1]) or summed != [*shape[:-1], 1]:
            continue
        if len(limit) == 1 and limit[0] * LEAST > 1 - 1e-3:
            return [least, inverse, total, square]
    return []
