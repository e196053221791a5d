"""What labels mean beside a model's output: classes, two classes of one number, or targets. Pure NumPy.

Outputs are `[n, ..., c]`, labels `[n, ...]`; axes of one entry are left out when shapes are compared. A *place* is
what has one label: a sample of a classifier, a pixel of a segmentation, a step of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
BOOLEANS = ({0, 1}, {-1, 1})
"""What the labels of two classes are, beside a single output."""


def classes_beside(shape: Shape, labels: Array) -> NDArray[np.int64] | None:
    """Return one class index a place, `[places]`, beside class scores of `shape`, or None where labels are no classes.

    Classes are whole numbers, one a place, of whatever dtype, or one-hot rows of zeros and a one.
    """
    if len(shape) < 2 or shape[-1] < 2:
        return None
    if _bare(labels.shape) == _bare(shape[:-1]) and is_whole(labels):
        return labels.reshape(-1).astype(np.int64)
    return labels.reshape(-1, shape[-1]).argmax(axis=1) if is_one_hot(shape, labels) else None


def is_one_hot(shape: Shape, labels: Array) -> bool:
    """Return whether every place has a row of zeros and a single one, of the output's own shape."""
    if len(shape) < 2 or shape[-1] < 2 or _bare(labels.shape) != _bare(shape):
        return False
    rows = labels.reshape(-1, shape[-1])
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all())


def is_whole(labels: Array) -> bool:
    """Return whether all labels are whole numbers."""
    return labels.dtype.kind in "biu" or (
        labels.dtype.kind == "f" and bool(np.array_equal(labels, np.rint(labels)))
    )


def are_two(shape: Shape, labels: Array) -> bool:
    """Return whether a single output a sample stands beside labels of two classes: 0 and 1, or -1 and 1, both there."""
    if int(np.prod(shape[1:])) != 1 or labels.size != len(labels):
        return False
    return {float(value) for value in np.unique(labels)} in BOOLEANS


def fitting(shapes: Sequence[Shape], labels: Array, *, numbers: bool = False) -> list[int]:
    """Return which of several outputs labels can belong to.

    Those with room for the classes that labels name go first; only where there is none (or labels shall be read as
    `numbers`), those of the labels' own shape. Labels of two classes may belong to a single number as well as to a
    list of scores.
    """
    classes = [] if numbers else [k for k, shape in enumerate(shapes) if _has_room(shape, labels)]
    if classes and not any(are_two(shape, labels) for shape in shapes):
        return classes
    same = [k for k, shape in enumerate(shapes) if _bare(shape) == _bare(labels.shape)]
    return sorted({*classes, *same})


def beyond(shape: Shape, labels: Array) -> NDArray[np.int64]:
    """Return the indices (flat) of labels that are no class of an output of `shape`; none where they are no classes."""
    classes = classes_beside(shape, labels)
    if classes is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((classes < 0) | (classes >= shape[-1]))


def _has_room(shape: Shape, labels: Array) -> bool:
    return classes_beside(shape, labels) is not None and not beyond(shape, labels).size


def _bare(shape: Shape) -> Shape:
    """Return a shape without its axes of one entry; the number of samples always stays."""
    return (shape[0], *(size for size in shape[1:] if size != 1))
