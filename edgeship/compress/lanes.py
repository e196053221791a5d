"""What a pass over a graph writes down of its channels: `Trace`, with which the rules of `following/` work.

A **lane** is the axis of a tensor along which channels lie, with an *atom* for every place on it. Atoms that must go
together are joined; those that cannot go are pinned. Whatever a rule does not know is pinned, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.layer_names import layer_of

Places = NDArray[np.int64]
Masks = Callable[[Places], NDArray[np.bool_]]
"""Which of some atoms stay, as true and false."""
Value = Callable[[Masks], NDArray[Any]]
"""What a constant becomes, once it is known what stays."""
LARGEST = 1 << 23
"""Values of a tensor whose places are still followed through a RESHAPE, one by one: 64 MB."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Where the channels of a tensor lie."""

    axis: int
    atoms: Places
    """[size of the axis]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A constant that loses what belongs to a channel."""

    operator: int
    position: int
    """Among the operation's inputs."""
    tensor: int
    axis: int
    atoms: Places
    role: Literal["makes", "reads", "beside"]
    """Weights that make the channel, weights that read it, or one value for each channel (biases, slopes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Sizes, starts or indices in a constant that follow from what stays."""

    operator: int
    position: int
    tensor: int
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An option of an operation that follows from what stays, by its name in the object form."""

    operator: int
    field: str
    value: Callable[[Masks], Any]


class Atoms:
    """Disjoint sets of channels (union by the smaller number), and why some of them are pinned."""

    def __init__(self) -> None:
        self._above: list[int] = []
        self._why: dict[int, str] = {}

    def new(self, count: int) -> Places:
        """Return `count` atoms that belong to nothing yet."""
        first = len(self._above)
        self._above += range(first, first + count)
        return np.arange(first, first + count, dtype=np.int64)

    def root(self, atom: int) -> int:
        """Return the atom that stands for all that `atom` is joined with."""
        while self._above[atom] != atom:
            self._above[atom] = self._above[self._above[atom]]
            atom = self._above[atom]
        return atom

    def join(self, some: Places, others: Places) -> None:
        """Let places of two lanes of one size go together, one by one."""
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            a, b = sorted((self.root(one), self.root(other)))
            if a != b:
                self._above[b] = a
                if b in self._why:
                    self._why.setdefault(a, self._why.pop(b))

    def pin(self, some: Places, why: str) -> None:
        """Keep atoms whole; the first reason counts."""
        for root in {self.root(atom) for atom in some.tolist()}:
            self._why.setdefault(root, why)

    def groups(self) -> tuple[Places, dict[int, str]]:
        """Return (group of every atom, numbered from 0 in the order of the graph; -1: pinned), and the reason of every
        pinned atom."""
        roots = [self.root(atom) for atom in range(len(self._above))]
        free = {root: n for n, root in enumerate(sorted({r for r in roots if r not in self._why}))}
        numbers = np.array([free.get(root, -1) for root in roots], np.int64)
        return numbers, {atom: self._why[root] for atom, root in enumerate(roots) if root in self._why}


class Trace:
    """The state of one pass."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        self.graph = file.main
        self.atoms = Atoms()
        self.lanes: dict[int, Lane] = {}
        self.cuts: list[Cut] = []
        self.rewrites: list[Rewrite] = []
        self.changes: list[Change] = []

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor; a size that the file leaves open is 1."""
        return self.graph.tensors[index].shape

    def lane(self, index: int) -> Lane | None:
        """Return the lane of a tensor; None: of none of its values can be gone without."""
        return self.lanes.get(index)

    def is_constant(self, op: Operator, position: int) -> bool:
        """Return whether an input of an operation is a constant that can be cut."""
        if position >= len(op.inputs) or op.inputs[position] < 0:
            return False
        tensor = self.graph.tensors[op.inputs[position]]
        return tensor.has_data and not tensor.is_sparse and not tensor.is_variable

    def integers(self, op: Operator, position: int) -> NDArray[np.int64] | None:
        """Return the value of a constant int32 or int64 input, None where it is no such constant."""
        if not self.is_constant(op, position):
            return None
        tensor = self.graph.tensors[op.inputs[position]]
        if tensor.dtype not in ("int32", "int64"):
            return None
        raw = np.frombuffer(self.file.tensor_bytes(tensor.index), tensor.dtype)
        return raw.astype(np.int64).reshape(tensor.shape)

    def set(self, index: int, axis: int, atoms: Places) -> None:
        """Give a tensor a lane. One that does not fit what the file says of its shape is pinned."""
        shape = self.shape(index)
        if axis < len(shape) and shape[axis] == len(atoms):
            self.lanes[index] = Lane(axis, atoms)
        else:
            self.atoms.pin(atoms, f"{self.graph.tensors[index].name} has another shape than follows")

    def pin(self, op: Operator, indices: Iterable[int]) -> None:
        """Keep the channels of tensors whole because of an operation."""
        for index in indices:
            lane = self.lanes.get(index)
            if lane is not None:
                self.atoms.pin(lane.atoms, self.said(op))

    def stop(self, op: Operator) -> None:
        """Follow nothing through an operation."""
        self.pin(op, op.inputs)

    def said(self, op: Operator) -> str:
        """Return an operation as people know it: `SOFTMAX (head)`."""
        return f"{op.op} ({layer_of(self.graph, op)})"

    def cut(
        self, op: Operator, position: int, axis: int, atoms: Places, role: Literal["makes", "reads", "beside"]
    ) -> None:
        """Note that a constant input loses what its channels lose."""
        index = op.inputs[position]
        self.cuts.append(
            Cut(operator=op.index, position=position, tensor=index, axis=axis, atoms=atoms, role=role)
        )

    def rewrite(self, op: Operator, position: int, value: Value) -> None:
        """Note that a constant input of sizes or indices follows from what stays."""
        self.rewrites.append(
            Rewrite(operator=op.index, position=position, tensor=op.inputs[position], value=value)
        )

    def change(self, op: Operator, field: str, value: Callable[[Masks], Any]) -> None:
        """Note that an option follows from what stays."""
        self.changes.append(Change(operator=op.index, field=field, value=value))

    def count(self, atoms: Places) -> Callable[[Masks], int]:
        """Return what counts the atoms that stay."""
        return lambda masks: int(masks(atoms).sum())

    def reshaped(self, lane: Lane, old: tuple[int, ...], new: tuple[int, ...]) -> Lane | None:
        """Return where channels lie once a tensor's values, in their order, have another shape.

        Every value is followed. Where they then vary along more axes than one, they go along the last of these, and
        what shares a place on it is joined (columns of heads, boxes and flattened maps). None: not to be followed.
        """
        total = math.prod(old)
        if total != math.prod(new) or not 0 < total <= LARGEST:
            return None
        inner = math.prod(old[lane.axis + 1 :])
        places = ((np.arange(total) // inner) % old[lane.axis]).reshape(new)
        varying = [a for a in range(len(new)) if (places != places.take([0], a)).any()]
        if not varying:
            return None
        axis = varying[-1]
        rows = np.moveaxis(places, axis, 0).reshape(new[axis], -1)
        if len(varying) > 1:
            for row in rows:
                alike = np.unique(row)
                self.atoms.join(lane.atoms[alike[1:]], lane.atoms[alike[:-1]])
        return Lane(axis, lane.atoms[rows[:, 0]])
