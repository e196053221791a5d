"""More samples from the same: what a teacher answers to them is known without labels (`augmenter`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FEW = 2000
"""Samples below which blending them helps more than it costs: with thousands the model learns what is no sample."""
SHARE = 8
"""A picture is moved by up to an eighth of its size."""


def augmenter(
    how: str, inputs: Sequence[Array], *, labelled: bool
) -> Callable[[Array, np.random.Generator], Array] | None:
    """Return what changes a block of the only input, or None where nothing may.

    `how`: `none`, `shift` (pictures moved a little), `flip` (and mirrored), `mix` (and every second block of samples
    blended in pairs), `auto`: pictures moved, those of three channels mirrored as well, and where there are few samples
    blended. Where labels count nothing is blended. Models of several inputs are left alone: what is moved in one would
    have to move in all.
    """
    if how == "none" or len(inputs) != 1:
        return None
    held = inputs[0]
    numbers = held.dtype.kind in "fu"
    picture = held.ndim == 4 and numbers and min(held.shape[1:3]) >= 2
    shift = picture and how in ("auto", "shift", "flip", "mix")
    flip = picture and (how == "flip" or (how in ("auto", "mix") and held.shape[-1] == 3))
    blend = numbers and not labelled and (how == "mix" or (how == "auto" and len(held) < FEW))
    if not (shift or flip or blend):
        return None

    def changed(block: Array, rng: np.random.Generator) -> Array:
        if shift:
            block = moved(block, rng)
        if flip:
            turn = rng.random(len(block)) < 0.5
            block = np.where(turn[:, None, None, None], block[:, :, ::-1], block)
        if blend and rng.random() < 0.5:
            share = rng.beta(1.0, 1.0, size=(len(block), *[1] * (block.ndim - 1))).astype(np.float32)
            block = share * block + (1 - share) * block[rng.permutation(len(block))]
        return block

    return changed


def moved(block: Array, rng: np.random.Generator) -> Array:
    """Return pictures `[n, h, w, c]` each moved by its own few pixels; edges repeat what was there."""
    n, height, width = block.shape[:3]
    far = [max(1, height // SHARE) if height >= SHARE else 0, max(1, width // SHARE) if width >= SHARE else 0]
    down = rng.integers(-far[0], far[0] + 1, n)
    right = rng.integers(-far[1], far[1] + 1, n)
    rows = np.clip(np.arange(height)[None, :] + down[:, None], 0, height - 1)
    columns = np.clip(np.arange(width)[None, :] + right[:, None], 0, width - 1)
    return np.asarray(block[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]])
