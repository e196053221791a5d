"""Outputs that join values of unlike range (boxes and scores) keep a scale for each in 8 bits. Runs inside a worker.

What is joined last is quantized part by part: the join is cut off before quantizing. Behind the integers it is made in
float where the target's runtime can (the output stays one, float32); elsewhere the parts are outputs of their own.
Works on the object form of the flatbuffer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.quantize.finish import FLOAT32, operator_name
from edgeship.quantize.observe import Observation
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.tails import Tail, tails_of


def unlike_tails(path: Path, seen: Observation) -> tuple[Tail, ...]:
    """Return how the outputs of the float model at `path` end, where they join what samples show to be unlike.

    An input that is joined as it is has no part of its own to quantize; such an output is left as it is.
    """
    file = read_tflite(path)
    ranges = {index: (tensor.low, tensor.high) for index, tensor in seen.tensors.items()}
    inputs = set(file.main.inputs)
    return tuple(t for t in tails_of(file, ranges) if not inputs & set(t.sources))


def words_of(path: Path, tails: Sequence[Tail], form: str) -> list[str]:
    """Return a line for each output that was kept apart, for people."""
    file = read_tflite(path)
    names = dict(zip(file.main.outputs, (spec.name for spec in file.signature.outputs), strict=True))
    lines = []
    for tail in tails:
        ratio = max(join.ratio for join in tail.joins)
        parts = len(tail.sources)
        start = (
            f"output '{names[tail.output]}' joins values of unlike range ({ratio:.0f} times), of which one 8-bit scale "
            "would lose the small ones"
        )
        if form == "float":
            what = f"{parts} parts keep scales of their own" if parts > 1 else "its integers keep their scale"
            lines.append(f"{start}: {what} and are joined in float at the end, so this output is float32")
        else:
            listed = ", ".join(f"'{name}'" for name in part_names(file, tail, names[tail.output]))
            lines.append(f"{start}: its {parts} parts are outputs of their own, {listed}")
    return lines


def part_names(file: TfliteFile, tail: Tail, name: str) -> list[str]:
    """Return what the parts of an output are called: by the columns they are in it where one join makes it."""
    operators = [file.main.operators[i] for i in tail.operators]
    joins = [o for o in operators if o.op == "CONCATENATION"]
    alone = len(joins) == 1 and all(o.op in ("CONCATENATION", "RESHAPE", "TRANSPOSE") for o in operators)
    if not alone or tuple(joins[0].inputs) != tail.sources:
        return [f"{name}_part{k}" for k in range(1, len(tail.sources) + 1)]
    axis, start, names = int(joins[0].options.get("axis", -1)), 0, []
    for source in tail.sources:
        size = file.main.tensors[source].shape[axis]
        names.append(f"{name}_{start}_{start + size - 1}")
        start += size
    return names


def cut(model: Any, path: Path, tails: Sequence[Tail]) -> None:
    """Take the tails off a float model, in place: what they join are its outputs, in the place of what they made."""
    file = read_tflite(path)
    graph = model.subgraphs[0]
    gone = {index for tail in tails for index in tail.operators}
    graph.operators = [op for index, op in enumerate(graph.operators) if index not in gone]
    parts = {tail.output: tail.sources for tail in tails}
    outputs = [part for output in graph.outputs for part in parts.get(output, (output,))]
    graph.outputs = list(dict.fromkeys(outputs))
    for definition in model.signatureDefs or ():
        if definition.subgraphIndex:
            continue
        entries: dict[int, Any] = {}
        for entry in definition.outputs:
            tail = next((t for t in tails if t.output == entry.tensorIndex), None)
            held = [(entry.name, entry.tensorIndex)]
            if tail is not None:
                names = part_names(file, tail, entry.name.decode())
                held = [(n.encode(), i) for n, i in zip(names, tail.sources, strict=True)]
            for name, index in held:
                named = copy.copy(entry)
                named.name, named.tensorIndex = name, index
                entries.setdefault(index, named)
        definition.outputs = list(entries.values())


def join(model: Any, original: Any, tails: Sequence[Tail]) -> None:
    """Put the tails behind a quantized model that was cut, in place: in float, with the outputs it had before."""
    graph, before = model.subgraphs[0], original.subgraphs[0]
    parts = {tail.output: tail.sources for tail in tails}
    order = dict.fromkeys(p for o in before.outputs for p in parts.get(o, (o,)))
    made = dict(zip(order, graph.outputs, strict=True))  # what an output of the cut model is now called
    floats: dict[int, int] = {}
    for tail in tails:
        for source in tail.sources:
            if source not in floats:
                floats[source] = _dequantized(model, graph, made[source])
        for index in tail.operators:
            op = copy.deepcopy(before.operators[index])
            op.opcodeIndex = _code_of(model, original.operatorCodes[op.opcodeIndex])
            op.inputs = [
                i if i < 0 else floats[i] if i in floats else _taken(model, original, i) for i in op.inputs
            ]
            for output in op.outputs:
                floats[output] = _taken(model, original, output)
            op.outputs = [floats[i] for i in op.outputs]
            graph.operators.append(op)
        if operator_name(model.operatorCodes[graph.operators[-1].opcodeIndex]) != "PACK":
            _leave_as_is(graph.tensors[floats[tail.output]])
    graph.outputs = [floats[o] if o in parts else made[o] for o in before.outputs]
    for definition, was in zip(model.signatureDefs or (), original.signatureDefs or (), strict=True):
        if not definition.subgraphIndex:
            definition.outputs = [copy.copy(entry) for entry in was.outputs]
            for entry in definition.outputs:
                place = list(before.outputs).index(entry.tensorIndex)
                entry.tensorIndex = graph.outputs[place]


def _dequantized(model: Any, graph: Any, index: int) -> int:
    """Return a float32 tensor with the values of an output of the cut model."""
    from ai_edge_litert import schema_py_generated as schema

    stored = graph.tensors[index]
    if stored.type == FLOAT32:
        return index
    tensor = copy.deepcopy(stored)
    tensor.name, tensor.type, tensor.quantization = stored.name + b"_real", FLOAT32, None
    graph.tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 1
    op = schema.OperatorT()
    op.opcodeIndex = _code_of(model, code)
    op.inputs, op.outputs = [index], [len(graph.tensors) - 1]
    graph.operators.append(op)
    return len(graph.tensors) - 1


def _leave_as_is(tensor: Any) -> None:
    """Say in an output that clients need not scale it: by 1, from 0.

    Clients of detectors (Ultralytics' among them) look at the type of the input, and scale outputs of int8 models by
    what these say; a float tensor says 0 as a rule. (PACK's kernel wants one scale on both sides, of floats too.)
    """
    from ai_edge_litert import schema_py_generated as schema

    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]


def _taken(model: Any, original: Any, index: int) -> int:
    """Return a tensor of the original model in the quantized one: where it still is, or a copy."""
    graph, wanted = model.subgraphs[0], original.subgraphs[0].tensors[index]
    if index < len(graph.tensors):
        there = graph.tensors[index]
        if (there.name, there.type, list(there.shape)) == (wanted.name, wanted.type, list(wanted.shape)):
            return index
    copied = copy.deepcopy(wanted)
    buffer = copy.deepcopy(original.buffers[wanted.buffer])
    if buffer.data is not None and len(buffer.data):
        buffer.data = np.asarray(buffer.data)
        model.buffers.append(buffer)
        copied.buffer = len(model.buffers) - 1
    else:
        copied.buffer = 0
    graph.tensors.append(copied)
    return len(graph.tensors) - 1


def _code_of(model: Any, code: Any) -> int:
    """Return the place of an operator code in a model, which gets it where it has none."""
    name = operator_name(code)
    for place, held in enumerate(model.operatorCodes):
        if operator_name(held) == name and not held.customCode:
            return place
    model.operatorCodes.append(copy.copy(code))
    return len(model.operatorCodes) - 1


def look(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker: return `{"found": [{"operations", "float", "outputs"}]}` for outputs that join unlike ranges.

    `payload`: `model` (path of the float `.tflite`), `samples` (of each input). The lines say what a build makes of it,
    where the end may be in float and where it may not.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    from edgeship.quantize.finish import constants_of
    from edgeship.quantize.observe import observe

    path = Path(payload["model"])
    content = path.read_bytes()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    report("running the calibration samples through the float model")
    seen = observe(
        content,
        [Path(path) for path in payload["samples"]],
        constants_of(model),
        lambda done, total: report("samples", done, total),
    )
    return {
        "found": [
            {
                "operations": [join.operator for join in tail.joins],
                **{form: words_of(path, (tail,), form)[0] for form in ("float", "outputs")},
            }
            for tail in unlike_tails(path, seen)
        ]
    }
