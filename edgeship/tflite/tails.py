"""How a model ends: what stands between its outputs and the operations that compute them.

Joining, moving and scaling by constants compute nothing new; but in integers they give everything that they join one
scale. Pure reading of a file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from edgeship.tflite.file import Operator, Subgraph, TfliteFile
from edgeship.tflite.soundness import UNLIKE, producer_of

MOVES = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
"""Operations that move values and change none."""
JOINS = frozenset({"CONCATENATION", "PACK"})
SCALES = frozenset({"MUL", "DIV"})
SHIFTS = frozenset({"ADD", "SUB"})
FIXED_SPANS = {"LOGISTIC": 1.0, "SOFTMAX": 1.0, "TANH": 2.0, "L2_NORMALIZATION": 2.0}
"""Operations whose 8-bit outputs have one range by definition, whatever samples show."""
RANKING = frozenset({
    "TOPK_V2", "ARG_MAX", "ARG_MIN", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "WHERE", "UNIQUE",
})  # fmt: skip
CARRIES = frozenset(
    {"GATHER", "GATHER_ND", "CAST", "SLICE", "STRIDED_SLICE", "DEQUANTIZE", "QUANTIZE", "SELECT_V2"}
)
PROBABILITIES = frozenset({"LOGISTIC", "SOFTMAX"})

INTEGERS = ("int8", "uint8", "int16")

Ranges = Mapping[int, tuple[float, float]]
"""Tensor -> lowest and highest value that samples showed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """An operation that gives values of unlike ranges one scale."""

    operator: int
    finest: int
    """The joined tensor with the smallest range; where one tensor is scaled column by column, that one."""
    ratio: float
    """How many times wider the widest is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of one output from its first join of unlike ranges on."""

    output: int
    operators: tuple[int, ...]
    """In the order of the file."""
    sources: tuple[int, ...]
    """Tensors that are joined, in the order in which they are read; each has a range of its own."""
    joins: tuple[Join, ...]


def tails_of(file: TfliteFile, ranges: Ranges) -> tuple[Tail, ...]:
    """Return the outputs of a float model that end in a join of unlike ranges; `ranges` as samples showed them.

    A join further inside is none of these: what it joins is weighed again by the layer that reads it.
    """
    graph = file.main
    found = []
    for output in dict.fromkeys(graph.outputs):
        region = _region(graph, output)
        joins = tuple(j for o in region if (j := _unlike(file, o, ranges)) is not None)
        if not joins:
            continue
        starts = {join.operator for join in joins}
        kept: list[Operator] = []
        made: set[int] = set()
        for operator in region:
            if operator.index in starts or made & set(operator.inputs):
                kept.append(operator)
                made |= set(operator.outputs)
        sources = dict.fromkeys(
            i for o in kept for i in o.inputs if i >= 0 and i not in made and not graph.tensors[i].has_data
        )
        found.append(
            Tail(
                output=output,
                operators=tuple(o.index for o in kept),
                sources=tuple(sources),
                joins=joins,
            )
        )
    return tuple(found)


def moved_from(makers: Mapping[int, Operator], tensor: int) -> Operator | None:
    """Return the operation that computed a tensor's values, seen through those that only move them; None: an input."""
    while (maker := makers.get(tensor)) is not None and maker.op in MOVES:
        tensor = maker.inputs[0]
    return maker


def gives_probabilities(graph: Subgraph, output: int) -> bool:
    """Return whether an output holds, among others, shares of one: what a sigmoid or a softmax made."""
    makers, waiting, seen = producer_of(graph), [output], set()
    while waiting:
        operator = makers.get(waiting.pop())
        if operator is None or operator.index in seen:
            continue
        seen.add(operator.index)
        if operator.op in PROBABILITIES:
            return True
        if operator.op in MOVES | JOINS | SCALES | SHIFTS | {"DEQUANTIZE", "QUANTIZE", "RESIZE_BILINEAR"}:
            waiting += [i for i in operator.inputs if i >= 0]
    return False


def is_ranked(graph: Subgraph, output: int) -> bool:
    """Return whether an output is a choice among values (the best ones, their places, what is left of overlaps).

    The least difference changes its order: places of two models are not to be compared one by one.
    """
    makers, waiting, seen = producer_of(graph), [output], set()
    while waiting:
        operator = makers.get(waiting.pop())
        if operator is None or operator.index in seen:
            continue
        seen.add(operator.index)
        if operator.custom or operator.op in RANKING:
            return True
        if operator.op in MOVES | JOINS | SCALES | SHIFTS | CARRIES:
            waiting += [i for i in operator.inputs if i >= 0]
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatTail:
    """The end of an output that is joined in float behind integers, each with a scale of its own."""

    operators: frozenset[int]
    step: float
    """How far one step of the coarsest part moves the output."""


