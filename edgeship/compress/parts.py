"""Which operations of a model are trained, and which are held as they are in front of them or behind them: `parted`.

An operation that the trainable graph does not know is no obstacle where no layer with weights is before it (a runtime
computes it for every sample) or none behind it (training goes up to it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeship.errors import InputError
from edgeship.tflite.file import Operator, Subgraph
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.weights import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The operations of a graph in three parts, each in the order they run."""

    before: tuple[Operator, ...]
    """Held as they are: a runtime computes them."""
    within: tuple[Operator, ...]
    """The trainable graph."""
    behind: tuple[Operator, ...]
    """Left out."""
    fed: tuple[int, ...]
    """Tensors that `before` computes and others need."""
    outputs: tuple[int, ...]
    """Of the graph that computes them within: those of the model, then those that `behind` needs."""


def parted(graph: Subgraph, layers: Sequence[Layer], unfit: Iterable[int]) -> tuple[Parts, tuple[int, ...]]:
    """Return the parts where operations `unfit` (by index) are not known, and those of them between layers, which
    cannot be held."""
    weighted = {layer.operator.index for layer in layers}
    needs, needed = _neighbours(graph)
    before: set[int] = set()
    behind: set[int] = set()
    stuck = []
    for index in unfit:
        earlier, later = _reached(index, needs), _reached(index, needed)
        if not earlier & weighted:
            before |= earlier
        elif not later & weighted:
            behind |= later
        else:
            stuck.append(index)
    behind -= before
    return _parts(graph, before, behind), tuple(stuck)


def _parts(graph: Subgraph, before: set[int], behind: set[int]) -> Parts:
    within = tuple(op for op in graph.operators if op.index not in before and op.index not in behind)
    made_before = {i for index in before for i in graph.operators[index].outputs}
    made_behind = {i for index in behind for i in graph.operators[index].outputs}
    made_within = {i for op in within for i in op.outputs}
    wanted = [i for op in graph.operators if op.index not in before for i in op.inputs]
    fed = tuple(dict.fromkeys(i for i in (*wanted, *graph.outputs) if i in made_before))
    crossing = [i for index in sorted(behind) for i in graph.operators[index].inputs if i in made_within]
    kept = [i for i in graph.outputs if i not in made_behind]
    return Parts(
        before=tuple(op for op in graph.operators if op.index in before),
        within=within,
        behind=tuple(op for op in graph.operators if op.index in behind),
        fed=fed,
        outputs=(*kept, *(i for i in dict.fromkeys(crossing) if i not in kept)),
    )


def _neighbours(graph: Subgraph) -> tuple[Mapping[int, set[int]], Mapping[int, set[int]]]:
    """Return (operations whose results an operation needs, operations that need its results), by index."""
    maker = {tensor: op.index for op in graph.operators for tensor in op.outputs}
    needs = {op.index: {maker[i] for i in op.inputs if i in maker} for op in graph.operators}
    needed: dict[int, set[int]] = {op.index: set() for op in graph.operators}
    for index, sources in needs.items():
        for source in sources:
            needed[source].add(index)
    return needs, needed


def _reached(start: int, ways: Mapping[int, set[int]]) -> set[int]:
    """Return an operation and all that are reached from it."""
    found, waiting = {start}, [start]
    while waiting:
        for other in ways[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def refused(graph: Subgraph, unfit: Mapping[int, str]) -> InputError:
    """Return the refusal of a model for operations (by index, and why), each kind counted and with its layers."""
    found: dict[str, list[str]] = {}
    for index, why in sorted(unfit.items()):
        op = graph.operators[index]
        found.setdefault(f"{op.op} {why}", []).append(layer_of(graph, op))
    said = (
        f"{text} ({f'{len(names)} times: ' if len(names) > 1 else ''}{_some(names)})"
        for text, names in found.items()
    )
    loops = any(graph.operators[index].op == "WHILE" for index in unfit)
    return InputError(
        "not-trainable",
        "the model cannot be trained: its weights cannot be reached through some of its operations",
        context={"operations": "; ".join(said)},
        hint="begin with rewrite-loops, which writes loops of up to 128 turns as plain operations: "
        "--method rewrite-loops+prune-50"
        if loops
        else "methods that do not train work: edgeship compress --help lists them",
    )


def counted(operators: Sequence[Operator]) -> str:
    """Return operations in words: each kind, with its number where there are several."""
    kinds = Counter(op.op for op in operators)
    return ", ".join(f"{number} {name}" if number > 1 else name for name, number in kinds.items())


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
