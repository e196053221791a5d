"""Biases that do not fit beside the scales of their weights, and the scales under which they do: `fit`. Pure.

A runtime stores a bias in steps of input scale times weight scale. A dead channel (gamma of its BatchNorm near 0,
beta not) has next to no weights and hence next to no scale, and its bias would need more bits than there are. Two
things help, and nothing that could be seen is lost by either:

- *The bias stays at the limit* where the channel is beyond its output's range with any input, as it was: a RELU
  behind a bias of -1000 gives 0. Nothing changes at all.
- *The weight scale is raised* until the bias fits, or as much of it as keeps the channel beyond its range, and the
  weights are rounded anew. What that moves an output by is at most `sum |w - w'| * max|x|`, where x lies within the
  range that the input's scale can hold.

Why the second stays below a step of the output, for int8, with one scale a tensor as with one a channel. Let e be the
input's scale, s the weights', K the weights of a channel, E the end of the output's range on the bias' side. A channel
reaches `r <= K * 127 * s * 255 * e` to either side of its bias, which at s is stored up to `2^30 * s * e`. A bias of
`(E + r) * (1 + K * 255 / 2^31)` keeps it beyond E, also with weights rounded anew (to a half of a scale each), and
no larger one is asked for; so a scale raised is at most `t = (E + r) / (2^30 * e)`, but for that factor. As t is above
s, `r < c * (E + r)` with `c = K * 127 * 255 / 2^30`, hence `E + r < E / (1 - c)`. Rounding to t moves any channel under
that scale by `K * t / 2 * 255 * e`, and a step of the output is `E / 255` at least: `K * 255^2 / 2^31 / (1 - c)` steps,
below 1 for K < 16,500. It is computed for each channel all the same (`loss_bound`), and told where a step is reached.

With int16 activations a bias has 64 bits: 40 of them (an Ethos-U has no more) where that is fine enough, else the 48
that TensorFlow Lite's kernels take. TensorFlow's own converter raises scales as well (`AdjustWeightsForBiasScale`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operation with weights and a bias, in real values; C output channels of K weights each."""

    weights: Floats
    """[C, K], of the float model."""
    held: Floats
    """[C, K], what the quantized file holds of them."""
    bias: Floats
    """[C], of the float model."""
    entry: float
    """Scale of the input."""
    largest: float
    """The largest |x| that the input's scale and zero point can hold."""
    step: float
    """Scale of the output."""
    low: float
    high: float
    """What the output can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the biases of layers that share their weights were made to fit."""

    scales: Floats
    """[C], of the weights."""
    raised: NDArray[np.bool_]
    """[C], whose bias did not fit."""
    steps: Floats
    """[C], the bound on what rounding takes off, in steps of the output; 0 where nothing was changed."""


def loss_bound(layer: Layer, weights: Floats, bias: Floats) -> Floats:
    """Return by how much each output channel can differ, in the output's unit, with any input that its scale can hold,
    once `weights` [C, K] and `bias` [C] stand in place of the layer's own.

    `|b - b'| + sum |w - w'| * max|x|`, and no more than the width of that part of the output's range that the channel
    reaches with the one or the other: 0 where both are beyond the same end.
    """
    changed = np.abs(layer.bias - bias) + np.abs(layer.weights - weights).sum(1) * layer.largest
    ends = []
    for w, b in ((layer.weights, layer.bias), (weights, bias)):
        reach = np.abs(w).sum(1) * layer.largest
        ends.append([np.clip(b + side * reach, layer.low, layer.high) for side in (-1, 1)])
    (bottom, top), (lower, upper) = ends
    return np.asarray(np.minimum(changed, np.maximum(top, upper) - np.minimum(bottom, lower)))


def fit(layers: Sequence[Layer], scales: Floats, limit: float) -> Fit:
    """Return the scales [C or 1] of weights that `layers` share under which every bias is at most `limit` steps, the
    least that is changed. A bias that may stay at the limit without a difference asks for nothing.
    """
    channels = len(layers[0].bias)
    own = np.array(np.broadcast_to(scales, channels))
    wanted, raised = own.copy(), np.zeros(channels, bool)
    for layer in layers:
        kept = limited(layer, own, limit)
        seen = (kept != layer.bias) & (loss_bound(layer, layer.held, kept) > 0)
        wanted = np.where(seen, np.maximum(wanted, _needed(layer, limit) / (limit * layer.entry)), wanted)
        raised |= seen
    if scales.size == 1:
        wanted[:] = wanted.max()
    changed = wanted > own
    wanted[changed] = np.nextafter(wanted[changed].astype(np.float32), np.float32(np.inf))
    steps = np.zeros(channels)
    for layer in layers:
        after = np.where(changed[:, None], rounded(layer.weights, wanted) * wanted[:, None], layer.held)
        lost = loss_bound(layer, after, limited(layer, wanted, limit)) / layer.step
        steps = np.maximum(steps, np.where(changed, lost, 0.0))
    return Fit(scales=wanted, raised=raised, steps=steps)


def _needed(layer: Layer, limit: float) -> Floats:
    """Return how much [C] of each bias, in size, makes no difference: all of it, or what keeps the channel beyond its
    output's range whatever the input and however its weights are rounded."""
    taps = layer.weights.shape[1]
    rounding = taps * layer.largest / 2 / (limit * layer.entry)
    if rounding >= 1:
        return np.abs(layer.bias)
    edge = np.maximum(np.where(layer.bias > 0, layer.high, -layer.low), 0)
    beyond = (edge + np.abs(layer.weights).sum(1) * layer.largest) / (1 - rounding)
    return np.asarray(np.minimum(np.abs(layer.bias), beyond * (1 + 1e-6)))


def limited(layer: Layer, scales: Floats, limit: float) -> Floats:
    """Return the bias [C] as far as it can be stored in `limit` steps of input scale times weight scale."""
    most = limit * layer.entry * scales
    return np.clip(layer.bias, -most, most)


def rounded(weights: Floats, scales: Floats) -> Floats:
    """Return weights [C, K] in whole steps of their channel's scale, within the narrow range of int8."""
    return np.clip(np.rint(weights / scales[:, None]), -127, 127)
