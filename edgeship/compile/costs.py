"""What operations cost: multiply-accumulates and constant bytes, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable

from edgeship.tflite.file import ITEM_BITS, Operator, Subgraph, Tensor

WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
"""Operations whose work is in their weights -> input position of the weights."""


def macs(graph: Subgraph, operator: Operator) -> int:
    """Return the multiply-accumulates of one operation; one per output element where it has no weights."""
    outputs = [graph.tensors[i] for i in operator.outputs if i >= 0]
    position = WEIGHTED.get(operator.op)
    if position is None or position >= len(operator.inputs) or not outputs:
        return sum(t.elements for t in outputs)
    weights = graph.tensors[operator.inputs[position]]
    if operator.op == "DEPTHWISE_CONV_2D":
        return outputs[0].elements * _product(weights.shape[:-1])
    if operator.op == "TRANSPOSE_CONV":
        data = graph.tensors[operator.inputs[2]]
        return data.elements * _product(weights.shape[:-1])
    return outputs[0].elements * _product(weights.shape[1:])


def bytes_of(tensor: Tensor) -> int:
    """Return the bytes a tensor's value takes; 0 for types without a fixed size."""
    return (tensor.elements * ITEM_BITS.get(tensor.dtype, 0) + 7) // 8


def constant_bytes(graph: Subgraph, operations: Iterable[int]) -> int:
    """Return the bytes of the weights and biases that some operations read, each buffer once.

    Scalars, shapes and axes of 64 bytes and less are left out: they become part of the program.
    """
    seen: dict[int, int] = {}
    for index in operations:
        for i in graph.operators[index].inputs:
            if i >= 0 and graph.tensors[i].has_data and bytes_of(graph.tensors[i]) > 64:
                seen[graph.tensors[i].buffer] = bytes_of(graph.tensors[i])
    return sum(seen.values())


def _product(sizes: Iterable[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result
