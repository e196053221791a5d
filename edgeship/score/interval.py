"""How sure a share counted over samples is: `wilson`."""

from __future__ import annotations

import math

from edgeship.values import Metric, Unavailable

SHARES = ("top1", "top5")
"""Metrics that are a share of samples, in percent."""
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
