"""What a `.tflite` keeps from one run to the next: `states_of(file)`.

Two forms exist. A *variable tensor* belongs to a fused recurrent operation (LSTM, RNN, SVDF), which changes it in
place; the interpreter can set all of them to zero. A *resource* is a variable of the model (VAR_HANDLE) that it assigns
while it runs; CALL_ONCE gives it its first value when the first run begins, and only loading the model anew gives that
back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgeship.tflite.file import Operator, Subgraph, TfliteFile

StateKind = Literal["tensor", "resource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state."""

    name: str
    """A resource's own name; of a variable tensor, the operation it belongs to and its place there."""
    kind: StateKind
    dtype: str
    shape: tuple[int, ...]
    """`()` also where the file does not tell."""


def states_of(file: TfliteFile) -> tuple[State, ...]:
    """Return what the model keeps between runs, in the order of the file; nothing for a model without state.

    A resource that only CALL_ONCE assigns is a constant under another name, and no state.
    """
    return (*_tensors(file), *_resources(file))


def never_assigned(file: TfliteFile) -> tuple[str, ...]:
    """Return the names of variables (VAR_HANDLE) that no run assigns: weights, which should be constants."""
    named = {name for graph in file.subgraphs for name in _handles(file, graph).values()}
    assigned = {state.name for state in _resources(file)}
    return tuple(sorted(shared for _, shared in named if shared not in assigned))


def _tensors(file: TfliteFile) -> Iterator[State]:
    for graph in file.subgraphs:
        seen: set[int] = set()
        for operator in graph.operators:
            held = [i for i in operator.inputs if i >= 0 and graph.tensors[i].is_variable and i not in seen]
            seen |= set(held)
            for number, index in enumerate(held):
                tensor = graph.tensors[index]
                where = f"{operator.op}:{operator.index}:{number}"
                yield State(name=where, kind="tensor", dtype=tensor.dtype, shape=tensor.shape)


def _resources(file: TfliteFile) -> Iterator[State]:
    seen: set[tuple[str, str]] = set()
    once = _run_once(file)
    for graph in file.subgraphs:
        if graph.index in once:
            continue
        handles = _handles(file, graph)
        for operator in graph.operators:
            if operator.op != "ASSIGN_VARIABLE" or len(operator.inputs) < 2:
                continue
            name = handles.get(operator.inputs[0], ("", graph.tensors[operator.inputs[0]].name))
            if name not in seen:
                seen.add(name)
                value = graph.tensors[operator.inputs[1]]
                yield State(name=name[1], kind="resource", dtype=value.dtype, shape=value.shape)


def _handles(
    file: TfliteFile, graph: Subgraph, within: frozenset[int] = frozenset()
) -> dict[int, tuple[str, str]]:
    """Return tensor -> (container, shared name) of the variables that a graph names; a body gets them by its inputs.

    `within`: the graphs being looked at, which a file of loops that call each other must not lead into again.
    """
    within |= {graph.index}
    found = {
        output: (str(o.options.get("container", "")), str(o.options.get("shared_name", "")))
        for o in graph.operators
        if o.op == "VAR_HANDLE"
        for output in o.outputs
    }
    for caller in file.subgraphs:
        for operator in caller.operators:
            if (
                graph.index in called(operator)
                and operator.op in ("WHILE", "IF")
                and caller.index not in within
            ):
                outer = _handles(file, caller, within)
                given = operator.inputs[1:] if operator.op == "IF" else operator.inputs
                found |= {
                    inner: outer[i] for inner, i in zip(graph.inputs, given, strict=False) if i in outer
                }
    return found


def called(operator: Operator) -> tuple[int, ...]:
    """Return the subgraphs that an operation runs."""
    keys = ("init_subgraph_index", "cond_subgraph_index", "body_subgraph_index", "then_subgraph_index",
            "else_subgraph_index", "subgraph")  # fmt: skip
    return tuple(operator.options[key] for key in keys if isinstance(operator.options.get(key), int))


def _run_once(file: TfliteFile) -> set[int]:
    """Return the subgraphs that only CALL_ONCE runs."""
    once = {i for g in file.subgraphs for o in g.operators if o.op == "CALL_ONCE" for i in called(o)}
    other = {i for g in file.subgraphs for o in g.operators if o.op != "CALL_ONCE" for i in called(o)}
    return once - other - {0}
