"""What one check of a device before a deployment found."""

from __future__ import annotations

from dataclasses import dataclass

from edgeship.values import Figure, GateResult, Unavailable, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's outcome and, where it failed, what to type next."""

    gate: GateResult
    hint: str | None = None


def finding(
    name: str,
    verdict: Verdict,
    reason: str,
    *,
    limit: object = None,
    value: object = None,
    hint: str | None = None,
) -> Finding:
    """Return a finding; limits and values that are no numbers are said in words."""
    gate = GateResult(name=name, verdict=verdict, limit=_figure(limit), value=_figure(value), reason=reason)
    return Finding(gate=gate, hint=hint if verdict == "fail" else None)


def _figure(value: object) -> Figure:
    """Return a number, or the words in its place."""
    if isinstance(value, int | float):
        return float(value)
    return Unavailable(reason=f"not a number: {value}" if value is not None else "not told")
