"""What helpers and errors say, in the words and values of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeship.errors import EdgeshipError
from edgeship.values import GoldenReport, Unavailable


def reason_of(error: EdgeshipError) -> str:
    """Return an error's reference, message and context on one line, for a report's row."""
    context = "".join(f"; {key}: {value}" for key, value in error.context.items() if key != "host")
    return f"{error.reference}: {error.message}{context}"


def golden_report(document: Mapping[str, Any] | None) -> GoldenReport | Unavailable:
    """Return what `prove` said, as a value."""
    if not document or "vectors" not in document:
        return Unavailable(reason=str((document or {}).get("reason") or "prove gave no result"))
    worst = document.get("worst") or {}
    return GoldenReport(
        vectors=int(document["vectors"]),
        failed=int(document.get("failed") or 0),
        worst=str(worst.get("text", "")),
    )


def describe_proof(document: Mapping[str, Any]) -> str:
    """Return one line on a proof that held: vectors, engine, delegate, latency."""
    engine = document.get("engine") or {}
    latency = (document.get("latency_ms") or {}).get("p50")
    parts = [f"{document['vectors']} vectors hold"]
    if document.get("exact"):
        parts[0] += " exactly"
    if engine.get("name"):
        parts.append(f"{engine['name']} {engine.get('version', '')} {engine.get('delegate', '')}".rstrip())
    if isinstance(latency, int | float):
        parts.append(f"p50 {latency:.3g} ms")
    return ", ".join(parts)
