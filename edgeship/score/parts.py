"""Agreement where it means something: the parts of an output, columns whose values are of one size in the float model.

One figure over a whole output hides what happens to its small values: beside boxes of 0..640 a score of 0..1 may be 0
for ever, and the cosine is still 1.0000. Pure NumPy; outputs are `[n, ...]`, one row a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.score.compare import SHARE_STEP
from edgeship.values import Figure, OutputPart, Unavailable

Array = NDArray[Any]
Floats = NDArray[np.float64]
Columns = NDArray[np.int64]

UNLIKE = 8.0
"""Ratio of sizes between neighbours (sorted by size) that parts columns: sharing a scale costs 3 of 8 bits."""
WIDEST = 2048
"""Columns of an axis that are told apart at most: more are the pixels of a picture, not kinds of values."""
STRAYS = 64
"""Of so many columns a group must hold one at least: a few features that are nearly dead are no part."""
NOTHING = 1e-6
"""Share of an output's largest value below which a column holds nothing but rounding."""
LEAST_VALUES = 8
"""Values of a column from which a correlation means something."""
VARIES = 0.01
"""Share of its size by which a column must vary to be more than a constant in 8 bits of its own."""
FLAT = 1e-3
"""Share of the float model's variance below which a part stands still."""
LOST, REST = 0.5, 0.9
"""A part with a correlation below the first died where another part, or output, has the second."""
BLOCK = 1 << 21
"""Values that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Per column of one axis: the float model's least and largest value, and how far both move together."""

    values: int
    low: Floats
    high: Floats
    exact_squares: Floats
    """Sums around each column's mean: squares of the float model, of the variant, and products of both."""
    variant_squares: Floats
    products: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    part: OutputPart
    judged: bool
    """Whether there are values enough, and the float model varies enough for 8 bits to show it."""
    stands_still: bool


def parts_of(pairs: Sequence[tuple[str, Array, Array, bool]]) -> tuple[OutputPart, ...]:
    """Return the parts of all outputs, in order, each with its correlation and with the reason where it died.

    `pairs`: of every output its name, the variant's values, the float model's (of the same shape), and whether it
    holds what a sigmoid or a softmax made. Columns are parted along the last axis; where these are all of one size
    and the output has one axis more, shorter (a detector's `[1, 84, 8400]`), along that. Columns that are constant
    in the float model belong to no part. The correlation is Pearson's, every column around its own mean, over all
    samples and places. A part died where it stands still while the float model does not, or where its correlation
    is below LOST and that of another is REST or better.
    """
    measured = [m for name, variant, exact, unit in pairs for m in _of_output(name, variant, exact, unit)]
    best = max((_number(m.part.correlation) for m in measured if m.judged), default=0.0)
    return tuple(_told(m, best) for m in measured)


def worst_of(parts: Sequence[OutputPart]) -> OutputPart | None:
    """Return the part that is least like the float model's: one that died, else the least correlation; None: none."""
    known = [p for p in parts if not isinstance(p.correlation, Unavailable)]
    return min(known, key=lambda p: (not p.dead, _number(p.correlation)), default=None)


def group(low: Floats, high: Floats, *, unit: bool) -> list[Columns]:
    """Return columns by size, the largest first: sorted by their largest magnitude, parted at gaps of UNLIKE or more.

    With `unit`, all that stay within -1..1 are of one size: shares of one are comparable however small, as a class
    that the samples do not show. Columns of (nearly) nothing are left out. Groups of too few columns join the next.
    """
    size = np.maximum(np.abs(low), np.abs(high))
    largest = float(size.max(initial=0.0))
    held = np.flatnonzero((high > low) & (size > NOTHING * largest))
    weighed = size.copy()
    if unit:
        within = held[size[held] <= 1.0 + 1e-6]
        weighed[within] = size[within].max(initial=0.0)
    order = held[np.argsort(-weighed[held], kind="stable")]
    if not order.size:
        return []
    gaps = np.flatnonzero(weighed[order[:-1]] >= UNLIKE * weighed[order[1:]]) + 1
    groups: list[Columns] = []
    for columns in np.split(order, gaps):
        shares = unit and float(weighed[columns[0]]) <= 1.0 + 1e-6
        if groups and len(columns) < len(size) / STRAYS and not shares:
            groups[-1] = np.concatenate([groups[-1], columns])
        else:
            groups.append(columns)
    return [np.sort(columns) for columns in groups]


def named(columns: Sequence[int], total: int) -> str:
    """Return columns as people read them: `0-3`, `4, 6-8`, `all`; long lists are cut and counted."""
    if len(columns) == total:
        return "all"
    starts = [c for i, c in enumerate(columns) if i == 0 or columns[i - 1] != c - 1]
    ends = [c for i, c in enumerate(columns) if i + 1 == len(columns) or columns[i + 1] != c + 1]
    runs = [f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True)]
    more = f", ... ({len(columns)} in all)" if len(runs) > 6 else ""
    return ", ".join(runs[:6]) + more


