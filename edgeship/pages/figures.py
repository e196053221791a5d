"""Figures of documents as pages show them."""

from __future__ import annotations

from typing import Any


def number(figure: Any) -> float | None:
    """Return a figure of a document, None where it could not be had."""
    if isinstance(figure, bool) or not isinstance(figure, int | float):
        return None
    return float(figure) if figure == figure and abs(figure) != float("inf") else None


def shown(figure: Any, digits: int = 1, unit: str = "") -> str:
    """Return a figure with its unit, a dash where there is none."""
    value = number(figure)
    return "\u2013" if value is None else f"{round(value, digits) + 0.0:.{digits}f}{unit}"


def milliseconds(figure: Any) -> str:
    """Return milliseconds with two digits that count, a dash where they are not known."""
    value = number(figure)
    return shown(value, 2) if value is None or value >= 0.095 else f"{value:.2g}"


def plain(figure: Any, unit: str = "") -> str:
    """Return a figure in four digits at most, whatever its size."""
    value = number(figure)
    return "\u2013" if value is None else f"{value:.4g}{unit}"


def kilobytes(count: float) -> str:
    """Return bytes in kB or MB (powers of 1,000)."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def minutes(seconds: float) -> str:
    """Return a duration in seconds, or minutes and seconds."""
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 60} min {whole % 60} s"


def why(value: Any) -> str:
    """Return why a figure could not be had; nothing where it could."""
    return str(value["unavailable"]) if isinstance(value, dict) and "unavailable" in value else ""
