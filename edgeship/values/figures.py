"""Figures: a number, or the reason why there is none; and how values become JSON."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """A figure that could not be had, and why. In JSON: `{"unavailable": why}`, never null or 0."""

    reason: str


Figure = float | Unavailable
"""A measured number, or the reason why there is none."""


def as_json(value: Any) -> Any:
    """Return `value` as what `json` can write: dataclasses by field, paths and enums as text."""
    if isinstance(value, Unavailable):
        return {"unavailable": value.reason}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    return value
