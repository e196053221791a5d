"""A cascade of two classifiers: the little one answers where it is sure, else the big one. Pure NumPy.

Sure is a large margin: the highest score less the second, in the real numbers that a service answers with. The margin
asked for is chosen on one half of the samples and judged on the other, and the other way round, so that what is
reported was never chosen by (cross-fitting); the service gets the larger of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MAY_LOSE = 0.005
"""What a cascade may lose against the big model alone, as a share of the samples."""
FEWEST = 100
"""Samples below which half of them tell a share of 0.5 % from none by chance alone."""
SEED = 20_241


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What variants answered to the same samples, by the digest of the candidate."""

    classes: Mapping[str, Array] = field(compare=False)
    """The class with the highest score, `[n]`."""
    margins: Mapping[str, Array] = field(compare=False)
    """By how much it leads, `[n]`."""
    labels: Array | None = field(compare=False)
    """The right classes, `[n]`; None: the data has none."""
    reference: Array | None = field(compare=False)
    """The float model's classes; None: it is not known, and the big model stands for it."""
    about: str
    """Which samples, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A pair, and what it comes to. Shares are 0..1."""

    little: str
    big: str
    margin: float
    """The big model is asked where the little one's margin is less."""
    share: float
    """Of the samples that the big model is asked for."""
    accuracy: float | None
    """Judged on the half that the margin was not chosen on; None: there are no labels."""
    agreement: float | None
    """With the float model's classes, likewise."""
    against_big: float
    """Accuracy (or, without labels, agreement) less the big model's own on the same samples."""
    samples: int


def read_answers(scores: Array) -> tuple[Array, Array]:
    """Return (classes, margins) of class scores `[n, classes]`."""
    best = np.partition(scores.astype(np.float64), -2, axis=1)[:, -2:]
    return scores.argmax(axis=1), best[:, 1] - best[:, 0]


def cascade_of(little: str, big: str, answers: Answers) -> Cascade | None:
    """Return the cascade of two variants (digests in `answers`) that loses at most MAY_LOSE against the big one at the
    least cost, or None where there is none: too few samples, or the big one would be asked always or never."""
    small, large, margins = answers.classes[little], answers.classes[big], answers.margins[little]
    truth = answers.labels if answers.labels is not None else large
    if len(truth) < FEWEST:
        return None
    right, rights = small == truth, large == truth
    halves = _halves(len(truth))
    chosen = [least_margin(margins[half], right[half], rights[half]) for half in halves]
    passed = np.empty(len(truth), bool)  # to the big one, by the margin that the other half chose
    for half, margin in zip(halves, reversed(chosen), strict=True):
        passed[half] = margins[half] < margin
    margin = max(chosen)
    share = float(np.mean(margins < margin))
    if not 0.0 < share < 1.0:
        return None
    given = np.where(passed, large, small)
    reference = answers.reference if answers.reference is not None else large
    return Cascade(
        little=little,
        big=big,
        margin=float(margin),
        share=share,
        accuracy=float(np.mean(given == truth)) if answers.labels is not None else None,
        agreement=float(np.mean(given == reference)),
        against_big=float(np.mean(given == truth) - np.mean(rights)),
        samples=len(truth),
    )


def least_margin(margins: Array, right: Array, rights: Array) -> float:
    """Return the smallest margin from which on, up to the largest, at most MAY_LOSE is lost against the big model.

    `right` and `rights` say of each sample whether the little and the big model answer it rightly. 0: the little one
    alone will do; infinite: none does. A margin lies between two that occur, so that rounding decides nothing.
    """
    order = np.argsort(margins, kind="stable")
    sorted_margins = margins[order]
    gained = np.concatenate([[0], np.cumsum(rights[order].astype(np.int64) - right[order])])
    lost = (rights.sum() - right.sum() - gained) / len(margins)  # with the k least sure ones passed on
    cut = np.concatenate([[True], sorted_margins[1:] > sorted_margins[:-1], [True]])  # equal ones go together
    bad = np.flatnonzero(cut & (lost > MAY_LOSE))
    first = 0 if not len(bad) else next((k for k in range(bad[-1] + 1, len(cut)) if cut[k]), None)
    if first is None or first == len(margins):
        return float("inf")
    return 0.0 if first == 0 else float(sorted_margins[first - 1] + sorted_margins[first]) / 2.0


def best_cascade(
    costs: Mapping[str, float], qualities: Mapping[str, float], answers: Answers
) -> tuple[Cascade, float] | None:
    """Return the cascade of the least mean cost (seconds) and that cost, or None: none is worth its place.

    `costs` and `qualities` (accuracy or agreement) of the variants by digest. The big model is the best one; a cascade
    that a single variant beats in both is none.
    """
    known = [name for name in costs if name in answers.classes]
    if len(known) < 2:
        return None
    big = max(known, key=lambda name: (qualities[name], -costs[name]))
    found = []
    for little in known:
        if costs[little] >= costs[big] or (cascade := cascade_of(little, big, answers)) is None:
            continue
        seconds = costs[little] + cascade.share * costs[big]
        quality = qualities[big] + cascade.against_big
        if not any(qualities[n] >= quality and costs[n] <= seconds for n in costs):
            found.append((cascade, seconds))
    return min(found, key=lambda pair: pair[1], default=None)


def _halves(count: int) -> Sequence[Array]:
    """Return two halves of the sample numbers, drawn with a fixed seed: data often comes sorted by class."""
    order = np.random.Generator(np.random.PCG64(SEED)).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])
