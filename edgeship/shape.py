"""What a document from elsewhere must look like, as values: kinds, lists of them, records with named fields.

`problem(kind, value)` says what is wrong first, with its place; what has no problem can be read without a second look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST_TEXT = 100_000
LARGEST = 1 << 53
"""Whole numbers below it are the same in every JSON reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A value by itself. `words` completes "is not ..."."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """A list of one kind."""

    of: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An object whose keys are names of any sort, and whose values are of one kind."""

    of: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An object with `fields`, and with those of `maybe` that are there; other keys are left alone."""

    fields: Mapping[str, Kind] = field(default_factory=dict)
    maybe: Mapping[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """One of several kinds; a value that is none of them is told what the last one wants."""

    of: tuple[Kind, ...]


Kind = Plain | Many | Named | Record | Either


def text(longest: int = LONGEST_TEXT) -> Plain:
    """Return the kind of a text that is not endless."""
    return Plain(words="a text", holds=lambda value: isinstance(value, str) and len(value) <= longest)


def one_of(*known: str) -> Plain:
    """Return the kind of a text that is one of those."""
    return Plain(words=f"one of {', '.join(known)}", holds=lambda value: value in known)


TEXT = text()
BOOL = Plain(words="true or false", holds=lambda value: isinstance(value, bool))
NULL = Plain(words="null", holds=lambda value: value is None)
ANY = Plain(words="anything", holds=lambda value: True)
COUNT = Plain(
    words="a whole number, 0 or more", holds=lambda value: type(value) is int and 0 <= value < LARGEST
)
WHOLE = Plain(words="a whole number", holds=lambda value: type(value) is int and abs(value) < LARGEST)
NUMBER = Plain(
    words="a number",
    holds=lambda value: (
        (type(value) is int and abs(value) < LARGEST) or (type(value) is float and math.isfinite(value))
    ),
)


def maybe(kind: Kind) -> Either:
    """Return the kind that may also be null."""
    return Either(of=(NULL, kind))


def problem(kind: Kind, value: Any, place: str = "") -> str | None:
    """Return what is wrong with `value`, or None: `requires.libc is not an object`."""
    name = place or "it"
    if isinstance(kind, Plain):
        return None if kind.holds(value) else f"{name} is not {kind.words}"
    if isinstance(kind, Either):
        found = [problem(each, value, place) for each in kind.of]
        return found[-1] if all(found) else None
    if isinstance(kind, Many):
        if not isinstance(value, list):
            return f"{name} is not a list"
        return _first(problem(kind.of, each, f"{name}[{index}]") for index, each in enumerate(value))
    if not isinstance(value, dict):
        return f"{name} is not an object"
    within = f"{place}." if place else ""
    if isinstance(kind, Named):
        return _first(problem(kind.of, each, f"{within}{key[:40]}") for key, each in value.items())
    absent = [key for key in kind.fields if key not in value]
    if absent:
        return f"{within}{absent[0]} is missing"
    known = {**kind.maybe, **kind.fields}
    return _first(problem(known[key], value[key], f"{within}{key}") for key in known if key in value)


def _first(problems: Any) -> str | None:
    return next((each for each in problems if each), None)
