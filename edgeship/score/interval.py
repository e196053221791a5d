"""How sure a share counted over samples is: `wilson`."""

from __future__ import annotations

import math

from edgeship.values import Figure, Metric, Unavailable

SHARES = ("top1", "top5")
"""Metrics that are a share of samples, in percent."""
LOST = 1 / 3
"""Of samples that get another class than from the float model, the share that is lost in the end."""
PRIOR = 1000
"""Samples that this knowledge counts as."""
Z = 1.959963984540054
"""Of 95 % of a normal distribution."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return (low, high) of the 95 % interval of a share (0..1) seen in `count` samples (Wilson, 1927)."""
    if count < 1:
        return 0.0, 1.0
    centre = share + Z * Z / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    below = 1 + Z * Z / count
    return max(0.0, (centre - spread) / below), min(1.0, (centre + spread) / below)


def interval_of(metric: Metric, count: int) -> tuple[float, float] | None:
    """Return (low, high) of a metric in its own unit, None of one that is no share or is not known."""
    if metric.name not in SHARES or isinstance(metric.value, Unavailable):
        return None
    low, high = wilson(metric.value / 100, count)
    return 100 * low, 100 * high


def expected_drop(metric: Metric, argmax: Figure, count: int) -> Figure:
    """Return the drop that more samples would likely show, in points, of a metric that is a share of `count` samples.

    Of few samples a drop is mostly chance: one of 60 is 1.7 points. How many of them get another class than from the
    float model (1 - `argmax`) is surer by far, and of those about a third are lost: some were wrong before, some become
    right. So the drop counts as its samples, and a third of the share of other classes as PRIOR samples. Other metrics
    keep the drop they have.
    """
    if metric.name not in SHARES or isinstance(metric.drop, Unavailable) or isinstance(argmax, Unavailable):
        return metric.drop
    return (count * metric.drop + PRIOR * 100 * LOST * (1 - argmax)) / (count + PRIOR)
