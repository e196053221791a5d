"""The ladder: the variants that no other beats in every respect. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeship.pareto import front
from edgeship.score.choice import AS_QUICK, AS_QUICK_MS, cost
from edgeship.values import Figure, Unavailable, Variant


def ladder(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the admitted variants that no other beats in accuracy, bytes and p50 latency, cheap to costly.

    Accuracy is the drop of the metric where it is known of every variant; else how far the outputs are from the float
    model's (1 - cosine, or the share of other classes). Latencies that are one latency (`AS_QUICK`) are compared as
    one, so that noise of the clock makes no rung. Cheap is a small p50, then few bytes.
    """
    admitted = [variant for variant in variants if variant.admitted]
    losses = dict(zip(map(id, admitted), _losses(admitted), strict=True))
    kept = front(
        admitted,
        lambda v: (losses[id(v)], float(v.artifact.bytes), as_quick(v.scorecard.latency_ms.p50)),
    )
    return tuple(sorted(kept, key=lambda v: (cost(v.scorecard.latency_ms.p50), v.artifact.bytes)))


def as_quick(p50: Figure) -> float:
    """Return a latency (ms) as the number of steps of AS_QUICK above AS_QUICK_MS, 0 below it; infinite: not known."""
    value = cost(p50)
    if value <= AS_QUICK_MS:
        return 0.0
    return math.inf if math.isinf(value) else float(math.ceil(math.log(value / AS_QUICK_MS, AS_QUICK)))


def _losses(variants: Sequence[Variant]) -> list[float]:
    """Return how much accuracy each lost, by the first measure that is known of all of them."""
    agreements = [variant.scorecard.agreement for variant in variants]
    measures = (
        [cost(variant.scorecard.metric.drop) for variant in variants],
        [1.0 - _known(agreement.argmax) for agreement in agreements],
        [1.0 - _known(agreement.cosine) for agreement in agreements],
    )
    return next((m for m in measures if all(map(math.isfinite, m))), measures[0])


def _known(figure: Figure) -> float:
    return math.nan if isinstance(figure, Unavailable) else figure
