"""The partitions TFLite's delegate interface makes of a graph, which decide what an accelerator gets.

Semantics of `PartitionGraphIntoIndependentNodeSubsets` (TensorFlow Lite, graph_info.cc), written anew: nodes are
taken as soon as what they read is there; the first node that is ready and not yet taken decides the kind of a
subset (the delegate's or the CPU's), and the subset takes every further ready node of that kind, skipping over
others. So it is the graph that counts, not the order of the file: a branch beside an unsupported operation stays in
the first subset.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from edgeship.tflite.file import Subgraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Operations that run together: on the delegate, or on the CPU."""

    delegated: bool
    operations: tuple[int, ...]


def partition(graph: Subgraph, supported: Container[int]) -> tuple[Partition, ...]:
    """Return the partitions of a graph in the order they run; `supported` holds the operations the delegate takes.

    Every operation is in exactly one partition, except those that wait for each other in a circle (only a damaged
    file has some): they are left out.
    """
    waiting = {t for operator in graph.operators for t in operator.outputs if t >= 0}
    remaining = list(graph.operators)
    partitions: list[Partition] = []
    while remaining:
        kind: bool | None = None
        taken: list[int] = []
        grown = True
        while grown:  # one pass is enough where the file lists producers first
            grown, left = False, []
            for operator in remaining:
                ready = not any(t in waiting for t in operator.inputs if t >= 0)
                delegated = operator.index in supported
                if ready and kind in (None, delegated):
                    kind, grown = delegated, True
                    taken.append(operator.index)
                    waiting.difference_update(operator.outputs)
                else:
                    left.append(operator)
            remaining = left
        if not taken:
            break
        partitions.append(Partition(delegated=bool(kind), operations=tuple(taken)))
    return tuple(partitions)


def ancestors_of(graph: Subgraph, sources: Container[int]) -> dict[int, frozenset[int]]:
    """Return, for every operation, which of `sources` it depends on, directly or not."""
    producer = {t: o.index for o in graph.operators for t in o.outputs if t >= 0}
    found: dict[int, frozenset[int]] = {}
    for operator in graph.operators:
        reached: set[int] = set()
        for tensor in operator.inputs:
            before = producer.get(tensor)
            if before is not None and before in found:
                reached |= found[before]
                if before in sources:
                    reached.add(before)
        found[operator.index] = frozenset(reached)
    return found
