"""A matrix as a product of two narrow ones, and how narrow each of several may be: `spectrum_of`, `ranks_of`. Pure.

What is lost is measured where it counts, in what the layer computes of real inputs: the singular values are those of
the matrix behind the square root of its inputs' second moments (Zhang et al., "Accelerating very deep convolutional
networks for classification and detection", PAMI 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RIDGE = 1e-6
"""Share of the mean variance that every direction of the inputs has at least."""
HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """A matrix `[rows, columns]` taken apart; rows are what it reads."""

    left: Floats
    """[rows, n]: the first r columns and of `right` the first r rows make the nearest matrix of rank r."""
    right: Floats
    """[n, columns]"""
    lost: Floats
    """[n + 1]: share (0..1) of the variance of what it computes that is lost at rank 0, 1, ..., n."""

    def factors(self, rank: int) -> tuple[Floats, Floats]:
        """Return ([rows, rank], [rank, columns]), of like sizes in each of the `rank` steps between them."""
        left, right = self.left[:, :rank], self.right[:rank]
        sizes = np.sqrt(
            np.maximum(np.linalg.norm(right, axis=1), 1e-30) / np.maximum(np.linalg.norm(left, axis=0), 1e-30)
        )
        return left * sizes, right / sizes[:, None]


def spectrum_of(matrix: Floats, moments: Floats | None = None) -> Spectrum:
    """Return a matrix taken apart. `moments` [rows, rows]: covariance of what it reads; without it all count alike."""
    if moments is None:
        root = inverse = np.eye(len(matrix))
    else:
        values, vectors = np.linalg.eigh(moments)
        sizes = np.sqrt(np.maximum(values, 0.0) + RIDGE * max(float(values.mean()), 1e-12))
        root = (vectors * sizes) @ vectors.T
        inverse = (vectors / sizes) @ vectors.T
    left, sizes, right = np.linalg.svd(root @ matrix, full_matrices=False)
    energy = sizes**2
    behind = np.append(np.cumsum(energy[::-1])[::-1], 0.0)
    return Spectrum(
        left=inverse @ left, right=sizes[:, None] * right, lost=behind / max(float(behind[0]), 1e-30)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splittable:
    """A layer that can be split, and what it costs."""

    lost: Floats
    """As of `Spectrum`."""
    whole: float
    """Its cost as it is."""
    step: float
    """Its cost for each rank, split."""

    def best(self, price: float) -> int | None:
        """Return the rank where what is lost and what is paid are least together; None: whole."""
        most = int(np.ceil(self.whole / self.step)) - 1
        if most < 1:
            return None
        ranks = np.arange(1, min(most, len(self.lost) - 1) + 1)
        together = self.lost[ranks] + price * self.step * ranks
        place = int(together.argmin())
        return int(ranks[place]) if together[place] < price * self.whole else None

    def cost(self, rank: int | None) -> float:
        """Return its cost at a rank; None: whole."""
        return self.whole if rank is None else rank * self.step


def ranks_of(layers: Sequence[Splittable], saved: float) -> list[int | None]:
    """Return a rank for each layer (None: it stays whole) that save `saved` of the cost together, or all that can be,
    where least is lost: one price for all layers, the lowest that saves enough (a Lagrange multiplier)."""
    whole = sum(layer.whole for layer in layers)

    def at(price: float) -> list[int | None]:
        return [layer.best(price) for layer in layers]

    def enough(ranks: Sequence[int | None]) -> bool:
        left = sum(layer.cost(rank) for layer, rank in zip(layers, ranks, strict=True))
        return whole - left >= saved

    low, high = 1e-12, 1e3
    if not enough(at(high)):
        return at(high)
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(at(middle)) else (middle, high)
    return at(high)
