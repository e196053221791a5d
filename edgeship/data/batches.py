"""How many samples one run of a model takes: `batch_of(...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray


def batch_of(entries: Sequence[Mapping[str, Any]], samples: Sequence[NDArray[Any]]) -> int:
    """Return how many samples one run takes: the first axis of the inputs that have one for that, else 1.

    `entries` are what LiteRT's interpreter tells of the model's inputs, `samples` an array `[n, ...]` each.
    """
    shapes = (
        entry["shape"]
        for entry, held in zip(entries, samples, strict=True)
        if len(entry["shape"]) == held.ndim
    )
    return int(next(shapes, (1,))[0])
