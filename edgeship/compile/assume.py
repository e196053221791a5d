"""A float model looked at as if it were quantized to int8: types changed, scales left open, nothing computed."""

from __future__ import annotations

from dataclasses import replace

from edgeship.tflite.file import Operator, Subgraph, Tensor, TfliteFile
from edgeship.tflite.int8_forms import FIXED, FORMS, SAME

BIAS_POSITION = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}

QUANTIZED = frozenset({
    "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BROADCAST_TO", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV",
    "DYNAMIC_UPDATE_SLICE", "EQUAL", "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU", "HARD_SWISH", "LOGISTIC",
    "MAXIMUM", "MAX_POOL_2D", "MEAN", "MIRROR_PAD", "MUL", "NOT_EQUAL", "PACK", "PAD", "PADV2", "REDUCE_MIN", "RELU",
    "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SELECT", "SELECT_V2", "SLICE", "SOFTMAX",
    "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARED_DIFFERENCE", "STABLEHLO_COMPOSITE", "STRIDED_SLICE", "SUB", "SUM",
    "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK",
})  # fmt: skip
"""Operations that ai-edge-quantizer brings to int8; a test compares them with the installed one's."""


def stays_float(model: TfliteFile) -> frozenset[int]:
    """Return the operations of a float model that quantizing it to int8 leaves in float, by index."""
    graph = model.main
    left = {
        o.index for o in graph.operators if _computes_in_float(graph, o) and o.op not in QUANTIZED | FORMS
    }
    makers = {i: o for o in graph.operators for i in o.outputs}
    readers: dict[int, list[Operator]] = {}
    for operator in graph.operators:
        for i in operator.inputs:
            readers.setdefault(i, []).append(operator)
    turned = [o for o in graph.operators if o.op in FORMS and o.index not in left]
    for _ in turned:  # one that stays may keep its neighbour; at most as many rounds as there are
        before = len(left)
        for operator in turned:
            maker = makers.get(operator.inputs[0])
            behind = readers.get(operator.outputs[0], [])
            waits = FORMS.difference(FIXED)  # for its scale; what has one of its own is turned by itself
            alone = maker is not None and maker.op in waits and operator.op not in SAME
            if (maker and maker.index in left and maker.op not in waits) or alone:
                left.add(operator.index)
            if any(o.index in left for o in behind):
                left.add(operator.index)
        if len(left) == before:
            break
    return frozenset(left)


def _computes_in_float(graph: Subgraph, operator: Operator) -> bool:
    return any(graph.tensors[i].dtype == "float32" for i in operator.outputs if i >= 0)


def is_float(model: TfliteFile) -> bool:
    """Return whether no tensor that an operation makes is quantized."""
    made = [model.main.tensors[i] for o in model.main.operators for i in o.outputs if i >= 0]
    return any(t.dtype == "float32" for t in made) and not any(
        t.dtype in ("int8", "uint8", "int16") for t in made
    )


def as_int8(model: TfliteFile) -> TfliteFile:
    """Return the model with int8 in place of float32 and int32 biases; shapes, options and everything else the same."""
    graph = model.main
    biases = {
        o.inputs[position]
        for o in graph.operators
        if (position := BIAS_POSITION.get(o.op)) is not None and position < len(o.inputs)
    }

    def changed(tensor: Tensor) -> Tensor:
        if tensor.dtype != "float32":
            return tensor
        return replace(tensor, dtype="int32" if tensor.index in biases else "int8", quantization=None)

    main = replace(graph, tensors=tuple(changed(t) for t in graph.tensors))
    return replace(model, subgraphs=(main, *model.subgraphs[1:]))
