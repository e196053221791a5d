"""What a reader of a dataset found, a block at a time: `Samples`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a reader found: blocks of `x`, blocks of `y` (None: not labelled), and class names where it knows
    them."""

    x: Iterator[NDArray[Any]]
    y: Iterator[NDArray[Any]] | None
    classes: tuple[str, ...] = ()
