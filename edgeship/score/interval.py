"""How sure a share counted over samples is: `wilson`."""

from __future__ import annotations

import math

from edgeship.values import Figure, Metric, Unavailable

SHARES = ("top1", "top5")
"""Metrics that are a share of samples, in percent."""
LOST = 1 / 3
"""Of samples that get another class than from the float model, the share that is lost in the end."""
SPREAD = 0.3
"""Standard deviation of that share from model to model: rounding alone loses more of them, training by labels fewer."""
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
    float model (c = 1 - `argmax`) is surer by far, and of those about a third are lost: some were wrong before, some
    become right. Both are weighed by how sure they are: each changed sample moves the drop by one up or down at most,
    so its variance is c / count; that of what is known before is (c SPREAD)^2. So the drop counts as its samples, and a
    third of c as 1 / (c SPREAD^2) samples (the mean of a normal distribution with a normal prior). Other metrics keep
    the drop they have.
    """
    if metric.name not in SHARES or isinstance(metric.drop, Unavailable) or isinstance(argmax, Unavailable):
        return metric.drop
    changed = (count * (1 - argmax) + 0.5) / (count + 1)  # none of 60 is not none of all (Jeffreys' prior)
    prior = 1 / (changed * SPREAD**2)
    return (count * metric.drop + prior * 100 * LOST * changed) / (count + prior)
