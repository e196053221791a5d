"""Which sizes of an input are one sample's (`sample_shape`), and how many samples one run takes (`batch_of`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray


def sample_shape(tensor: Sequence[int], sample: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes that one sample has in an input of the shape `tensor`: all but the batch axis in front.

    An input without a batch axis (`[15600]` of a sound classifier, a scalar) is one sample as a whole. Which it is, the
    sizes of the data's samples tell; sizes of 1 count for nothing there, and what fits neither gets the usual answer.
    """
    inner = tuple(tensor[1:])
    return tuple(tensor) if _sizes(sample) != _sizes(inner) and _sizes(sample) == _sizes(tensor) else inner


def _sizes(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


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
