"""Gates: pure checks of a scorecard against the user's goals. A limit that is met exactly passes."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.values import (
    Agreement,
    Artifact,
    Figure,
    GateResult,
    Goals,
    OutputPart,
    Scorecard,
    Unavailable,
    Verdict,
)

AGREEMENT = "agreement"
"""Name of the gate on dead parts, by which users accept them, too."""


def judge(
    artifact: Artifact, scorecard: Scorecard, goals: Goals, accepted: Sequence[str] = ()
) -> tuple[GateResult, ...]:
    """Return one result per goal that is set: accuracy, size, latency, memory, in this order.

    After them `agreement`, whatever is asked for, where the variant was compared with the float model: one that
    gives nothing in a part of its outputs must not run, unless the user `accepted` it by the gate's name.
    """
    metric = scorecard.metric
    points = metric.drop_unit == "points"
    what = f"{metric.name} drop" + ("" if points else f" in percent of the float model's {metric.name},")
    asked = (
        ("accuracy", goals.max_drop, metric.drop, what, " points" if points else " %"),
        ("size", goals.max_kb, artifact.bytes / 1000, "model file", " kB"),
        ("latency", goals.max_ms, scorecard.latency_ms.p50, "p50 latency on this machine", " ms"),
        ("memory", goals.max_rss_mb, scorecard.peak_rss_mb, "peak memory of one process", " MiB"),
    )
    goals_set = (
        gate(name, limit, value, what, unit) for name, limit, value, what, unit in asked if limit is not None
    )
    return (*goals_set, *alive(scorecard.agreement, accepted))


def alive(agreement: Agreement, accepted: Sequence[str] = ()) -> tuple[GateResult, ...]:
    """Return the gate on the parts of all outputs: its value is how many died. None where nothing was compared."""
    parts = agreement.parts
    if not parts:
        return ()
    dead = [part for part in parts if part.dead]
    if not dead:
        reason = "no part of the outputs stands still where the float model's moves"
        return (GateResult(name=AGREEMENT, verdict="pass", limit=0.0, value=0.0, reason=reason),)
    count = float(len(dead))
    if AGREEMENT in accepted:
        reason = f"accepted: {died(dead)}"
        return (GateResult(name=AGREEMENT, verdict="pass", limit=0.0, value=count, reason=reason),)
    return (GateResult(name=AGREEMENT, verdict="fail", limit=0.0, value=count, reason=died(dead)),)


def died(dead: Sequence[OutputPart]) -> str:
    """Return in words which parts give nothing: the first of them and why, and how many more."""
    more = f" (and {len(dead) - 1} more part{'s' if len(dead) > 2 else ''})" if len(dead) > 1 else ""
    return f"{dead[0].words} died: {dead[0].dead}{more}"


def gate(name: str, limit: float, value: Figure, what: str, unit: str) -> GateResult:
    """Return whether `value` is at most `limit`. No value is no-data: neither a pass nor a failure.

    A drop computed in floating point misses an exact limit by the last bit (94.0 - 93.5 against 0.5), so one
    part in 10^9 of slack is given.
    """
    if isinstance(value, Unavailable):
        reason = f"{what.rstrip(',')}: not known, {value.reason}"
        return GateResult(name=name, verdict="no-data", limit=limit, value=value, reason=reason)
    if value != value:
        reason = f"{what} is not a number"
        return GateResult(
            name=name, verdict="fail", limit=limit, value=Unavailable(reason=reason), reason=reason
        )
    within = value <= limit + 1e-9 * max(1.0, abs(limit))
    verdict: Verdict = "pass" if within else "fail"
    relation = "within" if within else "over"
    reason = f"{what} {value:.4g}{unit} is {relation} the limit of {limit:.4g}{unit}"
    return GateResult(name=name, verdict=verdict, limit=limit, value=value, reason=reason)
