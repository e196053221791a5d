"""What is shown of a service's governor: a line, a block that is drawn again and again, and JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeship.printable import one_line
from edgeship.report.figures import duration
from edgeship.report.table import table

if TYPE_CHECKING:
    from edgeship.deploy.watching import Seen

BAR = 20
CHANGES = 6
"""How many changes of what serves are shown."""
NOTHING = "-"
COUNTS = (("misses", "missed"), ("refused", "refused"))


def number(document: Mapping[str, Any], key: str) -> float | None:
    """Return a number out of what a service says, or None where it says none."""
    value = document.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]


def word(document: Mapping[str, Any], key: str) -> str:
    """Return a word out of what a service says."""
    value = document.get(key)
    return one_line(value)[:60] if isinstance(value, str) and value else NOTHING


def written(value: float | None, form: str = "{:.1f}") -> str:
    """Return a number for people, or a dash."""
    return NOTHING if value is None else form.format(value)


def governor_text(document: Mapping[str, Any]) -> str:
    """Return a governor's document on one line: what serves and why, load, requests, misses, heat, power."""
    if "unavailable" in document:
        return one_line(str(document["unavailable"]))
    settings = document.get("settings")
    budget = number(settings, "watts") if isinstance(settings, Mapping) else None
    of = f" of {budget:g}" if budget is not None else ""
    refused = number(document, "refused")
    parts = [
        f"{word(document, 'rung')} ({reason(document)})",
        f"{written(number(document, 'rate'))} requests/s",
        f"p50 {written(number(document, 'p50_ms'))} ms, p95 {written(number(document, 'p95_ms'))} ms",
        f"{written(number(document, 'misses'), '{:.0f}')} missed"
        + (f", {refused:.0f} refused" if refused is not None else ""),
        f"load {percent(number(document, 'load'))}",
        f"{written(number(document, 'temperature_c'))} C",
        f"{written(number(document, 'watts'), '{:.2f}')}{of} W",
    ]
    return "; ".join([*parts, *problems(document)])


def problems(document: Mapping[str, Any]) -> list[str]:
    """Return what a service cannot do of what is wanted of it, and why."""
    found = document.get("problems")
    return [one_line(text) for text in found if isinstance(text, str)] if isinstance(found, list) else []


def reason(document: Mapping[str, Any]) -> str:
    """Return why a service answers with what it does: a word, and where the word is `blind` what is not seen."""
    said, why = word(document, "reason"), document.get("why")
    return f"{said}: {one_line(why)[:200]}" if said == "blind" and isinstance(why, str) else said


def percent(share: float | None) -> str:
    """Return a share of one in percent."""
    return NOTHING if share is None else f"{share * 100:.0f} %"


@dataclass(slots=True)
class Shown:
    """What is known of one device that is watched: what it said last, and how what serves changed."""

    host: str
    last: Seen | None = None
    """The last thing heard."""
    line: Mapping[str, Any] | None = None
    """What the device said last, also where it has gone since."""
    changes: list[tuple[float, str, str, str]] = field(default_factory=list)
    """(moment, from, to, reason), the newest last."""

    def take(self, seen: Seen) -> None:
        """Hear one more thing."""
        before, self.last = self.line, seen
        if seen.line is None:
            return
        self.line = seen.line
        was, now = _serves(before), _serves(seen.line)
        if before is not None and was != now:
            why = word(seen.line["governor"], "reason")
            self.changes = [*self.changes[1 - CHANGES :], (seen.moment, was, now, why)]


def _serves(line: Mapping[str, Any] | None) -> str:
    """Return what serves: a rung, or why there is none."""
    governor = line["governor"] if line else {}
    return word(governor, "unavailable") if "unavailable" in governor else word(governor, "rung")


def watch_document(seen: Seen) -> dict[str, Any]:
    """Return one line of `edgeship.watch/1`."""
    line = seen.line or {}
    return {
        "schema": "edgeship.watch/1",
        "host": seen.host,
        "app": seen.app or {"unavailable": "the device was not asked yet"},
        "at": round(seen.moment, 3),
        "release": line.get("release") or {"unavailable": seen.lost or "nothing serves"},
        "state": str(line["state"]).lower() if "state" in line else {"unavailable": seen.lost},
        "governor": governor_document(
            line.get("governor") or {"unavailable": seen.lost or "the service says nothing"}
        ),
    }


