"""Duty: how much of a periodic job's work is done each period, so that the device keeps room for the rest.

Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for
Congestion Avoidance in Computer Networks", 1989): jobs that share a load and follow it come to equal shares,
whatever they began with. Pure: no clock, no input or output.
"""

import math

TARGET, BAND = 0.8, 0.05
# What is left of the work of a period that was too much.
DECREASE = 0.7


def duty(work, load, target=TARGET, band=BAND, items=1):
    """Return the share of its work (0 to 1) that the job does next period.

    `work` is the share of this period, `load` busy seconds over the seconds of the period (it may be above 1; None
    or NaN where nobody knows it), `items` how many the period's whole work is. Above target + band the work becomes
    0.7 of itself, below target - band one item more; one item is the least. An unknown load changes nothing:
    it never raises the work.
    """
    least = 1.0 / max(1, items)
    if load is not None:
        if load > target + band:
            work = work * DECREASE
        elif load < target - band:
            work = work + least
    return min(1.0, max(least, work))


def share(work, items):
    """Return how many of `items` the share `work` is: one at least, where there is one; a share that comes of adding
    up tenths counts as the tenths that were meant.
    """
    return min(items, max(1, int(math.ceil(work * items - 1e-9))))
