"""How far two sets of outputs are apart. Pure NumPy; arrays are `[n, ...]`, one row a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SHARE_STEP = 1.0 / 256.0
"""The step that every 8-bit sigmoid and softmax has."""
NEAR = 0.05
"""Share of the larger of two shares within which they are one."""
ALIKE = 0.999
"""Cosine from which two rows of numbers are one: with ten entries they differ by a seventieth of their size each."""


def cosines(one: Array, other: Array) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair of rows, in [-1, 1].

    Two rows of zeros are alike (1), a row of zeros is unlike any other (0), and a row with NaN or infinity
    gives NaN.
    """
    a, b = _rows(one), _rows(other)
    # Dividing by the largest magnitude first keeps squares of very large and very small values finite.
    a, b = _scaled(a), _scaled(b)
    lengths = np.sqrt((a * a).sum(axis=1)) * np.sqrt((b * b).sum(axis=1))
    products = (a * b).sum(axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    safe = np.where(lengths == 0.0, 1.0, lengths)
    return np.where(both_zero, 1.0, np.clip(products / safe, -1.0, 1.0))


def max_abs(one: Array, other: Array) -> float:
    """Return the largest absolute difference; NaN where either holds one, 0 for empty arrays."""
    if one.size == 0:
        return 0.0
    # Infinity minus infinity is no difference where both are equal.
    with np.errstate(invalid="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    equal = one == other
    return float(np.max(np.where(equal, 0.0, difference)))


def max_lsb(one: Array, other: Array) -> int:
    """Return the largest difference of two integer arrays in steps of the quantized scale."""
    if one.size == 0:
        return 0
    return int(np.max(np.abs(one.astype(np.int64) - other.astype(np.int64))))


def argmax_share(one: Array, other: Array) -> float:
    """Return the share (0..1) of rows with the same largest entry (of equal ones the first)."""
    return float(np.mean(_rows(one).argmax(axis=1) == _rows(other).argmax(axis=1)))


def near_ties(one: Array, other: Array, *, shares: bool) -> float:
    """Return the share (0..1) of rows with another largest entry that says little: `other`, the float model, hardly
    prefers its own.

    With `shares` of one (what a softmax or a sigmoid made) it does so where both entries lie within one 8-bit step of
    such an output and within NEAR of each other: that softmax of a thousand classes which 8 bits show as zeros is no
    tie. Of other rows nothing says that they are classes: within one 8-bit step of all that the float model answers,
    or where the rows are ALIKE as a whole.
    """
    a, b = _rows(one), _rows(other)
    best, own = a.argmax(axis=1), b.argmax(axis=1)
    rows = np.arange(len(b))
    behind = b[rows, own] - b[rows, best]
    if shares:
        near = (behind <= SHARE_STEP) & (behind <= NEAR * b[rows, own])
    else:
        near = (behind <= (b.max(initial=0.0) - b.min(initial=0.0)) / 255.0) | (cosines(a, b) >= ALIKE)
    return float(np.mean((best != own) & near))


def has_classes(outputs: Array) -> bool:
    """Return whether rows can be read as scores of two classes or more: `[n, classes]`, ones left out."""
    return outputs.ndim >= 2 and outputs.shape[-1] >= 2 and outputs[0].size == outputs.shape[-1]


def _rows(values: Array) -> NDArray[np.float64]:
    return values.reshape(len(values), -1).astype(np.float64)


def _scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(rows / np.where(largest == 0.0, 1.0, largest))
