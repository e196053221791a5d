"""Pareto's rule, over anything with costs: `front`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def front(items: Sequence[T], costs: Callable[[T], Sequence[float]]) -> tuple[T, ...]:
    """Return the items that no other one matches or beats in every cost (Pareto's rule), in the order they came.

    `costs` gives as many numbers for each item, less is better; infinity or NaN stands for what is not known, which
    beats nothing. Of items equal in all costs the first stays.
    """
    told = [tuple(math.inf if cost != cost else cost for cost in costs(item)) for item in items]
    best = {mine for mine in told if not any(_beats(other, mine) for other in set(told))}
    return tuple(
        items[place] for place, mine in enumerate(told) if mine in best and told.index(mine) == place
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(x <= y for x, y in zip(one, other, strict=True))
