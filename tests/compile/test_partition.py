"""The graph decides what an accelerator gets, not the order of the file."""

from __future__ import annotations

from collections.abc import Callable

from edgeship.compile.edgetpu.partition import Partition, ancestors_of, partition
from edgeship.model.tflite import TfliteFile


def chain(graph, *ops: str) -> None:
    x = graph.input([1, 4, 4, 4])
    for op in ops:
        x = graph.op(op, [x], [1, 4, 4, 4])


def test_everything_supported_is_one_partition(graph, read: Callable[..., TfliteFile]) -> None:
    chain(graph, "RELU", "LOGISTIC", "TANH")
    assert partition(read(graph).main, {0, 1, 2}) == (Partition(delegated=True, operations=(0, 1, 2)),)


def test_a_chain_is_cut_into_alternating_partitions(graph, read: Callable[..., TfliteFile]) -> None:
    chain(graph, "RELU", "ELU", "RELU", "ELU", "RELU")
    found = partition(read(graph).main, {0, 2, 4})
    assert [(p.delegated, p.operations) for p in found] == [
        (True, (0,)), (False, (1,)), (True, (2,)), (False, (3,)), (True, (4,)),
    ]  # fmt: skip


def test_a_branch_beside_an_unsupported_operation_stays_in_the_first_partition(graph, read) -> None:
    """0 -> 1(cpu) -> 4, 0 -> 2 -> 3 -> 4: the flat rule would end at 1, the delegate's rule takes 2 and 3 too."""
    x = graph.input([1, 4, 4, 4])
    a = graph.op("RELU", [x], [1, 4, 4, 4])
    b = graph.op("ELU", [a], [1, 4, 4, 4])
    c = graph.op("RELU", [a], [1, 4, 4, 4])
    d = graph.op("TANH", [c], [1, 4, 4, 4])
    graph.op("ADD", [b, d], [1, 4, 4, 4])
    found = partition(read(graph).main, {0, 2, 3, 4})
    assert [(p.delegated, p.operations) for p in found] == [(True, (0, 2, 3)), (False, (1,)), (True, (4,))]


def test_a_first_operation_on_the_cpu_does_not_cost_the_accelerator_its_part(graph, read) -> None:
    """Two inputs: one through a CPU operation, one not; the CPU's subset comes first and holds only what is its own."""
    x, y = graph.input([1, 4, 4, 4]), graph.input([1, 4, 4, 4])
    a = graph.op("ELU", [x], [1, 4, 4, 4])
    b = graph.op("RELU", [y], [1, 4, 4, 4])
    graph.op("ADD", [a, b], [1, 4, 4, 4])
    found = partition(read(graph).main, {1, 2})
    assert [(p.delegated, p.operations) for p in found] == [(False, (0,)), (True, (1, 2))]


def test_ancestors_reach_through_the_graph(graph, read: Callable[..., TfliteFile]) -> None:
    chain(graph, "RELU", "ELU", "RELU")
    assert ancestors_of(read(graph).main, {1}) == {0: frozenset(), 1: frozenset(), 2: frozenset({1})}
