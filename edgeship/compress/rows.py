"""Which rows of the training data are trained on, and which are held out: the same in every step and candidate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 0.15
"""Share by which epochs and candidates are compared."""
SEED = 0
"""Draws it."""

Rows = NDArray[np.int64]


def parted(count: int) -> tuple[Rows, Rows]:
    """Return (rows to train on, rows held out) of `count` samples; at least one is held out, and one is not."""
    rows = np.random.default_rng(SEED).permutation(count)
    held = min(max(1, round(count * HELD_OUT)), max(1, count - 1))
    return np.sort(rows[held:]), np.sort(rows[:held])
