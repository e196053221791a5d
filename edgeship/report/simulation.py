"""What a simulation came to, for people on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.report.table import table

HEAD = (
    "policy",
    "missed, %",
    "right, %",
    "W",
    "J a right answer",
    "p50, ms",
    "p99, ms",
    "throttled, s",
    "hottest",
)

SETTLED = 60.0
"""Seconds from which on a budget (a tick is 2 s, a debt of energy up to 30 s) has been kept for a while."""


def simulation_text(document: dict[str, Any], page: Path | None) -> str:
    """Return the rungs, a table a trace, and what to hold the figures for."""
    board, deadline = document["board"], document["deadline_ms"]
    power, thermal = board["power"], board["thermal"]
    limit = f"{deadline:g} ms for an answer" if deadline else "no deadline (governor.deadline_ms is not set)"
    lines = [
        f"{document['app']} on {board.get('title') or document['target']}; {limit}",
        _physics(power, thermal),
        "",
        table(
            ["rung", f"right ({worth_word(document)}), %", "ms", "p95, ms", "timed on"],
            [_rung(row) for row in document["rungs"]],
            right=(1, 2, 3),
        ),
    ]
    lines += [f"{name} does not serve: {why}" for name, why in document["left_out"]]
    lines += [f"warning: {problem}" for problem in document["problems"]]
    for trace in document["traces"]:
        lines += ["", *trace_lines(trace)]
    lines += ["", "missed: refused, or answered after the deadline; right: of all that were asked, in time"]
    lines += [f"note: {text}" for text in notes(document)]
    if page is not None:
        lines.append(f"page: {page}")
    return "\n".join(lines)


def _physics(power: dict[str, Any], thermal: dict[str, Any]) -> str:
    heat = f"{thermal['c_per_watt']:g} K/W at {thermal['ambient_c']:g} degrees, {thermal['seconds']:g} s"
    return f"{power['idle_watts']:g} W idle, {power['busy_watts']:g} W with one core busy; {heat}"


def worth_word(document: dict[str, Any]) -> str:
    """Return what a right answer is in the document."""
    words = {"accuracy": "accuracy", "agreement": "agreement with the float model"}
    return words.get(document["worth"], "not measured: every answer counts")


def notes(document: dict[str, Any]) -> list[str]:
    """Return what a reader must know before believing the figures."""
    found = []
    if any(rung["measured"] == "host" for rung in document["rungs"]):
        found.append(
            "rungs were timed on the machine that built the bundle: --figures FILE takes a device's own times, "
            "--scale X makes all X times as long"
        )
    if any(trace["seconds"] < SETTLED for trace in document["traces"]):
        found.append(
            "a trace lasts less than a minute: heat, and what a budget comes to, show in longer ones "
            "(--seconds 600 --rate 30)"
        )
    found.append("the board is a model: one heat capacity, and power by the profile's two figures")
    return found


def _rung(row: dict[str, Any]) -> list[str]:
    return [
        row["variant"],
        f"{100 * row['worth']:.1f}",
        f"{1e3 * row['seconds']:.3g}",
        f"{1e3 * row['p95_seconds']:.3g}",
        row["measured"],
    ]


def trace_lines(trace: dict[str, Any]) -> list[str]:
    """Return the table of a trace, the governor against the best fixed rung in words before it."""
    asked = f"{trace['requests']} requests in {trace['seconds']:.0f} s"
    head = f"{trace['name']}: {asked} ({_rate(trace['rate'])} a second)"
    rows = sorted(trace["policies"], key=lambda row: -row["right_share"])
    shown = table(HEAD, [_policy(row, trace) for row in rows], right=range(1, 9))
    return [head, shown, *verdict(trace)]


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _policy(row: dict[str, Any], trace: dict[str, Any]) -> list[str]:
    best = trace["best_fixed"]
    marked = (("most right", best["answers"]), ("least energy", best["energy"]))
    marks = [word for word, policy in marked if policy == row["policy"]]
    name = row["policy"] + (f" ({', '.join(marks)})" if marks else "")
    right, watts = f"{100 * row['right_share']:.2f}", f"{row['watts']:.3f}"
    each = "-" if row["joules_per_right"] is None else f"{row['joules_per_right']:.4g}"
    if row["kind"] == "oracle":
        return [name, "", right, watts, each, "", "", "", ""]
    latency = row["latency_ms"]
    return [
        name,
        f"{100 * row['missed_share']:.2f}",
        right,
        watts,
        each,
        *("-" if latency[part] is None else f"{latency[part]:.1f}" for part in ("p50", "p99")),
        f"{row['throttled_seconds']:.0f}",
        f"{row['hottest_c']:.1f}",
    ]


def verdict(trace: dict[str, Any]) -> list[str]:
    """Return how the governor did against the best fixed rung: points of right answers, percent of energy."""
    rows = {row["policy"]: row for row in trace["policies"]}
    best = rows.get(trace["best_fixed"]["answers"])
    own = rows.get("governor")
    if own is None or best is None:
        return []
    points = 100 * (own["right_share"] - best["right_share"])
    each = [row["joules_per_right"] for row in (own, best)]
    energy = 100 * (each[0] / each[1] - 1) if all(each) else None
    more = "more" if points >= 0 else "fewer"
    said = f"governor: {abs(points):.2f} points {more} right answers in time than {best['policy']}"
    if energy is not None:
        said += f", {abs(energy):.1f} % {'more' if energy > 0 else 'less'} energy for each"
    return [said, *_changes(own)]


def _changes(own: dict[str, Any]) -> Sequence[str]:
    held = {name: seconds for name, seconds in own["rung_seconds"].items() if seconds}
    whole = sum(held.values()) or 1.0
    parts = ", ".join(f"{name} {100 * seconds / whole:.0f} %" for name, seconds in held.items())
    return [f"its time in rungs: {parts}; {own['rung_changes']} changes"] if parts else []
