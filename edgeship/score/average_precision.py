"""Mean average precision of boxes, as COCO defines it. Pure NumPy.

Lin et al., 2014, and the detection challenge's evaluation: detections are matched greedily by falling score, at most
100 an image and class; precision is interpolated at 101 points of recall; boxes of crowds are neither missed nor found.
The mean is over classes that have boxes, and over the thresholds of intersection over union.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100
"""Detections of one image and class that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Boxes of one image: `corners` `[k, 4]` as x1, y1, x2, y2, in fractions of the image, and a class each."""

    corners: Floats
    classes: NDArray[np.int64]
    scores: Floats
    """Of detections; of true boxes 1 where they mark a crowd, else 0."""


def mean_average_precision(
    found: Sequence[Boxes], true: Sequence[Boxes], thresholds: Sequence[float] = THRESHOLDS
) -> float:
    """Return the mean average precision in percent; both have one entry an image. 0 where there are no true boxes."""
    held = sorted({int(c) for boxes in true for c in boxes.classes[boxes.scores == 0]})
    values = [_of_class(c, found, true, np.asarray(thresholds)) for c in held]
    return 100.0 * float(np.mean(values)) if values else 0.0


def overlaps(one: Floats, other: Floats, crowd: NDArray[np.bool_] | None = None) -> Floats:
    """Return intersection over union `[k, m]`; of a crowd, intersection over the first's own area."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0.0, None).prod(axis=1) for b in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - both
    if crowd is not None:
        union = np.where(crowd[None, :], areas[0][:, None], union)
    return np.asarray(both / np.where(union > 0.0, union, 1.0))


def _of_class(number: int, found: Sequence[Boxes], true: Sequence[Boxes], thresholds: Floats) -> float:
    """Return the average precision of one class, the mean over all thresholds."""
    scores: list[Floats] = []
    hits: list[NDArray[np.bool_]] = []
    ignored: list[NDArray[np.bool_]] = []
    wanted = 0
    for mine, theirs in zip(found, true, strict=True):
        own = np.flatnonzero(mine.classes == number)
        own = own[np.argsort(-mine.scores[own], kind="stable")][:MOST]
        real = theirs.classes == number
        crowd = theirs.scores[real] > 0
        order = np.argsort(
            crowd, kind="stable"
        )  # crowds last: they are taken only where nothing else is left
        corners, crowd = theirs.corners[real][order], crowd[order]
        wanted += int((~crowd).sum())
        hit, left = _matched(overlaps(mine.corners[own], corners, crowd), crowd, thresholds)
        scores.append(mine.scores[own])
        hits.append(hit)
        ignored.append(left)
    ranked = np.argsort(-np.concatenate(scores), kind="stable")
    hit, left = np.concatenate(hits, axis=1)[:, ranked], np.concatenate(ignored, axis=1)[:, ranked]
    return float(np.mean([_area(hit[t][~left[t]], wanted) for t in range(len(thresholds))]))


def _matched(
    shared: Floats, crowd: NDArray[np.bool_], thresholds: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return `[thresholds, detections]`: which found a true box, and which count for nothing (in a crowd)."""
    hit = np.zeros((len(thresholds), len(shared)), bool)
    left = np.zeros_like(hit)
    if not shared.size:
        return hit, left
    for t, threshold in enumerate(thresholds):
        taken = np.zeros(len(crowd), bool)
        for d, row in enumerate(shared):
            best, place = min(threshold, 1.0 - 1e-10), -1
            for g, value in enumerate(row):
                if taken[g] and not crowd[g]:
                    continue
                if place >= 0 and crowd[g] and not crowd[place]:
                    break
                if value >= best:
                    best, place = value, g
            if place >= 0:
                taken[place] = True
                left[t, d] = crowd[place]
                hit[t, d] = not crowd[place]
    return hit, left


def _area(hits: NDArray[Any], wanted: int) -> float:
    """Return the area under precision over recall, interpolated at RECALLS."""
    if not len(hits):
        return 0.0
    good = np.cumsum(hits)
    recall, precision = good / wanted, good / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(places < len(hits), precision[np.minimum(places, len(hits) - 1)], 0.0).mean())
