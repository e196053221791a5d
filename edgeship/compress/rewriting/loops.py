"""WHILE of a fixed number of turns as the operations of all its turns, one after the other: `unroll_loops`.

What Keras 3 makes of LSTM, GRU and SimpleRNN: a counter, a body with the weights, and tensors that are handed on.
Turns share the weights, which are stored once. The counter is known in every turn, so that what is computed of it alone
(which row is read, which row of the results is written) is no operation any more.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.rewriting.collected import Collected
from edgeship.compress.rewriting.counting import known_of
from edgeship.tflite.draft import Draft
from edgeship.tflite.entry import keep_graphs
from edgeship.tflite.pure import PURE

Array: TypeAlias = NDArray[Any]
MOST_TURNS = 128
"""More make more operations than runtimes load quickly."""
NUMBERS = ("int32", "int64", "bool")


class Unfixed(Exception):
    """A loop cannot be unrolled: its turns depend on samples, or it does what is not known here."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor that is known by its rows along axis 0: (tensor, None) is a row of its own, (tensor, i) row i of it."""

    rows: tuple[tuple[int, int | None], ...]


Held: TypeAlias = "int | Array | Rows"
"""What a tensor of the body is in a turn: a tensor of the main graph (-1: left out), known whole numbers, or rows."""


def unroll_loops(draft: Draft) -> None:
    """Unroll each WHILE whose number of turns does not depend on samples and is no more than MOST_TURNS."""
    for op in draft.operators:
        if draft.name(op) != "WHILE" or draft.refuses(op):
            continue
        loop = _Loop(draft)
        try:
            results = loop.results(op)
        except Unfixed:
            continue
        if draft.may(op):
            loop.replace(op, results)


