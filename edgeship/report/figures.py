"""Figures as people read them: units, a fixed number of digits, and the reason where there is no figure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from edgeship.values import Figure, Unavailable


def figure(value: Figure, digits: int = 2, unit: str = "") -> str:
    """Return a figure with its unit, or `n/a` where there is none (the reason is shown elsewhere)."""
    return "n/a" if isinstance(value, Unavailable) else f"{value:.{digits}f}{unit}"


def size(count: int) -> str:
    """Return a number of bytes in B, kB or MB (powers of 1,000)."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"


def duration(seconds: float) -> str:
    """Return a duration in ms, s or minutes."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def moment(seconds: Any, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a moment given in seconds since 1970, UTC; what was given where it is none, or beyond the calendar."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)
    except (TypeError, ValueError, OverflowError, OSError):
        return str(seconds)