def float_tail(file: TfliteFile, output: int) -> FloatTail | None:
    """Return how an output of a quantized model is joined in float, or None where it is not.

    Only moves, joins, and scaling by constants, of nothing but what DEQUANTIZE makes of integers.
    """
    graph, makers = file.main, producer_of(file.main)
    if graph.tensors[output].dtype != "float32":
        return None
    steps, waiting, inside = [0.0], [(output, 1.0)], set()
    while waiting:
        tensor, gain = waiting.pop()
        operator = makers.get(tensor)
        if operator is None:
            return None
        inside.add(operator.index)
        if operator.op == "DEQUANTIZE" and graph.tensors[operator.inputs[0]].dtype in INTEGERS:
            held = graph.tensors[operator.inputs[0]].quantization
            steps.append(gain * held.scales[0] if held else 0.0)
            continue
        if not _is_of_a_tail(graph, operator):
            return None
        constants = [i for i in operator.inputs if i >= 0 and graph.tensors[i].has_data]
        values = [abs(v) for i in constants for v in _floats(file, i) if v and math.isfinite(v)]
        if operator.op in SCALES and values:
            gain *= max(values) if operator.op == "MUL" else 1.0 / min(values)
        waiting += [(i, gain) for i in operator.inputs if i >= 0 and i not in constants]
    if not any(graph.operators[i].op in JOINS | SCALES for i in inside):
        return None
    return FloatTail(operators=frozenset(inside), step=max(steps))


def _region(graph: Subgraph, output: int) -> list[Operator]:
    """Return the operations above an output that only move, join or scale, and that nothing else reads."""
    readers: dict[int, list[int]] = {}
    for operator in graph.operators:
        for i in operator.inputs:
            readers.setdefault(i, []).append(operator.index)
    inside: dict[int, Operator] = {}
    for operator in reversed(graph.operators):
        if len(operator.outputs) != 1 or not _is_of_a_tail(graph, operator):
            continue
        made = operator.outputs[0]
        read = readers.get(made, [])
        ends = made == output and not read
        if ends or (read and made not in graph.outputs and all(r in inside for r in read)):
            inside[operator.index] = operator
    return [inside[i] for i in sorted(inside)]


def _is_of_a_tail(graph: Subgraph, operator: Operator) -> bool:
    if operator.op in MOVES | JOINS:
        return not operator.custom
    return operator.op in SCALES | SHIFTS and any(graph.tensors[i].has_data for i in operator.inputs)


def _unlike(file: TfliteFile, operator: Operator, ranges: Ranges) -> Join | None:
    """Return an operation as a join of unlike ranges, or None."""
    graph = file.main
    if operator.op in JOINS:
        spans = [(span, i) for i in operator.inputs if i >= 0 and (span := _span(graph, i, ranges)) > 0.0]
        if len(spans) < 2:
            return None
        (finest, tensor), widest = min(spans), max(spans)[0]
        return _if_unlike(operator, tensor, widest / finest)
    if operator.op in SCALES:
        constants = [i for i in operator.inputs if graph.tensors[i].has_data]
        values = [abs(v) for v in _floats(file, constants[0]) if v and math.isfinite(v)]
        source = next((i for i in operator.inputs if i not in constants), -1)
        if len(values) > 1 and source >= 0:
            return _if_unlike(operator, source, max(values) / min(values))
    return None


def _if_unlike(operator: Operator, finest: int, ratio: float) -> Join | None:
    return Join(operator=operator.index, finest=finest, ratio=ratio) if ratio >= UNLIKE else None


def _span(graph: Subgraph, tensor: int, ranges: Ranges) -> float:
    """Return how wide a tensor's 8-bit range is (it always holds 0); 0 where that is not known, or it holds nothing."""
    maker = moved_from(producer_of(graph), tensor)
    if maker is not None and maker.op in FIXED_SPANS:
        return FIXED_SPANS[maker.op]
    low, high = ranges.get(tensor, (0.0, 0.0))
    return max(high, 0.0) - min(low, 0.0)


def _floats(file: TfliteFile, tensor: int) -> tuple[float, ...]:
    """Return the values of a float32 constant; none of any other."""
    held = file.main.tensors[tensor]
    if held.dtype != "float32":
        return ()
    raw = file.tensor_bytes(tensor, file.main.index)
    return struct.unpack(f"<{len(raw) // 4}f", raw)
