"""How good a variant's answers are, as one number to compare the variants of a bundle by: `quality_of`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.values import Metric, Scorecard, Unavailable

SHARES = ("top1", "top5", "auc", "map", "map50")
"""Metrics that are percentages: a hundredth of them is an accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a variant's answers are; shares 0..1, None: not known."""

    accuracy: float | None
    agreement: float | None
    measure: str
    """What `accuracy` (or, where that is not known, `agreement`) is, for people."""

    @property
    def rank(self) -> float:
        """What variants of one bundle are compared by."""
        return self.accuracy if self.accuracy is not None else self.agreement or 0.0


def quality_of(card: Scorecard) -> Quality:
    """Return what a scorecard says of how good answers are.

    A percentage on labelled evaluation data is an accuracy. Of a metric with a scale of its own (an error, or the
    user's) the accuracy is how it stands beside the float model's: 1 as good, 0.5 twice the error. Without labels there
    is agreement with the float model: the share of samples with the same class, else the smallest cosine.
    """
    accuracy, measure = _accuracy(card.metric)
    agreement, said = None, "nothing that tells one variant from another"
    for value, words in (
        (card.agreement.argmax, "share of samples with the float model's class"),
        (card.agreement.cosine, "smallest cosine with the float model's outputs"),
    ):
        if not isinstance(value, Unavailable) and agreement is None:
            agreement, said = max(0.0, float(value)), words
    return Quality(accuracy=accuracy, agreement=agreement, measure=measure or said)


def _accuracy(metric: Metric) -> tuple[float | None, str]:
    value, reference = metric.value, metric.float_value
    if isinstance(value, Unavailable):
        return None, ""
    if metric.name in SHARES:
        return value / 100.0, f"{metric.name} on evaluation data"
    if isinstance(reference, Unavailable) or metric.higher_is_better is None or min(value, reference) < 0:
        return None, ""
    if metric.higher_is_better:
        ratio = value / reference if reference else 1.0
        return min(1.0, ratio), f"{metric.name} over the float model's, on evaluation data"
    return (min(1.0, reference / value) if value else 1.0), f"the float model's {metric.name} over its own"
