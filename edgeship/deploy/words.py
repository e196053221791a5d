"""What helpers and errors say, in the words and values of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeship.errors import DeviceError, EdgeshipError
from edgeship.values import EngineReport, Figure, GateResult, GoldenReport, Latency, RungReport, Unavailable


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
        also=tuple(str(other["variant"]) for other in document.get("also") or () if not other.get("failed")),
    )


def ladder_report(document: Mapping[str, Any] | None) -> tuple[RungReport, ...] | Unavailable:
    """Return what the device measured of each variant that may serve, the quickest first."""
    ladder = (document or {}).get("ladder")
    if not ladder:
        return ()
    if "rungs" not in ladder:
        return Unavailable(reason=str(ladder.get("unavailable") or "the device timed no variants"))
    left_out = dict(pair for pair in ladder["left_out"] if len(pair) == 2)
    within = dict(pair for pair in ladder.get("within") or () if len(pair) == 2)
    rungs = sorted(ladder["rungs"].items(), key=lambda rung: float(rung[1]["seconds"]))
    return tuple(
        RungReport(
            variant=str(name),
            latency_ms=Latency(
                cold=1e3 * times["cold_seconds"],
                p50=1e3 * times["seconds"],
                p95=1e3 * times["p95_seconds"],
            ),
            threads=int(times["threads"]),
            memory_bytes=_figure(times.get("memory_bytes")),
            used=name not in left_out,
            reason=str(left_out.get(name, "")),
            within=str(within.get(name, "")),
        )
        for name, times in rungs
    )


def describe_ladder(ladder: tuple[RungReport, ...] | Unavailable) -> tuple[str, ...]:
    """Return what people should know of a ladder on the device: what is not used there, or that nothing was timed."""
    if isinstance(ladder, Unavailable):
        return (f"the variants go by the figures of the machine that built them: {ladder.reason}",)
    return tuple(f"{rung.variant} is not used here: {rung.reason}" for rung in ladder if not rung.used)


def describe_proof(document: Mapping[str, Any]) -> str:
    """Return one line on a proof that held: vectors, engine, delegate, latency."""
    engine = document.get("engine") or {}
    latency = (document.get("latency_ms") or {}).get("p50")
    parts = [f"{document['vectors']} vectors hold"]
    if document.get("exact"):
        parts[0] += " exactly"
    if others := len(document.get("also") or ()):
        parts[0] += f", and those of {others} more variant{'s' if others > 1 else ''}"
    if engine.get("name"):
        ran = f"{engine['name']} {engine.get('version', '')} {engine.get('delegate', '')}".rstrip()
        took = _took_part(engine)
        parts.append(ran if took == "yes" else f"{ran} (took part: {took})")
    if isinstance(latency, int | float):
        parts.append(f"p50 {latency:.3g} ms")
    parts += describe_ladder(ladder_report(document))
    return ", ".join(parts)


def engine_report(document: Mapping[str, Any] | None) -> EngineReport | Unavailable:
    """Return what ran the proof: the engine, and whether its delegate took part."""
    engine = (document or {}).get("engine")
    if not engine:
        return Unavailable(reason=str((document or {}).get("reason") or "prove gave no result"))
    return EngineReport(
        name=str(engine.get("name", "")),
        version=str(engine.get("version", "")),
        delegate=str(engine.get("delegate", "")),
        delegated=_took_part(engine),
        detail=str(engine.get("detail", "")),
    )


def _took_part(engine: Mapping[str, Any]) -> str:
    """Return whether the delegate took part, in a word; what the engine cannot tell is unknown."""
    said = engine.get("delegated", "unknown")
    return ("yes" if said else "no") if isinstance(said, bool) else str(said)


def latency_report(document: Mapping[str, Any] | None) -> Latency | Unavailable:
    """Return the latency of the staged release as the device measured it."""
    latency = (document or {}).get("latency_ms") or {}
    if "p50" not in latency:
        return Unavailable(reason=str(latency.get("unavailable") or "prove measured no latency"))
    return Latency(**{name: _figure(latency.get(name)) for name in ("cold", "p50", "p95")})


def _figure(value: Any) -> Figure:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    reason = value.get("unavailable") if isinstance(value, Mapping) else None
    return Unavailable(reason=str(reason or "the device did not measure it"))


def latency_gate(document: Mapping[str, Any], limit: float) -> GateResult:
    """Return whether the staged release is fast enough on the device: p50 against `limit`, both in ms."""
    latency = latency_report(document)
    value = latency if isinstance(latency, Unavailable) else latency.p50
    if isinstance(value, Unavailable):
        reason = f"p50 latency on the device could not be had ({value.reason}), and the limit is {limit:g} ms"
        return GateResult(name="device-latency", verdict="no-data", limit=limit, value=value, reason=reason)
    ok = value <= limit
    return GateResult(
        name="device-latency",
        verdict="pass" if ok else "fail",
        limit=limit,
        value=value,
        reason=f"p50 latency on the device is {value:.3g} ms, {'within' if ok else 'above'} the limit of {limit:g} ms",
    )


def too_slow(gate: GateResult, at: str) -> DeviceError:
    """Return the error for a staged release that is slower than it may be. `at`: how the device is reached."""
    return DeviceError(
        "too-slow",
        f"{gate.reason}; the release was not switched to",
        hint=f"edgeship bench {at} measures what serves now; allow more with "
        "--device-max-ms T, or build a faster variant: edgeship build MODEL --target T --max-ms T",
    )


def describe_bake(reply: Mapping[str, Any], restarts: int) -> str:
    """Return how the device goes on watching what it confirmed."""
    if reply.get("bake_problem"):
        return f"not watched from now on: {reply['bake_problem']}"
    if not reply.get("bake"):
        return "not watched from now on"
    return f"watched for {reply['bake']:.0f} s: more than {restarts} crashes, and it goes back by itself"
