"""The constants of a model: which of them training may change, and what the others hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.file import Operator, Subgraph, TfliteFile
from edgeship.tflite.weights import Layer

Array = NDArray[Any]

OTHER_WEIGHTS: dict[str, tuple[int, ...]] = {
    "PRELU": (1,),
    "BATCH_MATMUL": (0, 1),
    "GATHER": (0,),
    "CONV_3D": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), *range(12, 17)),
}
"""Inputs that are weights wherever they are constant, of operations that `layers_of` does not know: slopes, factors of
products, embeddings, kernels, gates."""
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
    value = graph.tensors[op.inputs[position]]
    return value.elements > 1 and value.elements == value.shape[-1]


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


def other_constants(file: TfliteFile, trained: set[int]) -> dict[int, Array]:
    """Return the constants of the main graph that are not trained, by tensor index; what keeps a state is one of zeros,
    since every sample begins anew. Sparse ones, and types that NumPy lacks, are left out."""
    found: dict[int, Array] = {}
    for tensor in file.main.tensors:
        if tensor.index in trained or tensor.is_sparse or not (tensor.has_data or tensor.is_variable):
            continue
        try:
            kind = np.dtype(tensor.dtype)
        except TypeError:
            continue
        if tensor.has_data:
            data = np.frombuffer(file.tensor_bytes(tensor.index), kind, count=tensor.elements)
            found[tensor.index] = data.reshape(tensor.shape)
        else:
            found[tensor.index] = np.zeros(tensor.shape, kind)
    return found
