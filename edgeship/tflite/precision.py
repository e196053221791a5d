"""The precision that the tensors of a `.tflite` really hold, whatever its name says: `precision_of(file)`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeship.tflite.file import Subgraph, Tensor, TfliteFile
from edgeship.values import Precision

WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "EMBEDDING_LOOKUP": (1,),
    "GATHER": (0,),
    "SVDF": (1, 2),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 4, 5),
    "LSTM": tuple(range(1, 9)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 35)),
}
"""Which inputs of an operation are weights; biases (int32 or int64 by design) are not among them."""
NUMERIC = {
    "float32", "float16", "bfloat16", "float64", "int2", "int4", "uint4", "int8", "uint8", "int16",
    "float8_e4m3fn", "float8_e5m2",
}  # fmt: skip
"""Types that carry values; int32, int64 and bool carry indices, shapes and conditions."""


def precision_of(file: TfliteFile) -> Precision:
    """Return what weights, activations and inputs/outputs hold, `mixed` where they differ among themselves.

    A weight that a DEQUANTIZE unpacks first counts as what is stored. QUANTIZE at the inputs and DEQUANTIZE
    at the outputs belong to `io`, not to the activations. Without weights, `weights` is what the activations
    are.
    """
    graphs = file.subgraphs
    io = _one(t.dtype for t in boundary(file))
    activations = _one(t.dtype for graph in graphs for t in activation_tensors(graph)) or io
    weights = _one(t.dtype for graph in graphs for t in weight_tensors(graph))
    if not weights:
        weights = _one(
            t.dtype for graph in graphs for t in graph.tensors if t.has_data and t.dtype in NUMERIC
        )
    return Precision(weights=weights or activations, activations=activations, io=io)


def is_float(precision: Precision) -> bool:
    """Return whether a file of this precision is a float model, from which recipes can be derived."""
    return precision.weights == "float32" and precision.activations == "float32"


def boundary(file: TfliteFile) -> Iterator[Tensor]:
    """Yield the model's input and output tensors."""
    for index in (*file.main.inputs, *file.main.outputs):
        yield file.main.tensors[index]


def unpacked_constants(graph: Subgraph) -> dict[int, int]:
    """Return DEQUANTIZE output -> its constant input: weights kept small in the file and widened when
    loaded."""
    return {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator.op in ("DEQUANTIZE", "DENSIFY")
        and operator.outputs
        and operator.inputs
        and operator.inputs[0] >= 0
        and graph.tensors[operator.inputs[0]].has_data
    }


def weight_tensors(graph: Subgraph) -> Iterator[Tensor]:
    """Yield each constant weight tensor of a graph once, as stored."""
    unpacked = unpacked_constants(graph)
    seen: set[int] = set()
    for operator in graph.operators:
        for position in WEIGHT_INPUTS.get(operator.op, ()):
            index = operator.inputs[position] if position < len(operator.inputs) else -1
            while index in unpacked:
                index = unpacked[index]
            if index < 0 or index in seen:
                continue
            tensor = graph.tensors[index]
            if tensor.has_data and tensor.dtype in NUMERIC:
                seen.add(index)
                yield tensor


def activation_tensors(graph: Subgraph) -> Iterator[Tensor]:
    """Yield the tensors that operations compute, without widened weights and without the conversions at the
    edges."""
    unpacked = unpacked_constants(graph)
    edge = set(graph.inputs) | set(graph.outputs)
    for operator in graph.operators:
        if operator.op in ("QUANTIZE", "DEQUANTIZE") and set(operator.outputs) <= edge:
            continue
        for index in operator.outputs:
            tensor = graph.tensors[index] if index >= 0 else None
            if tensor is not None and index not in unpacked and tensor.dtype in NUMERIC:
                yield tensor


def _one(dtypes: Iterable[str]) -> str:
    """Return the one dtype, `mixed` for several, or nothing for none."""
    found = set(dtypes)
    return found.pop() if len(found) == 1 else "mixed" if found else ""
