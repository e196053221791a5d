"""Values that are kept as JSON between runs: `kept(path, kind)` and `keep(path, value)`; what they were made with."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import edgeship
from edgeship.whole import whole

T = TypeVar("T")
TOOLS = ("tensorflow", "ai-edge-litert", "ai-edge-quantizer", "numpy")
"""Packages that have a hand in what candidates become and in their scores."""


@cache
def made_with() -> dict[str, str]:
    """Return the versions of edgeship and of TOOLS: with others, candidates are made and measured anew."""
    found = {"edgeship": edgeship.__version__}
    for name in TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""  # by another name, or not there: what needs it says so
    return found


def kept(path: Path, kind: type[T]) -> T | None:
    """Return the value of dataclass `kind` kept at `path`; None where there is none, or none that can be read: it is
    then made again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def keep(path: Path, value: Any) -> None:
    """Keep a value; it is there when all of it is."""
    from pydantic import TypeAdapter

    with whole(path) as part:
        part.write_bytes(TypeAdapter(type(value)).dump_json(value))
