"""Shared values: every weight of a tensor is one of k (`Codebook`), trained with the weights.

On an integer grid a value is shared across channels of different scale: what is shared is the integer, so that the
file holds k different bytes and compresses as such. Where all tensors share one set of values, the whole file does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.constraints import Free
from edgeship.compress.fake_quant import rounded, short
from edgeship.tflite.weights import Layer, spread

Floats = NDArray[np.float32]
ROUNDS = 30
"""Of k-means at most; it stops as soon as nothing changes."""


def centres_of(values: Floats, count: int, *, zero: bool) -> Floats:
    """Return at most `count` centres of k-means over `values` (any shape), ascending; with `zero` one of them is 0 and
    zeros are no value of the others. Starts from quantiles, so the same values give the same centres."""
    flat = np.asarray(values, np.float64).reshape(-1)
    flat = flat[flat != 0] if zero else flat
    wanted = count - 1 if zero else count
    distinct = np.unique(flat)
    if distinct.size <= wanted:
        centres = distinct
    else:
        linear = np.linspace(flat.min(), flat.max(), wanted)  # Han et al., 2016: keeps the large, rare values
        quantiles = np.quantile(flat, (np.arange(wanted) + 0.5) / wanted)
        centres = np.sort((linear + quantiles) / 2)
        for _ in range(ROUNDS):
            places = nearest(flat, centres)
            counts = np.bincount(places, minlength=wanted)
            sums = np.bincount(places, weights=flat, minlength=wanted)
            moved = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centres))
            if np.array_equal(moved, centres):
                break
            centres = moved
    if zero:
        centres = np.sort(np.append(centres, 0.0))
    return np.asarray(centres, np.float32)


def nearest(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place among ascending `centres` of the one nearest to each value."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


class Codebook(Free):
    """Weights that are one of few values times the limit of their channel; values and limits are trained.

    `centres` are by tensor index; tensors that have the same array share one set. `limits` are by tensor index,
    `[channels]` or `[1]`; `steps` is the largest integer of the grid that centres are
    rounded to, None for a float recipe (whose only limit stays: the values themselves are shared).
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        centres: Mapping[int, Floats],
        limits: Mapping[int, Floats],
        *,
        steps: int | None,
    ) -> None:
        import tensorflow as tf

        self.steps = steps
        self.axes = {layer.weight: layer.axis for layer in layers if layer.weight in centres}
        self.limits = {index: tf.Variable(limits[index], trainable=steps is not None) for index in self.axes}
        self.zero = {index: bool((centres[index] == 0).any()) for index in self.axes}
        sets = {id(centres[index]): tf.Variable(centres[index]) for index in self.axes}
        self.centres = {index: sets[id(centres[index])] for index in self.axes}
        self.sets = list(sets.values())

    def variables(self) -> Sequence[Any]:
        return [*self.sets, *(self.limits.values() if self.steps is not None else ())]

    def weight(self, index: int, value: Any) -> Any:
        import tensorflow as tf

        if index not in self.centres:
            return value
        limit = short(tf.abs(self.limits[index]), self.steps)
        limit = tf.reshape(limit, spread(limit.shape[0], self.axes[index], len(value.shape)))
        shares = value / tf.stop_gradient(limit)
        centres = self.grid(index)
        edges = tf.stop_gradient((centres[1:] + centres[:-1]) / 2)
        places = tf.reshape(tf.searchsorted(edges, tf.reshape(tf.stop_gradient(shares), [-1])), value.shape)
        chosen = tf.gather(centres, places)
        if self.zero[index]:  # exactly zero is what a mask made; it is nobody's share of a neighbour
            chosen = tf.where(shares == 0.0, 0.0, chosen)
        # Straight through to the weight, and to its centre besides.
        return (chosen + (shares - tf.stop_gradient(shares))) * limit  # the difference is exactly zero

    def grid(self, index: int) -> Any:
        """Return the centres as they are used: ascending, on the grid, zero among them where it was."""
        import tensorflow as tf

        centres = tf.sort(tf.clip_by_value(self.centres[index], -1.0, 1.0))
        if self.zero[index]:
            nearest_zero = tf.argmin(tf.abs(centres))
            centres = tf.where(tf.range(centres.shape[0], dtype=tf.int64) == nearest_zero, 0.0, centres)
        return centres if self.steps is None else rounded(centres * self.steps) / self.steps

    def told(self) -> dict[int, Floats]:
        """Return the limits by tensor index, where a grid has them."""
        if self.steps is None:
            return {}
        return {
            index: short(np.abs(limit.numpy()), self.steps).numpy() for index, limit in self.limits.items()
        }
