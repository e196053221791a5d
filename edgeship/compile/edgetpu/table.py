"""The operation table and the limits of `operations.json`, read once."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the table says of one operation."""

    runtime: int
    """First Edge TPU runtime number that has it; 10 for those every runtime has."""
    parameters: tuple[int, ...] = ()
    """Input positions that hold weights or biases."""
    shapes: tuple[int, ...] = ()
    """Input positions that hold sizes, axes or indices."""
    checks: tuple[str, ...] = ()


@functools.cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / "operations.json").read_text())
    return content


@functools.cache
def rows() -> dict[str, Row]:
    """Return operation -> row for every operation of the documented table."""
    return {
        op: Row(
            runtime=row["runtime"],
            parameters=tuple(row.get("parameters", ())),
            shapes=tuple(row.get("shapes", ())),
            checks=tuple(row.get("checks", ())),
        )
        for op, row in _content()["operations"].items()
    }


def limit(name: str) -> int:
    """Return a documented limit."""
    return int(_content()["limits"][name])


def seen(name: str) -> tuple[float, float]:
    """Return (largest size seen mapped, smallest seen rejected); between them nobody knows."""
    entry = _content()["limits"][name]
    return float(entry["mapped"]), float(entry["rejected"])


@functools.cache
def evidence(what: str) -> frozenset[str]:
    """Return the operations seen `mapped` by compiler 16.0, or `refused` for what they are."""
    return frozenset(_content()["evidence"][what])


@functools.cache
def newest_versions() -> dict[str, int]:
    """Return the newest version of each operation that compiler 16.0 can read."""
    newest: dict[str, int] = json.loads((HERE / "known_versions.json").read_text())["newest"]
    return newest
