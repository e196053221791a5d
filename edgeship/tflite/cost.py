"""What a `.tflite` costs to run and to store: multiply-accumulates and parameters, from shapes alone.

MACs per operation, for the batch in the file:

| operation | MACs |
|---|---|
| CONV_2D, filter [out, kh, kw, in] | output elements * kh * kw * in |
| CONV_3D, filter [kd, kh, kw, in, out] | output elements * kd * kh * kw * in |
| DEPTHWISE_CONV_2D, filter [1, kh, kw, out] | output elements * kh * kw |
| TRANSPOSE_CONV, filter [out, kh, kw, in] | input elements * kh * kw * out |
| FULLY_CONNECTED, weights [out, in] | output elements * in |
| BATCH_MATMUL | output elements * the summed axis |
| LSTM, RNN, SVDF (one step or a whole sequence) | batch * steps * elements of all weight matrices |

Everything else (activations, pooling, additions, biases) counts 0. Operations in the bodies of loops count
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile
from edgeship.tflite.precision import NUMERIC

SEQUENCES = {
    "LSTM": False, "SVDF": False, "RNN": False, "UNIDIRECTIONAL_SEQUENCE_LSTM": True,
    "UNIDIRECTIONAL_SEQUENCE_RNN": True, "BIDIRECTIONAL_SEQUENCE_LSTM": True, "BIDIRECTIONAL_SEQUENCE_RNN": True,
}  # fmt: skip
"""Recurrent operations -> whether one run covers a whole sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Constants that carry values (weights, biases, tables): how many, and the bytes they take in the
    file."""

    count: int
    bytes: int


def macs(file: TfliteFile) -> int:
    """Return the multiply-accumulates of one run."""
    return sum(operator_macs(graph, operator) for graph in file.subgraphs for operator in graph.operators)


def operator_macs(graph: Subgraph, operator: Operator) -> int:
    """Return the multiply-accumulates of one operation, by the table above."""
    tensors = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    weights = tensors[1] if len(tensors) > 1 else None
    out = graph.tensors[operator.outputs[0]] if operator.outputs and operator.outputs[0] >= 0 else None
    if weights is None or out is None or tensors[0] is None:
        return 0
    shape, rank = weights.shape, len(weights.shape)
    if operator.op == "CONV_2D" and rank == 4:
        return out.elements * prod(shape[1:])
    if operator.op == "CONV_3D" and rank == 5:
        return out.elements * prod(shape[:4])
    if operator.op == "DEPTHWISE_CONV_2D" and rank == 4:
        return out.elements * shape[1] * shape[2]
    if operator.op == "TRANSPOSE_CONV" and rank == 4 and len(tensors) > 2 and tensors[2] is not None:
        return tensors[2].elements * prod(shape[:3])
    if operator.op == "FULLY_CONNECTED" and rank >= 1:
        return out.elements * shape[-1]
    if operator.op == "BATCH_MATMUL" and len(tensors[0].shape) >= 2:
        return out.elements * tensors[0].shape[-2 if operator.options.get("adj_x") else -1]
    if operator.op in SEQUENCES:
        return _recurrent(operator, tensors[0], [t for t in tensors[1:] if t is not None])
    return 0


def _recurrent(operator: Operator, data: Tensor, others: list[Tensor]) -> int:
    """Return batch * steps * elements of the weight matrices (constants of two axes)."""
    matrices = sum(t.elements for t in others if t.has_data and len(t.shape) == 2)
    if SEQUENCES[operator.op] and len(data.shape) == 3:
        return data.shape[0] * data.shape[1] * matrices
    return data.shape[0] * matrices if data.shape else 0


def parameters(file: TfliteFile) -> Parameters:
    """Return the file's parameters; a buffer that several tensors share counts once.

    Constants of int32 and int64 count where they are quantized (biases); others are shapes, axes and indices.
    """
    held: dict[int, int] = {}
    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if tensor.has_data and (tensor.dtype in NUMERIC or tensor.quantization is not None):
                held.setdefault(tensor.buffer, tensor.elements)
    return Parameters(count=sum(held.values()), bytes=sum(file.buffers[buffer][1] for buffer in held))
