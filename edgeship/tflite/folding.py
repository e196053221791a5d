"""Arithmetic on shapes, done once instead of on every run.

A model with an open batch asks for the shape of its own tensors (SHAPE, STRIDED_SLICE, PACK, then RESHAPE).
Once every size is fixed the answer is a constant; a compiler for an accelerator takes a constant and not the
question. Works on the object form of the flatbuffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.schema import enum_names

Array = NDArray[Any]


def fold_shapes(model: Any, schema: Any) -> int:
    """Replace what follows from fixed shapes alone by constants in the main graph; return how many operations
    that saved.

    Only integers are folded: what a model computes with weights is its own business.
    """
    graph = model.subgraphs[0]
    kinds = {number: name.lower() for number, name in enum_names(schema.TensorType).items()}
    names = enum_names(schema.BuiltinOperator)
    known: dict[int, Array] = {}
    kept = []
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        name = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        value = _value(name, op, model, graph, kinds, known)
        if value is None or len(op.outputs) != 1 or op.outputs[0] in graph.outputs:
            kept.append(op)
        else:
            known[int(op.outputs[0])] = value
    saved = len(graph.operators) - len(kept)
    if saved:
        graph.operators = kept
        for index in {int(i) for op in kept for i in op.inputs}.intersection(known):
            _store(model, schema, graph.tensors[index], known[index])
    return saved


def _value(
    name: str, op: Any, model: Any, graph: Any, kinds: dict[int, str], known: dict[int, Array]
) -> Array | None:
    """Return what an operation makes where that is known before any run, else None."""
    if name == "SHAPE":
        shape = _fixed_shape(graph.tensors[op.inputs[0]])
        return None if shape is None else np.array(shape, kinds[graph.tensors[op.outputs[0]].type])
    if name not in FOLDED:
        return None
    values = [_constant(int(i), model, graph, kinds, known) for i in op.inputs]
    if any(value is None for value in values):
        return None
    made = FOLDED[name]([value for value in values if value is not None], op.builtinOptions)
    kind = kinds[graph.tensors[op.outputs[0]].type]
    return None if made is None or kind not in ("int32", "int64") else np.asarray(made).astype(kind)


def _fixed_shape(tensor: Any) -> list[int] | None:
    signature = tensor.shapeSignature
    if tensor.shape is None or (signature is not None and any(size < 0 for size in signature)):
        return None
    return [int(size) for size in tensor.shape]


def _constant(
    index: int, model: Any, graph: Any, kinds: dict[int, str], known: dict[int, Array]
) -> Array | None:
    """Return the integers of a tensor whose value is known, else None."""
    if index in known:
        return known[index]
    tensor = graph.tensors[index] if index >= 0 else None
    if tensor is None or kinds.get(tensor.type) not in ("int32", "int64") or tensor.isVariable:
        return None
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    return np.frombuffer(bytes(bytearray(data)), kinds[tensor.type]).reshape(shape)


def _store(model: Any, schema: Any, tensor: Any, value: Array) -> None:
    """Make a tensor the constant `value`."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.shape, tensor.shapeSignature = len(model.buffers) - 1, list(value.shape), None


def _strided_slice(values: Sequence[Array], options: Any) -> Array | None:
    x, begin, end, strides = values
    if options is None or options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        return None
    where: list[Any] = []
    for axis in range(len(begin)):
        bit = 1 << axis
        first = None if options.beginMask & bit else int(begin[axis])
        last = None if options.endMask & bit else int(end[axis])
        one = options.shrinkAxisMask & bit
        where.append((first or 0) if one else slice(first, last, int(strides[axis])))
    return np.asarray(x[tuple(where)])


def _gather(values: Sequence[Array], options: Any) -> Array | None:
    if options is None or options.batchDims:
        return None
    return np.asarray(np.take(values[0], values[1], axis=options.axis))


def _joined(values: Sequence[Array], options: Any) -> Array | None:
    if options is None or options.fusedActivationFunction:
        return None
    return np.concatenate(list(values), axis=options.axis)


def _product(values: Sequence[Array], options: Any) -> Array:
    axes = tuple(int(axis) for axis in values[1].reshape(-1))
    return np.asarray(np.prod(values[0], axis=axes, keepdims=bool(options and options.keepDims)))


def _plain(function: Callable[..., Any]) -> Callable[[Sequence[Array], Any], Array | None]:
    """Return arithmetic that is only done where no activation is fused to it."""

    def run(values: Sequence[Array], options: Any) -> Array | None:
        return None if options is not None and options.fusedActivationFunction else function(*values)

    return run


FOLDED: dict[str, Callable[[Sequence[Array], Any], Array | None]] = {
    "STRIDED_SLICE": _strided_slice,
    "PACK": lambda values, options: np.stack(list(values), axis=options.axis if options else 0),
    "CONCATENATION": _joined,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "MUL": _plain(np.multiply),
    "ADD": _plain(np.add),
    "SUB": _plain(np.subtract),
    "CAST": lambda values, options: values[0],
}
"""What converters make of `tf.shape(x)`: operation -> its value."""
