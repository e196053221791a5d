"""Method `mixed`: some operations of a quantized file at another precision, where it gives most back for its price.

What each operation loses is measured by the pipeline (`edgeship/pipeline/sensitivity.py`), for quantizing and running
files is no business of this room. Here is the choice, and the file that tells of it: the recipe honours it
(`edgeship/tflite/precisions.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeship.compress.work import Outcome, Work
from edgeship.tflite.file import Operator, Subgraph
from edgeship.tflite.flat import parse
from edgeship.tflite.precisions import with_precisions
from edgeship.tflite.weights import FOUR_BITS, layers_of

PLUMBING = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SHAPE", "PACK", "UNPACK", "STRIDED_SLICE", "SLICE", "SPLIT",
    "GATHER", "CAST", "QUANTIZE", "DEQUANTIZE", "ARG_MAX",
)  # fmt: skip
"""Operations that round nothing by themselves."""
ISLAND = 0.02
"""Price of one more operation of another precision, as a share of the model: the conversions at its edges."""
EXTRA = {"float": 3.0, "int16x8": 0.0, "int8": 0.5, "int4": 0.5}
"""Bytes that a weight costs more than in the recipe (of int4: less)."""

Set = tuple[int, ...]
"""Operations that are changed together, by index."""
LEAST_GAIN = 0.1
"""Of the noise that the best operation takes away: less is not worth a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One operation that may have another precision."""

    index: int
    price: float
    """Share of the model's bytes and multiply-adds that it adds; of int4: of the bytes that it saves."""


def apply(work: Work) -> Outcome:
    """Write what was resolved into the file."""
    assert work.resolved is not None
    told = work.resolved
    return Outcome(content=with_precisions(work.content, told.layers), figures=told.figures, notes=told.notes)


def priced(path: Path, other: str, *, inner: bool) -> tuple[Priced, ...]:
    """Return the operations that may have the precision `other`, with their price. `inner` leaves out those that make
    the model's outputs, whose type the target says."""
    graph = parse(path, path.read_bytes(), "").main
    weights = {layer.operator.index: graph.tensors[layer.weight].elements for layer in layers_of(graph)}
    ops = [op for op in graph.operators if op.op not in PLUMBING and op.outputs and not op.custom]
    if other in ("int8", "int4"):
        ops = [op for op in ops if op.index in weights and op.op in FOUR_BITS]
    if inner:
        ops = [op for op in ops if not set(op.outputs) & set(graph.outputs)]
    work = {op.index: _work(graph, op, weights.get(op.index, 0)) for op in graph.operators if op.outputs}
    all_weights, all_work = max(sum(weights.values()), 1), max(sum(work.values()), 1)
    found = []
    for op in ops:
        share = EXTRA[other] * weights.get(op.index, 0) / all_weights
        if other in ("float", "int16x8"):
            share += ISLAND + work[op.index] / all_work
        found.append(Priced(index=op.index, price=max(share, 1e-6)))
    return tuple(found)


def _work(graph: Subgraph, op: Operator, weights: int) -> int:
    """Return the multiply-adds of an operation; where it has no weights the elements that it makes."""
    shape = graph.tensors[op.outputs[0]].shape
    if not weights:
        return math.prod(shape) or 1
    return weights * (math.prod(shape[1:-1]) if len(shape) == 4 else 1)


def noise(decibels: float) -> float:
    """Return noise over signal."""
    return float(10 ** (-decibels / 10))


def sets_of(path: Path, found: Sequence[Priced], other: str) -> list[Set]:
    """Return what to measure: every operation alone, and for precisions that reach between operations every one with
    each that reads it, for the tensor between two keeps its scale until both are changed."""
    singles: list[Set] = [(one.index,) for one in found]
    if other in ("int8", "int4"):
        return singles
    graph = parse(path, path.read_bytes(), "").main
    possible = {one.index for one in found}
    made = {tensor: op.index for op in graph.operators for tensor in op.outputs}
    pairs = {
        (made[tensor], op.index)
        for op in graph.operators
        for tensor in op.inputs
        if op.index in possible and made.get(tensor) in possible
    }
    return singles + sorted(pairs)


def ordered(found: Sequence[Priced], measured: Mapping[Set, float], whole: float, other: str) -> list[int]:
    """Return operations, what is best to change first: most noise taken away for its price; of int4 least noise added
    for what it saves. `measured` are decibels with some operations changed, `whole` those without any change.

    What takes no noise away is left out, and what takes less than a tenth away of what the best one does.
    """
    prices = {one.index: one.price for one in found}
    gains = {ops: noise(whole) - noise(decibels) for ops, decibels in measured.items()}
    rated = sorted(gains, key=lambda ops: (-gains[ops] / sum(prices[i] for i in ops), ops))
    if other != "int4":
        least = LEAST_GAIN * max([gain for gain in gains.values() if gain > 0], default=math.inf)
        rated = [ops for ops in rated if gains[ops] >= least]
    return list(dict.fromkeys(index for ops in rated for index in ops))


def counts(most: int) -> list[int]:
    """Return how many operations to try together: 1, 2, 3, 4, 6, 8, 12, ... and all of them."""
    found = sorted({int(n) for power in range(20) for n in (2**power, 1.5 * 2**power) if n <= most} | {most})
    return [n for n in found if n]


def enough(measured: Mapping[int, float], whole: float, decibels: float, other: str) -> int:
    """Return how many operations to change: the fewest that give `decibels` back, else the number that gives most; of
    int4 the most that cost no more than `decibels` (0: none). `measured` are decibels by their number."""
    if other == "int4":
        return max((count for count, value in measured.items() if value >= whole - decibels), default=0)
    fine = [count for count, value in measured.items() if value >= whole + decibels]
    return min(fine) if fine else max(measured, key=lambda count: (measured[count], -count), default=0)


def rows_to_run(total: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return which of so many samples are run, always the same."""
    return np.sort(np.random.default_rng(0).permutation(total)[:most])
