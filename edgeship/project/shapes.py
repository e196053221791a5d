"""Sizes of inputs as people write them: `closed_shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WANTED = "expected sizes with the batch first, such as 1,224,224,3 or NAME=1,224,224,3"


def closed_shapes(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return (input, sizes) of a list of sizes, of sizes by input, or of texts as the command line takes them.

    The name is "" for the only input. Raises ValueError with what was expected and what was found.
    """
    if value is None:
        return ()
    if isinstance(value, Mapping):
        found = [(str(name), _sizes(sizes)) for name, sizes in value.items()]
    elif isinstance(value, str):
        found = [_typed(value)]
    elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        found = [_typed(item) for item in value]
    else:
        found = [("", _sizes(value))]
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"{WANTED}, each input once; found {'two without a name' if not twice else twice + ' twice'}"
        )
    if "" in names and len(names) > 1:
        raise ValueError(f"{WANTED}: of several, each needs a name")
    return tuple(found)


def _typed(text: str) -> tuple[str, tuple[int, ...]]:
    """Return what `NAME=1,224,224,3` says; names may hold an equals sign themselves."""
    name, _, sizes = text.rpartition("=")
    return name.strip(), _sizes([part.strip() for part in sizes.strip().strip("[]()").split(",")])


def _sizes(value: Any) -> tuple[int, ...]:
    given = value.strip().strip("[]()").split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"{WANTED}, found {value!r}")
    try:
        sizes = tuple(int(item) for item in given if not isinstance(item, float | bool))
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) != len(given) or min(sizes) < 1:
        raise ValueError(f"{WANTED}; whole numbers above 0, found {', '.join(map(str, given))}")
    return sizes