def governor_document(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a governor's document with a reason where it has no figure: never null."""
    return {
        key: _told(value, "none is set" if key == "settings" else "not known") for key, value in said.items()
    }


def _told(value: Any, why: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _told(each, why) for key, each in value.items()}
    if isinstance(value, list):
        return [_told(each, why) for each in value]
    return {"unavailable": why} if value is None else value


def watch_line(seen: Seen) -> str:
    """Return what was heard of one device as a line of a log."""
    said = f"not reached: {seen.lost}" if seen.line is None else governor_text(seen.line["governor"])
    return one_line(f"{_clock(seen.moment)} {seen.host}{f' {seen.app}' if seen.app else ''}: {said}")


def watch_block(shown: Sequence[Shown]) -> list[str]:
    """Return the lines of the view: a block for one device, a table for several."""
    if len(shown) == 1:
        return [one_line(line) for line in _block(shown[0])]
    rows = []
    for each in shown:
        governor = each.line["governor"] if each.line else {}
        lost = each.last is not None and each.last.line is None
        rows.append(
            [
                each.host,
                "not reached" if lost else _serves(each.line),
                word(governor, "reason"),
                written(number(governor, "rate")),
                written(number(governor, "p95_ms")),
                written(number(governor, "misses"), "{:.0f}"),
                percent(number(governor, "load")),
                written(number(governor, "temperature_c")),
                written(number(governor, "watts"), "{:.2f}"),
                _clock(each.changes[-1][0]) if each.changes else NOTHING,
            ]
        )
    head = ["host", "serves", "why", "req/s", "p95 ms", "missed", "load", "C", "W", "since"]
    return table(head, rows, right=(3, 4, 5, 6, 7, 8)).split("\n")


def _block(shown: Shown) -> list[str]:
    seen, line = shown.last, shown.line
    if seen is None:
        return [f"{shown.host}: asking"]
    head = f"{shown.host}: {seen.app or ''}"
    if seen.line is None:
        head += f"  NOT REACHED: {seen.lost}; trying again"
    if line is None:
        return [head]
    governor = line["governor"]
    lines = [f"{head}  release {str(line['release'] or NOTHING)[:12]}  {_clock(seen.moment)}"]
    if "unavailable" in governor:
        lines.append(f"  {governor['unavailable']}")
    else:
        lines += _governor_lines(governor)
    lines += [
        f"  {'changed' if not index else '':<12}{_clock(moment)}  {was} -> {now}  ({why})"
        for index, (moment, was, now, why) in enumerate(reversed(shown.changes))
    ]
    return lines


def _governor_lines(governor: Mapping[str, Any]) -> list[str]:
    settings = governor.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    load, watts = number(governor, "load"), number(governor, "watts")
    budget, ceiling = number(settings, "watts"), number(settings, "temperature_c")
    used = _used(number(governor, "joules"), number(governor, "cpu_seconds"), word(governor, "joules_by"))
    times = ", ".join(f"{name} {written(number(governor, f'{name}_ms'))} ms" for name in ("p50", "p95"))
    counts = [f"{written(number(governor, name), '{:.0f}')} {text}" for name, text in COUNTS]
    filled = round(BAR * min(1.0, max(0.0, load or 0.0)))
    return [
        f"  {'serves':<12}{word(governor, 'rung')}  ({reason(governor)}; mode {word(governor, 'mode')})",
        f"  {'requests':<12}{written(number(governor, 'rate'))}/s, {times}, {', '.join(counts)}",
        f"  {'load':<12}[{'#' * filled}{'.' * (BAR - filled)}] {percent(load)}",
        f"  {'power':<12}{written(watts, '{:.2f}')} W"
        + (f" of {budget:g} W" if budget is not None else ", no budget")
        + ("" if used is None else f"  {used}"),
        f"  {'temperature':<12}{written(number(governor, 'temperature_c'))} C"
        + (f" of {ceiling:g} C" if ceiling is not None else ""),
        f"  {'time':<12}{_shares(governor.get('time_in_rung'))}",
        *(f"  {'PROBLEM':<12}{text}" for text in problems(governor)),
    ]


def _used(joules: float | None, seconds: float | None, by: str) -> str | None:
    """Return the energy that was used, and how that is known; seconds of the processor are no joules."""
    if joules is not None:
        return f"{joules:.1f} J {'' if by == NOTHING else by}".rstrip()
    return None if seconds is None else f"{seconds:.1f} s of processor time (no meter)"


def _shares(times: Any) -> str:
    """Return how the time went to what served."""
    if not isinstance(times, Mapping):
        return NOTHING
    found = {str(name): number(times, name) or 0.0 for name in times}
    total = sum(found.values())
    parts = [f"{name} {seconds / total * 100:.0f} %" for name, seconds in found.items() if total and seconds]
    return (", ".join(parts) or NOTHING) + (f" of {duration(total)}" if total else "")


def _clock(moment: float) -> str:
    """Return the time of day here."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
