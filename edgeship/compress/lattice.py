"""Integers for the weights of a layer that change what it computes least: `nearest_integers`. Pure.

A layer computes y = W x. With H = E[x x^T] of real inputs, weights W' in its place change y by E|y - y'|^2 = the sum
over output channels of (w - w') H (w - w')^T. Rounding each weight by itself does not make that small: errors of inputs
that go together add up or cancel. Here columns are rounded one after another and what each leaves is taken over by
those that follow (Frantar et al., "GPTQ", 2023, after the optimal brain surgeon); then single integers are moved up or
down as long as that helps, which is what "AdaRound" (Nagel et al., 2020) looks for by gradients; and the limit of each
channel is that of several which leaves least, fitted once more to the integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to it."""
FROM = {7: (0.45, 1.0, 12), 127: (0.7, 1.0, 4)}
"""Largest integer -> (smallest, largest and number of the shares of a channel's largest magnitude that are tried as its
limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """Integers and their scales."""

    integers: Integers
    """[R, K]."""
    scales: Floats
    """[R]; all the same where one was asked for."""
    loss: Floats
    """[R], what is left of E|y - y'|^2."""


def nearest_integers(
    weights: Floats, moments: Floats, steps: int, *, free: NDArray[np.bool_], one_scale: bool
) -> Rounded:
    """Return integers in -steps..steps for weights `[R, K]` with second moments `[K, K]` of their inputs.

    Where `free` `[R, K]` is false the integer is 0. Channels of no weight get the scale of the largest.
    """
    damped = moments + np.eye(len(moments)) * max(DAMPING * float(np.trace(moments)) / len(moments), 1e-12)
    top = np.abs(weights).max(axis=1)
    top = np.where(top > 0, top, top.max() or 1.0)
    top = np.full_like(top, top.max()) if one_scale else top
    best: Rounded | None = None
    for share in np.linspace(*FROM[steps]):
        tried = _with_scales(weights, damped, steps, top * share / steps, free, one_scale)
        if best is None:
            best = tried
        elif one_scale:
            best = tried if tried.loss.sum() < best.loss.sum() else best
        else:
            better = tried.loss < best.loss
            best = Rounded(
                integers=np.where(better[:, None], tried.integers, best.integers),
                scales=np.where(better, tried.scales, best.scales),
                loss=np.where(better, tried.loss, best.loss),
            )
    assert best is not None
    return best


def _with_scales(
    weights: Floats, moments: Floats, steps: int, scales: Floats, free: NDArray[np.bool_], one_scale: bool
) -> Rounded:
    integers = handed_on(weights, moments, steps, scales, free)
    for _ in range(2):
        integers = moved(integers, weights, moments, steps, scales, free)
        scales = _fitted(integers, weights, moments, scales, one_scale)
    integers = moved(integers, weights, moments, steps, scales, free)
    return Rounded(integers=integers, scales=scales, loss=loss_of(integers, weights, moments, scales))


def loss_of(integers: Integers, weights: Floats, moments: Floats, scales: Floats) -> Floats:
    """Return `[R]`, the mean squared change of each output."""
    left = integers * scales[:, None] - weights
    return np.asarray(((left @ moments) * left).sum(axis=1))


def handed_on(
    weights: Floats, moments: Floats, steps: int, scales: Floats, free: NDArray[np.bool_], block: int = 64
) -> Integers:
    """Return `[R, K]` integers, rounded input by input (those of most energy first), the error of each handed on to
    those that are still to come."""
    order = np.argsort(-np.diagonal(moments), kind="stable")
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, allowed = weights[:, order].copy(), free[:, order]
    found = np.zeros(weights.shape, np.int64)
    for start in range(0, len(order), block):
        stop = min(start + block, len(order))
        errors = np.zeros((len(weights), stop - start))
        for i in range(start, stop):
            taken = np.clip(np.rint(left[:, i] / scales), -steps, steps) * allowed[:, i]
            found[:, order[i]] = taken
            error = (left[:, i] - taken * scales) / upper[i, i]
            errors[:, i - start] = error
            left[:, i + 1 : stop] -= error[:, None] * upper[i, i + 1 : stop]
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return found


def moved(
    integers: Integers, weights: Floats, moments: Floats, steps: int, scales: Floats, free: NDArray[np.bool_]
) -> Integers:
    """Return the integers after steps of one up or down, the best of each row first, as long as the loss falls."""
    found, diagonal = integers.copy(), np.diagonal(moments)
    slope = (found * scales[:, None] - weights) @ moments
    rows = np.arange(len(found))
    for _ in range(2 * weights.shape[1]):
        sign = np.where(slope[rows] > 0, -1, 1)
        width = scales[rows, None]
        change = width**2 * diagonal - 2 * width * np.abs(slope[rows])
        change[(np.abs(found[rows] + sign) > steps) | ~free[rows]] = np.inf
        column = change.argmin(axis=1)
        here = np.arange(len(rows))
        helps = change[here, column] < -1e-9 * width[:, 0] ** 2 * diagonal.mean()
        if not helps.any():
            break
        rows, column, way = rows[helps], column[helps], sign[here, column][helps]
        found[rows, column] += way
        slope[rows] += (way * scales[rows])[:, None] * moments[column]
    return found


def _fitted(integers: Integers, weights: Floats, moments: Floats, scales: Floats, one_scale: bool) -> Floats:
    """Return the scales that leave least with these integers."""
    made = integers @ moments
    over, under = (made * weights).sum(axis=1), (made * integers).sum(axis=1)
    if one_scale:
        over, under = np.full_like(over, over.sum()), np.full_like(under, under.sum())
    fine = (over > 0) & (under > 0)
    return np.where(fine, over / np.where(fine, under, 1.0), scales)
