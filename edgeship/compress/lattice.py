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
CELLS = 1 << 22
"""Weights, times choices of their scales, that are worked on at once."""


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
    shares = np.linspace(*FROM[steps])
    together = max(1, min(len(shares), CELLS // weights.size))
    best: Rounded | None = None
    for start in range(0, len(shares), together):
        scales = np.outer(shares[start : start + together], top / steps)
        for tried in _with_scales(weights, damped, steps, scales, free, one_scale):
            best = tried if best is None else _better(best, tried, one_scale)
    assert best is not None
    return best


def _better(best: Rounded, tried: Rounded, one_scale: bool) -> Rounded:
    if one_scale:
        return tried if tried.loss.sum() < best.loss.sum() else best
    better = tried.loss < best.loss
    return Rounded(
        integers=np.where(better[:, None], tried.integers, best.integers),
        scales=np.where(better, tried.scales, best.scales),
        loss=np.where(better, tried.loss, best.loss),
    )


def _with_scales(
    weights: Floats, moments: Floats, steps: int, scales: Floats, free: NDArray[np.bool_], one_scale: bool
) -> list[Rounded]:
    """Return what becomes of each of several choices of scales `[choices, R]`, all worked on at once."""
    choices, channels = scales.shape
    many, open_ = np.tile(weights, (choices, 1)), np.tile(free, (choices, 1))
    now = scales.reshape(-1)
    integers = handed_on(many, moments, steps, now, open_)
    for _ in range(2):
        integers = moved(integers, many, moments, steps, now, open_)
        now = _fitted(integers, many, moments, now, channels if one_scale else 1)
    integers = moved(integers, many, moments, steps, now, open_)
    loss = loss_of(integers, many, moments, now).reshape(choices, channels)
    shaped = integers.reshape(choices, channels, -1), now.reshape(choices, channels)
    return [Rounded(integers=i, scales=s, loss=one) for i, s, one in zip(*shaped, loss, strict=True)]


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


def _fitted(integers: Integers, weights: Floats, moments: Floats, scales: Floats, alike: int) -> Floats:
    """Return the scales that leave least with these integers; each `alike` rows that follow one another share one."""
    made = integers @ moments
    over, under = (made * weights).sum(axis=1), (made * integers).sum(axis=1)
    over, under = (np.repeat(v.reshape(-1, alike).sum(axis=1), alike) for v in (over, under))
    fine = (over > 0) & (under > 0)
    return np.where(fine, over / np.where(fine, under, 1.0), scales)
