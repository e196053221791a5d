"""Integer forms of operations that ai-edge-quantizer knows none for. Runs inside a worker.

It leaves such an operation in float and converts around it: DEQUANTIZE, the operation, QUANTIZE. The runtime's kernels
take int8 there too (TensorFlow Lite's 8-bit specification), and an accelerator takes nothing else, so the conversions
go and the operation works on the integers on either side. Works on the object form of the flatbuffer.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import numpy as np

from edgeship.quantize.finish import operator_name, tensor_types
from edgeship.tflite.int8_forms import FIXED, FORMS, FREE, SAME


def use_integer_forms(model: Any) -> int:
    """Turn every float operation of FORMS between two conversions into its int8 form; return how many were turned."""
    turned, again = 0, True
    while again:
        again = False
        for graph in model.subgraphs:
            for op in list(graph.operators):
                if operator_name(model.operatorCodes[op.opcodeIndex]) in FORMS and _turn(model, graph, op):
                    turned, again = turned + 1, True
    return turned


def _turn(model: Any, graph: Any, op: Any) -> bool:
    """Turn one float operation that stands before conversions to int8 and that nobody else reads; return whether."""
    named = {id(o): operator_name(model.operatorCodes[o.opcodeIndex]) for o in graph.operators}
    makers = {i: o for o in graph.operators for i in o.outputs}
    readers = defaultdict(list)
    for other in graph.operators:
        for i in set(other.inputs):
            readers[i].append(other)
    kinds, tensors, name = tensor_types(), graph.tensors, named[id(op)]
    before, behind, made = makers.get(op.inputs[0]), readers[op.outputs[0]], op.outputs[0]
    if before is None or tensors[made].type != kinds["FLOAT32"] or made in graph.outputs:
        return False
    chained = name in FIXED and any(named[id(o)] in FORMS for o in behind)
    if not behind or any(named[id(o)] != "QUANTIZE" and not chained for o in behind):
        return False
    if not chained and {tensors[o.outputs[0]].type for o in behind} != {kinds["INT8"]}:
        return False
    if name in SAME and named[id(before)] in FORMS:
        return _quantize_sooner(graph, op, behind)
    source = tensors[before.inputs[0]]
    if named[id(before)] != "DEQUANTIZE" or source.type != kinds["INT8"]:
        return False
    if name == "PRELU" and not _quantize_slopes(model, graph, op):
        return False
    op.inputs = [before.inputs[0], *list(op.inputs)[1:]]
    if chained:
        made = _dequantize_behind(graph, op, before)
    if name in FREE:
        _make_what_was_made(graph, op, behind)
    else:
        tensors[made].type, tensors[made].quantization = kinds["INT8"], copy.deepcopy(source.quantization)
        if name in FIXED:
            scale, zero_point = FIXED[name]
            tensors[made].quantization.scale, tensors[made].quantization.zeroPoint = [scale], [zero_point]
            tensors[made].quantization.min = tensors[made].quantization.max = None
    unread = not any(before.outputs[0] in o.inputs for o in graph.operators)
    if unread and before.outputs[0] not in graph.outputs:
        _remove(graph, before)
    return True


def _make_what_was_made(graph: Any, op: Any, behind: list[Any]) -> None:
    """Have the operation make what the first conversion behind it made; that one is gone, the others read this."""
    wanted = behind[0].outputs[0]
    op.outputs = [wanted]
    _remove(graph, behind[0])
    for other in behind[1:]:
        other.inputs = [wanted]


def _dequantize_behind(graph: Any, op: Any, conversion: Any) -> int:
    """Put a conversion like `conversion` behind an operation whose scale is known without one, and return the tensor
    between both: so the next operation stands behind integers, too."""
    made = op.outputs[0]
    between = copy.deepcopy(graph.tensors[made])
    between.name = (between.name or b"") + b"_quant"
    graph.tensors.append(between)
    back = copy.deepcopy(conversion)
    op.outputs = [len(graph.tensors) - 1]
    back.inputs, back.outputs = list(op.outputs), [made]
    graph.operators.insert(next(n for n, o in enumerate(graph.operators) if o is op) + 1, back)
    return len(graph.tensors) - 1


def _quantize_sooner(graph: Any, op: Any, behind: list[Any]) -> bool:
    """Move the conversion behind an operation that passes values through ahead of it, to whoever makes those."""
    conversion, source = behind[0], op.inputs[0]
    quantized = copy.deepcopy(graph.tensors[conversion.outputs[0]])
    quantized.name = graph.tensors[source].name + b"_quant"
    quantized.shape, quantized.shapeSignature = (
        graph.tensors[source].shape,
        graph.tensors[source].shapeSignature,
    )
    graph.tensors.append(quantized)
    _make_what_was_made(graph, op, behind)
    conversion.inputs, conversion.outputs = [source], [len(graph.tensors) - 1]
    op.inputs = [len(graph.tensors) - 1, *list(op.inputs)[1:]]
    place = next(n for n, o in enumerate(graph.operators) if o is op)
    graph.operators.insert(place, conversion)
    return True


def _remove(graph: Any, op: Any) -> None:
    graph.operators = [o for o in graph.operators if o is not op]


def _quantize_slopes(model: Any, graph: Any, op: Any) -> bool:
    """Store a PRELU's constant slopes as int8 with one scale, symmetric; return whether they are there."""
    from ai_edge_litert import schema_py_generated as schema

    kinds, slopes = tensor_types(), graph.tensors[op.inputs[1]]
    data = model.buffers[slopes.buffer].data
    if data is None or len(data) == 0 or slopes.type not in (kinds["FLOAT32"], kinds["INT8"]):
        return False
    if slopes.type == kinds["INT8"]:  # shared with one that was turned before
        return True
    values = np.frombuffer(bytes(data), np.float32)
    scale = float(max(np.abs(values).max(), 1e-6)) / 127
    stored = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    model.buffers.append(buffer)
    slopes.buffer, slopes.type = len(model.buffers) - 1, kinds["INT8"]
    slopes.quantization = schema.QuantizationParametersT()
    slopes.quantization.scale, slopes.quantization.zeroPoint = [scale], [0]
    return True