class _Loop:
    """A WHILE while its turns are gone through: their operations are collected, their tensors are in the main graph."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.operators = draft, Collected(draft)
        self.constants: dict[Any, int] = {}
        self.parts: dict[int, list[int]] = {}
        """Tensor -> its rows, without the axis that counts them."""

    def results(self, op: Any) -> list[Held]:
        """Return what the loop makes in the end. Raises Unfixed."""
        graphs = self.draft.model.subgraphs
        condition = graphs[op.builtinOptions.condSubgraphIndex]
        body = graphs[op.builtinOptions.bodySubgraphIndex]
        numbers = [self.draft.integers(i) for i in op.inputs]
        state: list[Held] = [i if n is None else n for i, n in zip(op.inputs, numbers, strict=True)]
        for turn in range(MOST_TURNS + 1):
            (goes_on,) = self._through(condition, state, None)
            if not isinstance(goes_on, np.ndarray):
                raise Unfixed
            if not goes_on.reshape(-1)[0]:
                return state
            state = self._through(body, state, f"turn_{turn}")
        raise Unfixed

    def replace(self, op: Any, results: Sequence[Held]) -> None:
        """Put what was collected in the place of the loop, and leave out its graphs where nothing else calls them."""
        draft = self.draft
        for out, held in zip(op.outputs, results, strict=True):
            if out in draft.shown:
                source = self._tensor(held)
                self._reshape(source, self._sizes(source), out)
            elif draft.readers(out):
                draft.redirect(out, self._tensor(held))
        draft.instead(op, self.operators.found)
        signatures = draft.model.signatureDefs or ()
        first = list(dict.fromkeys([0, *(int(one.subgraphIndex) for one in signatures)]))
        keep_graphs(draft.model, first)
        for one in signatures:
            one.subgraphIndex = first.index(int(one.subgraphIndex))

    def _through(self, graph: Any, given: Sequence[Held], turn: str | None) -> list[Held]:
        """Return what a graph makes of what it is given; without `turn` nothing may take an operation."""
        held: dict[int, Held] = dict(zip((int(i) for i in graph.inputs), given, strict=True))
        for op in graph.operators:
            inputs: list[Held] = [-1 if i < 0 else self._read(graph, int(i), held) for i in op.inputs]
            name = self.draft.name(op)
            made = self._made(graph, op, name, inputs)
            if made is None:
                open_sizes = any(_is_open(graph.tensors[i]) for i in op.outputs)
                if turn is None or name not in PURE or open_sizes:
                    raise Unfixed
                made = self._computed(graph, op, inputs, turn)
            held |= zip((int(i) for i in op.outputs), made, strict=True)
        return [self._read(graph, int(i), held) for i in graph.outputs]

    def _read(self, graph: Any, index: int, held: dict[int, Held]) -> Held:
        if index in held:
            return held[index]
        tensor = graph.tensors[index]
        value = self.draft.value_of(tensor)
        if value is None:
            raise Unfixed
        if value.dtype.name in NUMBERS:
            return value
        key = (id(graph), index)
        if key not in self.constants:
            self.constants[key] = self.operators.tensor(tensor, "", keep=True)
        return self.constants[key]

    def _made(self, graph: Any, op: Any, name: str, inputs: Sequence[Held]) -> list[Held] | None:
        """Return what an operation makes where that takes none: numbers, or rows that stand elsewhere."""
        numbers = [value for value in inputs if isinstance(value, np.ndarray)]
        if len(numbers) == len(inputs):
            known = known_of(name, op.builtinOptions, numbers, self.draft.kind(graph.tensors[op.outputs[0]]))
            return None if known is None else [known]
        if name == "SLICE":
            return self._sliced(inputs, varies=_is_open(graph.tensors[op.outputs[0]]))
        if name == "CONCATENATION":
            return self._joined(inputs, op.builtinOptions)
        if name == "GATHER" and not op.builtinOptions.axis and not op.builtinOptions.batchDims:
            return self._picked(inputs)
        return None

    def _sliced(self, inputs: Sequence[Held], *, varies: bool) -> list[Held] | None:
        """Return the rows that SLICE takes, where it takes whole ones and how many depends on the turn."""
        source, begin, size = inputs
        if not (isinstance(begin, np.ndarray) and isinstance(size, np.ndarray)):
            return None
        if isinstance(source, np.ndarray) or not (varies or isinstance(source, Rows)):
            return None
        sizes = self._sizes(source)
        if any(b or s not in (-1, n) for b, s, n in zip(begin[1:], size[1:], sizes[1:], strict=True)):
            return None
        rows = source.rows if isinstance(source, Rows) else tuple((source, i) for i in range(sizes[0]))
        first, count = int(begin[0]), int(size[0])
        return [Rows(rows[first:] if count < 0 else rows[first : first + count])]

    def _joined(self, inputs: Sequence[Held], options: Any) -> list[Held] | None:
        """Return the rows of several tensors of rows."""
        if options.axis or options.fusedActivationFunction or not any(isinstance(v, Rows) for v in inputs):
            return None
        rows: list[tuple[int, int | None]] = []
        for value in inputs:
            if isinstance(value, Rows):
                rows += value.rows
            elif isinstance(value, np.ndarray) or self._sizes(value)[:1] != [1]:
                return None
            else:
                rows.append((value, None))
        return [Rows(tuple(rows))]

    def _picked(self, inputs: Sequence[Held]) -> list[Held] | None:
        """Return the row that GATHER takes, where it is known which: one part of what is taken apart once."""
        source, which = inputs
        if isinstance(source, np.ndarray) or not isinstance(which, np.ndarray) or which.ndim:
            return None
        tensor, row = source.rows[int(which)] if isinstance(source, Rows) else (source, int(which))
        return [self._unpacked(tensor)[row or 0]]

    def _sizes(self, held: Held) -> list[int]:
        """Return the shape of a value of floats."""
        if isinstance(held, Rows):
            if not held.rows:
                raise Unfixed
            return [len(held.rows), *self._sizes(held.rows[0][0])[1:]]
        sizes = self.draft.shape(held) if isinstance(held, int) else held.shape
        if not sizes:
            raise Unfixed
        return list(sizes)

    # Operations of the main graph

    def _computed(self, graph: Any, op: Any, inputs: Sequence[Held], turn: str) -> list[Held]:
        """Add an operation of a turn; return what it makes."""
        new = copy.deepcopy(op)
        new.inputs = [self._tensor(value) for value in inputs]
        new.outputs = [self.operators.tensor(graph.tensors[i], turn) for i in op.outputs]
        self.operators.found.append(new)
        return list(new.outputs)

    def _unpacked(self, index: int) -> list[int]:
        """Return the rows of a tensor, each without the first axis, by one UNPACK."""
        if index not in self.parts:
            count, *sizes = self._sizes(index)
            like = self.draft.graph.tensors[index]
            made = [self.operators.tensor(like, f"row_{i}", sizes) for i in range(count)]
            self.operators.add("UNPACK", [index], made, "UnpackOptions", num=count, axis=0)
            self.parts[index] = made
        return self.parts[index]

    def _tensor(self, held: Held) -> int:
        """Return the tensor of the main graph that holds a value."""
        if isinstance(held, int):
            return held
        if isinstance(held, np.ndarray):
            key = (held.dtype.name, held.shape, held.tobytes())
            if key not in self.constants:
                self.constants[key] = self.operators.constant(held, "loop")
            return self.constants[key]
        rows = [tensor if row is None else self._row(tensor, row) for tensor, row in held.rows]
        if len(rows) == 1:
            return rows[0]
        like = self.draft.graph.tensors[rows[0]]
        made = self.operators.tensor(like, "rows", self._sizes(held))
        self.operators.add("CONCATENATION", rows, [made], "ConcatenationOptions", axis=0)
        return made

    def _row(self, index: int, row: int) -> int:
        """Return a row of a tensor as a tensor of one row."""
        sizes = [1, *self._sizes(index)[1:]]
        made = self.operators.tensor(self.draft.graph.tensors[index], f"only_{row}", sizes)
        self._reshape(self._unpacked(index)[row], sizes, made)
        return made

    def _reshape(self, source: int, sizes: list[int], made: int) -> None:
        shape = self._tensor(np.array(sizes, np.int32))
        self.operators.add("RESHAPE", [source, shape], [made], "ReshapeOptions", newShape=sizes)


def _is_open(tensor: Any) -> bool:
    signature = tensor.shapeSignature
    return signature is not None and any(int(size) < 0 for size in signature)
