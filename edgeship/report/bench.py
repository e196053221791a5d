"""What was measured on a device, for people: latency, energy, every variant, and how a soak went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from edgeship.report.figures import duration
from edgeship.report.table import table


def bench_text(found: Mapping[str, Any]) -> str:
    """Return a benchmark in one short block."""
    latency, governor, peak = found["latency_ms"], found["governor"], found["peak_rss_mb"]
    times = ", ".join(f"{name} {latency[name]:.3f} ms" for name in ("cold", "p50", "p95"))
    lines = [
        _head(found),
        f"  {times} ({found['runs']} runs in {found['seconds']:.1f} s, {found['threads']} threads)",
        f"  peak memory {f'{peak:.1f} MiB' if _is_number(peak) else 'not known'}, CPU governor "
        + (f"unknown ({governor['unavailable']})" if isinstance(governor, dict) else str(governor)),
    ]
    if found.get("energy"):
        lines.append(f"  {energy_text(found['energy'])}")
    if found.get("rungs") or found.get("failed"):
        lines += ["", rungs_text(found.get("rungs") or {}, found.get("failed") or {})]
    return "\n".join(lines)


def energy_text(energy: Mapping[str, Any]) -> str:
    """Return in one line what a run took, and how that is known."""
    joules, meter, idle = energy["joules_per_run"], energy.get("meter"), energy.get("idle") or {}
    if energy["by"] == "measured":
        at_work = f"{energy['watts']:.2f} W at work" if _is_number(energy["watts"]) else "watts not known"
        where = f"{meter}, {energy['covers']}; {at_work}"
        if not _is_number(joules):
            return (
                f"energy not known: {joules['unavailable'] if joules else 'no figure'} (measured by {where})"
            )
        if _is_number(idle.get("watts")):
            return (
                f"energy {_joules(joules)} a run above idle (measured by {where}, {idle['watts']:.2f} W idle)"
            )
        return f"energy {_joules(joules)} a run, idle included: --idle 10 takes it off (measured by {where})"
    why = meter["unavailable"] if isinstance(meter, dict) else "no meter"
    if energy["by"] == "estimated" and _is_number(joules):
        return f"energy about {_joules(joules)} a run above idle (estimated from the target's watts: {why})"
    return f"energy not known ({why}); {energy['cpu_seconds_per_run'] * 1e3:.3f} ms of processor time a run stand in"


def rungs_text(rungs: Mapping[str, Mapping[str, Any]], failed: Mapping[str, str]) -> str:
    """Return the table of all variants, cheapest first, and those that could not be measured."""
    rows = []
    for name, rung in sorted(rungs.items(), key=lambda pair: pair[1]["seconds"]):
        threads = ", ".join(f"{n}: {s * 1e3:.3f}" for n, s in sorted((rung.get("by_threads") or {}).items()))
        memory, joules = rung.get("memory_bytes"), rung.get("joules")
        rows.append(
            [
                name,
                f"{rung['cold_seconds'] * 1e3:.3f}",
                f"{rung['seconds'] * 1e3:.3f}",
                f"{rung['p95_seconds'] * 1e3:.3f}",
                threads,
                f"{memory / 2**20:.1f}" if _is_number(memory) else "n/a",
                _joules(joules) if _is_number(joules) else "n/a",
            ]
        )
    header = ("variant", "cold ms", "p50 ms", "p95 ms", "p50 ms by threads", "MiB", "above idle")
    lines = [table(header, rows, right=(1, 2, 3, 5))] if rows else []
    return "\n".join([*lines, *(f"{name}: not measured: {why}" for name, why in failed.items())])


def line_text(line: Mapping[str, Any], wanted: float) -> str:
    """Return one line of a soak that runs."""
    parts = [f"{duration(line['at'])} of {duration(wanted)}"]
    if _is_number(line.get("p50_ms")) and _is_number(line.get("p99_ms")):
        parts.append(f"p50 {line['p50_ms']:.3f} ms, p99 {line['p99_ms']:.3f} ms")
    if _is_number(line.get("temperature_c")):
        parts.append(f"{line['temperature_c']:.1f} degC")
    if _is_number(line.get("frequency_hz")):
        parts.append(f"{line['frequency_hz'] / 1e6:.0f} MHz")
    if _is_number(line.get("watts")):
        parts.append(f"{line['watts']:.2f} W")
    if line.get("flags"):
        parts.append(f"{', '.join(line['flags'])} for {line.get('throttled_seconds') or 0:.0f} s")
    return ", ".join(parts)


def soak_text(found: Mapping[str, Any]) -> str:
    """Return how a soak went: a line a minute, then what it came to."""
    soak, heat = found["soak"], found["soak"].get("temperature_c")
    how = "to its end" if soak["ended"] == "done" else "until it was stopped"
    lines = [_head(found), f"  {found['runs']} runs in {duration(found['seconds'])}, {how}"]
    minutes = soak["minutes"]
    if minutes and _is_number(minutes[0].get("p99_ms")) and _is_number(soak.get("worst_p99_ms")):
        first = minutes[0]["p99_ms"]
        lines.append(f"  p99 {first:.3f} ms at first, {soak['worst_p99_ms']:.3f} ms at worst")
    if heat:
        lines.append(
            f"  temperature {heat['first']:.1f} degC at first, {heat['highest']:.1f} at most, "
            f"{heat['last']:.1f} at last"
        )
    throttled = soak.get("throttled_seconds")
    lines.append(
        f"  throttled for {throttled:.0f} s"
        if _is_number(throttled)
        else "  throttled: not known, no sensor of this target tells"
    )
    rows = [line_text(line, found["seconds"]) for line in minutes]
    return "\n".join([*lines, *(f"  {row}" for row in rows)])


def _head(found: Mapping[str, Any]) -> str:
    engine = found["engine"]
    ran = f"{engine['name']} {engine['version']}, delegate {engine['delegate']}"
    return f"release {found['release'][:12]}, {found['variant']} on {ran}"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _joules(value: float) -> str:
    if value >= 1:
        return f"{value:.2f} J"
    return f"{value * 1e3:.2f} mJ" if value >= 1e-3 else f"{value * 1e6:.1f} uJ"
