"""The front of what no other beats in everything: `front(...)`. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[tuple[float, ...]]) -> tuple[int, ...]:
    """Return the places of those that no other matches or beats in every cost, in their order; less is better.

    Of equal ones the first stays. A cost that is not known is infinite: it beats nothing.
    """
    return tuple(
        i
        for i, own in enumerate(costs)
        if not any(
            all(a <= b for a, b in zip(other, own, strict=True)) and (other != own or j < i)
            for j, other in enumerate(costs)
            if j != i
        )
    )
