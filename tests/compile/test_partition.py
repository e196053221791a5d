"""The graph decides what an accelerator gets, not the order of the file."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from edgeship.compile.edgetpu.partition import Partition, ancestors_of, partition
from edgeship.tflite.file import TfliteFile


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


@pytest.mark.parametrize("seed", range(60))
def test_any_graph_is_cut_where_the_definition_says(
    seed: int, graph, read: Callable[..., TfliteFile]
) -> None:
    """Kinds alternate, beginning with that of the first operation that reads inputs alone; an operation is in the
    earliest partition of its kind that is not before anything it reads. The file's order does not matter."""
    rng = random.Random(seed)
    tensors = [graph.input([1, 4]), graph.input([1, 4])]
    reads: list[set[int]] = []
    supported = set()
    share = rng.random()
    for index in range(rng.randint(1, 24)):
        inputs = rng.sample(tensors, min(len(tensors), rng.randint(1, 3)))
        if rng.random() < 0.2:
            inputs.append(-1)  # an optional input left out
        outputs = [graph.tensor([1, 4]) for _ in range(rng.choice((1, 1, 1, 2)))]
        reads.append({n for n, o in enumerate(graph.operators) if set(o.outputs) & set(inputs)})
        graph.op("ADD", inputs, outputs=outputs)
        tensors += outputs
        if rng.random() < share:
            supported.add(index)
    first = next(i for i, before in enumerate(reads) if not before)
    level: dict[int, int] = {}
    for index, before in enumerate(reads):
        earliest = max((level[b] for b in before), default=0)
        even = (index in supported) == (first in supported)
        level[index] = earliest if (earliest % 2 == 0) == even else earliest + 1
    wanted = [
        Partition(
            delegated=(first in supported) == (number % 2 == 0),
            operations=tuple(i for i in level if level[i] == number),
        )
        for number in range(max(level.values()) + 1)
    ]
    assert list(partition(read(graph).main, supported)) == wanted


def test_a_file_that_lists_producers_last(graph, read: Callable[..., TfliteFile]) -> None:
    x, a, b = graph.input([1, 4]), graph.tensor([1, 4]), graph.tensor([1, 4])
    graph.op("RELU", [b], [1, 4])
    graph.op("RELU", [a], outputs=[b])
    graph.op("RELU", [x], outputs=[a])
    assert partition(read(graph).main, {0, 1, 2}) == (Partition(delegated=True, operations=(2, 1, 0)),)


def test_a_circle_is_left_out(graph, read: Callable[..., TfliteFile]) -> None:
    a, b = graph.tensor([1, 4]), graph.tensor([1, 4])
    graph.op("RELU", [a], outputs=[b])
    graph.op("RELU", [b], outputs=[a])
    graph.op("RELU", [graph.input([1, 4])], [1, 4])
    graph.outputs = [a]
    assert partition(read(graph).main, {0, 1, 2}) == (Partition(delegated=True, operations=(2,)),)


def test_ancestors_reach_through_the_graph(graph, read: Callable[..., TfliteFile]) -> None:
    chain(graph, "RELU", "ELU", "RELU")
    assert ancestors_of(read(graph).main, {1}) == {0: frozenset(), 1: frozenset(), 2: frozenset({1})}
