"""Names of classes as they were meant: `without_numbers`. Tools write each class's own number before its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERED = re.compile(r"(\d+)\s*(?:[\s:,;|)]|\.\s)\s*(\S.*)")
"""`0 Flask` (Teachable Machine), `3: person`, `3,person`, `3) person`, `3. person`."""


def without_numbers(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels without the numbers before them, where these count all of them from 0 or 1 in order.

    Where the rest would not tell classes apart (`1 euro`, `2 euro`), or there is but one label, the number is part of
    the name: the labels as they are.
    """
    found = [NUMBERED.fullmatch(label.strip()) for label in labels]
    parts = [(int(match[1]), match[2].strip()) for match in found if match]
    first = parts[0][0] if parts else 0
    counted = [number for number, _ in parts] == list(range(first, first + len(labels)))
    names = tuple(name for _, name in parts)
    apart = len({name.lower() for name in names}) == len(labels) > 1
    return names if counted and first in (0, 1) and apart else tuple(labels)


def name_in(folder: str, labels: Sequence[str]) -> str:
    """Return the label that a class's folder is meant by: its name, or its name without a number before it."""
    match = NUMBERED.fullmatch(folder)
    return match[2] if folder not in labels and match and match[2] in labels else folder
