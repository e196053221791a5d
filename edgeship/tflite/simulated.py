"""Quantization that a model only simulates, as training for it leaves in the graph: `without_simulation(content)`.

Fake quantization becomes QUANTIZE and DEQUANTIZE between float operations. Such a model computes in float and pays for
the conversions besides; what training found out are the ranges. So the pairs go, and each range stays with its float
tensor, in the fields that the file format has for it. Weights keep their float values, of which a recipe makes the same
integers again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.tflite.flat import parse
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.refit import packed, pruned, unpacked
from edgeship.tflite.schema import enum_names

LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "UINT16": (0, 65535)}
"""Integers a simulated type holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    source: int
    """The float tensor that is rounded."""
    results: tuple[int, ...]
    """What it is read as afterwards."""
    low: float
    high: float
    limit: tuple[float, ...]
    """Of a weight: the largest magnitude of the whole, or of each channel; empty where its range lies askew."""
    axis: int
    """Of a weight: which axis holds the channels."""
    operators: tuple[int, ...]
    """Identities of the conversions."""


def without_simulation(content: bytes) -> tuple[bytes, int]:
    """Return a float model without its simulated quantization, and of how many tensors it was; (`content`, 0) where
    there is none.

    A pair whose source is an input or a constant and whose result is an output of the model stays: neither could go.
    """
    model, schema = unpacked(content)
    graph = model.subgraphs[0]
    pairs = _pairs(model, schema)
    if not pairs:
        return content, 0
    made = {int(i) for op in graph.operators for i in op.outputs}
    shown = {int(i) for i in graph.outputs}
    kept: dict[int, int] = {}
    ranges: dict[int, tuple[float, float]] = {}
    limits: dict[int, _Pair] = {}
    gone: set[int] = set()
    for pair in pairs:
        outputs = [i for i in pair.results if i in shown]
        if outputs and (pair.source not in made or pair.source in shown or len(outputs) > 1):
            continue
        stays = outputs[0] if outputs else pair.source
        kept |= {i: stays for i in (pair.source, *pair.results) if i != stays}
        gone |= set(pair.operators)
        if pair.source in made or pair.source in {int(i) for i in graph.inputs}:
            low, high = ranges.get(stays, (pair.low, pair.high))
            ranges[stays] = min(low, pair.low), max(high, pair.high)
        elif pair.limit:
            limits.setdefault(stays, pair)
    graph.operators = [op for op in graph.operators if id(op) not in gone]
    for op in graph.operators:
        op.inputs = [_last(kept, int(i)) for i in op.inputs]
        op.outputs = [_last(kept, int(i)) for i in op.outputs]
    for index, (low, high) in ranges.items():
        told = schema.QuantizationParametersT()
        told.min, told.max = [low], [high]
        graph.tensors[_last(kept, index)].quantization = told
    for index, pair in limits.items():
        told = schema.QuantizationParametersT()
        told.min, told.max = [-limit for limit in pair.limit], list(pair.limit)
        told.quantizedDimension = pair.axis if len(pair.limit) > 1 else 0
        graph.tensors[index].quantization = told
    pruned(model)
    return packed(model, schema, content), len(ranges)


def float_form(content: bytes) -> tuple[bytes, int]:
    """Return a file that only simulates quantization as `without_simulation` does; any other file, and 0."""
    file = parse(Path("model.tflite"), content, "")
    if not any(op.op == "QUANTIZE" for op in file.main.operators):
        return content, 0
    plain, count = without_simulation(content)
    return (plain, count) if is_float(precision_of(parse(Path("model.tflite"), plain, ""))) else (content, 0)


def _last(kept: Mapping[int, int], index: int) -> int:
    """Return the tensor that stands for `index` after all: a result may be rounded once more."""
    while index in kept:
        index = kept[index]
    return index


def _pairs(model: Any, schema: Any) -> list[_Pair]:
    """Return every QUANTIZE of a float tensor whose result nothing reads but DEQUANTIZE."""
    graph, kinds = model.subgraphs[0], enum_names(schema.TensorType)
    names = enum_names(schema.BuiltinOperator)

    def name(op: Any) -> str:
        return names.get(model.operatorCodes[op.opcodeIndex].builtinCode, "")

    readers = defaultdict(list)
    for op in graph.operators:
        for i in op.inputs:
            readers[int(i)].append(op)
    found = []
    for op in graph.operators:
        source, rounded = (int(op.inputs[0]), int(op.outputs[0])) if name(op) == "QUANTIZE" else (-1, -1)
        behind = readers[rounded]
        if source < 0 or not behind or rounded in graph.outputs:
            continue
        tensor, limits = graph.tensors[rounded], LIMITS.get(kinds.get(graph.tensors[rounded].type, ""))
        if graph.tensors[source].type != schema.TensorType.FLOAT32 or limits is None:
            continue
        if any(name(o) != "DEQUANTIZE" for o in behind):
            continue
        scales, zeros = list(tensor.quantization.scale), list(tensor.quantization.zeroPoint)
        steps = [(s * (n - z)) for s, z in zip(scales, zeros, strict=True) for n in limits]
        even = all(2 * z == sum(limits) + 1 for z in zeros)
        found.append(
            _Pair(
                source=source,
                results=tuple(int(o.outputs[0]) for o in behind),
                low=min(steps),
                high=max(steps),
                limit=tuple(abs(s) * (limits[1] - zeros[0]) for s in scales) if even else (),
                axis=int(tensor.quantization.quantizedDimension),
                operators=(id(op), *(id(o) for o in behind)),
            )
        )
    return found


def trained_ranges(model: Any) -> dict[str, tuple[float, float]]:
    """Return (low, high) by name of the activations whose range stands in the object form of a float file."""
    found = {}
    for tensor in model.subgraphs[0].tensors:
        told, data = tensor.quantization, model.buffers[tensor.buffer].data
        if data is not None and len(data):
            continue  # the limits of a weight
        low, high = ([], []) if told is None else (told.min, told.max)
        if low is not None and high is not None and len(low) == len(high) == 1 and low[0] < high[0]:
            found[tensor.name.decode("utf-8", "replace")] = float(low[0]), float(high[0])
    return found
