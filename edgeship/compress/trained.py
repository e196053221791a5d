"""Which constants of a model training may change."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.tflite.file import Operator, Subgraph
from edgeship.tflite.weights import Layer

OTHER_WEIGHTS: dict[str, tuple[int, ...]] = {"PRELU": (1,), "BATCH_MATMUL": (0, 1)}
"""Inputs that are weights wherever they are constant, of operations that `layers_of` does not know."""
PER_CHANNEL = ("ADD", "MUL", "SUB", "DIV")
"""Operations whose constant, behind a layer and one value a channel, came of a bias or a batch norm."""


def trained_constants(graph: Subgraph, layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the tensors that are trained, each once: weights and biases of layers, slopes, constant factors of
    products, and scales and shifts of channels behind a layer (those in front of all are of the preprocessing)."""
    found = [index for layer in layers for index in (layer.weight, layer.bias) if index is not None]
    behind = _behind(graph, {layer.operator.index for layer in layers})
    for op in graph.operators:
        for position, index in enumerate(op.inputs):
            if index < 0 or not graph.tensors[index].has_data or graph.tensors[index].is_sparse:
                continue
            if graph.tensors[index].dtype == "float32" and _is_weight(graph, op, position, behind):
                found.append(index)
    return tuple(dict.fromkeys(found))


def _is_weight(graph: Subgraph, op: Operator, position: int, behind: set[int]) -> bool:
    if op.custom:
        return False
    if position in OTHER_WEIGHTS.get(op.op, ()):
        return True
    if op.op not in PER_CHANNEL or op.index not in behind:
        return False
    value, made = graph.tensors[op.inputs[position]], graph.tensors[op.outputs[0]]
    channels = made.shape[-1] if made.shape else 1
    return value.elements > 1 and value.elements == value.shape[-1] == channels


def _behind(graph: Subgraph, sources: set[int]) -> set[int]:
    """Return the operations that need what operations of `sources` compute."""
    reached: set[int] = set()
    behind = set()
    for op in graph.operators:
        if reached & set(op.inputs):
            behind.add(op.index)
        if op.index in sources or op.index in behind:
            reached |= set(op.outputs)
    return behind
