"""The inputs that golden vectors are recorded for: `Selection`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
SEQUENCE = 3
"""Vectors of the one sequence that shows a model's state to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Inputs to record: one tuple of arrays (an array per model input, batch axis included) a vector."""

    vectors: tuple[tuple[Array, ...], ...]
    source: str
    """Where they come from, for people."""
    continues: frozenset[int] = frozenset()
    """Numbers of the vectors that go on with the state which the one before them left."""


def with_sequence(selection: Selection) -> Selection:
    """Return the vectors, and the first of them once more as one sequence, in which the state goes on."""
    again = selection.vectors[:SEQUENCE]
    return replace(
        selection,
        vectors=(*selection.vectors, *again),
        continues=frozenset(range(len(selection.vectors) + 1, len(selection.vectors) + len(again))),
    )