def _of_output(name: str, variant: Array, exact: Array, unit: bool) -> list[_Measured]:
    axis, moments, groups = _layout(variant, exact, unit)
    total = len(moments.low)
    return [_measured(name, axis, columns, total, moments, unit) for columns in groups]


def _layout(variant: Array, exact: Array, unit: bool) -> tuple[int, _Moments, list[Columns]]:
    """Return along which axis of an output columns are of unlike size, what they hold, and the groups."""
    last = max(1, exact.ndim - 1)
    long = [axis for axis in range(1, exact.ndim) if exact.shape[axis] > 1]
    axes = [last, *([long[0]] if len(long) == 2 and exact.shape[long[0]] < exact.shape[long[1]] else [])]
    found: list[tuple[int, _Moments, list[Columns]]] = []
    for axis in axes:
        moments = _moments(variant, exact, axis)
        too_wide = len(moments.low) > WIDEST
        groups = [np.arange(len(moments.low))] if too_wide else group(moments.low, moments.high, unit=unit)
        found.append((axis, moments, groups))
        if len(groups) > 1:
            return found[-1]
    return found[0]


def _moments(variant: Array, exact: Array, axis: int) -> _Moments:
    columns = exact.shape[axis] if exact.ndim > axis else 1
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    totals = np.zeros((2, columns))
    for theirs, own in _blocks(variant, exact, axis):
        low, high = np.minimum(low, own.min(axis=0)), np.maximum(high, own.max(axis=0))
        totals += theirs.sum(axis=0), own.sum(axis=0)
    values = exact.size // columns
    means = totals / values
    sums = np.zeros((3, columns))
    for theirs, own in _blocks(variant, exact, axis):
        a, b = theirs - means[0], own - means[1]
        sums += (b * b).sum(axis=0), (a * a).sum(axis=0), (a * b).sum(axis=0)
    return _Moments(
        values=values, low=low, high=high, exact_squares=sums[0], variant_squares=sums[1], products=sums[2]
    )


def _blocks(variant: Array, exact: Array, axis: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield what the variant and the float model answer as `[places, columns]` doubles, some samples at a time."""
    rows = max(1, BLOCK // max(1, exact[0].size))
    for start in range(0, len(exact), rows):
        yield _columns(variant[start : start + rows], axis), _columns(exact[start : start + rows], axis)


def _columns(values: Array, axis: int) -> Floats:
    held = np.asarray(values, np.float64)
    return (
        np.moveaxis(held, axis, -1).reshape(-1, held.shape[axis]) if held.ndim > axis else held.reshape(-1, 1)
    )


def _measured(name: str, axis: int, columns: Columns, total: int, held: _Moments, unit: bool) -> _Measured:
    low, high = float(held.low[columns].min()), float(held.high[columns].max())
    varies = float((held.high[columns] - held.low[columns]).max())
    own, theirs = float(held.exact_squares[columns].sum()), float(held.variant_squares[columns].sum())
    shares = unit and low >= -1.0 and high <= 1.0 + 1e-6
    least = 4 * SHARE_STEP if shares else VARIES * max(abs(low), abs(high))
    correlation: Figure
    if held.values < LEAST_VALUES:
        correlation = Unavailable(reason=f"{held.values} values are too few to tell")
    elif own <= 0.0:
        correlation = Unavailable(reason="the float model's values are constant here")
    elif varies < least:
        correlation = Unavailable(reason="the float model's values vary too little for 8 bits to show it")
    elif theirs <= 0.0:
        correlation = 0.0
    else:
        shared = float(held.products[columns].sum())
        correlation = float(np.clip(shared / np.sqrt(own) / np.sqrt(theirs), -1.0, 1.0))
    known = not isinstance(correlation, Unavailable)
    part = OutputPart(
        output=name,
        axis=axis,
        columns=named(columns.tolist(), total),
        low=low,
        high=high,
        correlation=correlation,
    )
    return _Measured(part=part, judged=known, stands_still=theirs <= FLAT * own)


def _told(measured: _Measured, best: float) -> OutputPart:
    if not measured.judged:
        return measured.part
    correlation = _number(measured.part.correlation)
    if measured.stands_still:
        return replace(measured.part, dead="constant where the float model's values vary")
    if correlation < LOST and best >= REST:
        why = f"its correlation with the float model's is {correlation:.2f}, that of another part {best:.2f}"
        return replace(measured.part, dead=why)
    return measured.part


def _number(value: Figure) -> float:
    return 0.0 if isinstance(value, Unavailable) else value
