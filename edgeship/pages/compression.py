"""The page of a search: one HTML file made of the document `edgeship.compress/1`, and of nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.pages.candidates import Shown, candidates, measured
from edgeship.pages.figures import kilobytes, milliseconds, minutes, number, plain, shown, why
from edgeship.pages.kept_plots import kept_plots
from edgeship.pages.plots import Axes, Bar, Row, Spot, pareto, rows
from edgeship.pages.svg import Told, tip_rules
from edgeship.pages.template import clean, render_page

AT_ONCE = 22
"""Rows of one plot at most: more would not fit a sheet of paper."""
GOALS = (
    ("max_drop", "loses at most", ""),
    ("max_kb", "file", "kB"),
    ("max_download_kb", "download", "kB"),
    ("max_ms", "p50 latency", "ms"),
    ("max_rss_mb", "peak memory", "MiB"),
)
ROLES = {
    "train": "trained on",
    "calibration": "ranges calibrated with",
    "held_out": "candidates chosen by",
    "evaluation": "reported figures; chose nothing",
}


def page(document: dict[str, Any], kept: Path | None = None) -> str:
    """Return the page of an `edgeship.compress/1` document: HTML that asks for nothing from elsewhere and needs no
    scripts. The same document gives the same text, with the same version of matplotlib.

    `kept` is a folder where plots stay: what differs in nothing but the time the search took has the same.
    """
    document = clean(document)
    found = candidates(document)

    def draw() -> dict[str, Any]:
        return all_plots(found, document)

    plots = kept_plots(document, kept, draw) if kept else draw()
    return render_page(
        "compression.html.j2",
        {
            "document": document,
            "candidates": found,
            "chosen": next((c for c in found if c.chosen), None),
            "controls": controls(found, document),
            "unit": drop_unit(document),
            "measured": measured,
            "metric": found[0].entry["metric"]["name"] if found else "metric",
            "quality": quality_of(found),
            **plots,
            "goals": goals(document),
            "roles": ROLES,
            "deploy": deploy_command(document),
            "noise_of": noise_of,
            "most": AT_ONCE,
            "breaking": breaking,
            "kilobytes": kilobytes,
            "minutes": minutes,
            "plain": plain,
            "shown": shown,
            "number": number,
            "why": why,
        },
    )


def breaking(name: str) -> str:
    """Return a candidate's name that a line may end in behind each step and each setting."""
    return name.replace("+", "+\u200b").replace(",", ",\u200b")


def all_plots(found: Sequence[Shown], document: dict[str, Any]) -> dict[str, Any]:
    """Return every plot of the page and the style rules of their tips, by what the template calls them."""
    costs, told = cost_plots(found, document)
    return {
        "costs": costs,
        "tips": "".join(tip_rules(f"{name}-", each) for name, each in told),
        "accuracy": accuracy_plots(found, document),
        "sizes": size_plots(found),
        "latencies": latency_plots(found),
        "spent": spent_plots(found),
        "sensitive": sensitivity_plots(document),
    }


def quality_of(found: Sequence[Shown]) -> str:
    """Return what the quality of candidates is, as an axis says it."""
    if not found:
        return ""
    entry = found[0].entry["metric"]
    known = any(number(c.entry["metric"]["held_out"].get("value")) is not None for c in found)
    if not known:
        return "says what float says, %"
    percent = ", %" if entry["drop_unit"] == "points" else ""
    return f"{entry['name']} held-out{percent}"


def drop_unit(document: dict[str, Any]) -> str:
    """Return what drops are counted in."""
    return next((str(v["metric"]["drop_unit"]) for v in document["variants"]), "points")


def least_quality(document: dict[str, Any], role: str = "held_out") -> float | None:
    """Return the metric that the goals ask for at least (at most, of an error); None where they do not."""
    allowed = number(document["goals"].get("max_drop"))
    for entry in document["variants"]:
        metric = entry["metric"]
        reference = number(metric[role].get("float"))
        if reference is None or allowed is None:
            continue
        sign = -1 if metric["higher_is_better"] is False else 1
        lost = allowed if metric["drop_unit"] == "points" else abs(reference) * allowed / 100
        return reference - sign * lost
    return None


def cost_plots(
    found: Sequence[Shown], document: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[tuple[str, tuple[Told, ...]]]]:
    """Return the plots of the quality against each cost with their captions, and what their points tell."""
    wanted = (
        ("download", "download, kB", "max_download_kb", lambda e: e["bytes_compressed"] / 1000),
        ("latency", "p50 latency, ms", "max_ms", lambda e: number(e["latency_ms"]["p50"])),
        ("file", "file, kB", "max_kb", lambda e: e["bytes"] / 1000),
    )
    higher = not any(c.entry["metric"]["higher_is_better"] is False for c in found)
    plots, told = [], []
    for name, label, goal, cost in wanted:
        spots = [spot for c in found if (spot := _spot(c, cost(c.entry))) is not None]
        if not spots:
            continue
        axes = Axes(
            name=name,
            title=f"{quality_of(found)} against {label}: {len(spots)} candidates",
            x=label,
            y=quality_of(found),
            x_limit=number(document["goals"].get(goal)),
            y_limit=least_quality(document),
            higher=higher,
        )
        svg, points, beyond = pareto(spots, axes)
        plots.append({"svg": svg, "label": label, "beyond": beyond})
        told.append((name, points))
    return plots, told


def _spot(c: Shown, cost: float | None) -> Spot | None:
    if cost is None or c.quality is None:
        return None
    return Spot(
        key=str(c.key), x=cost, y=c.quality, low=c.low, high=c.high, rung=c.entry["pareto"],
        control=c.entry["control"], chosen=c.chosen, admitted=c.entry["admitted"], lines=c.lines,
    )  # fmt: skip


def parts(
    entries: Sequence[Row],
    name: str,
    title: str,
    unit: str,
    *,
    lines: Sequence[float] = (),
    marks: bool = False,
) -> list[str]:
    """Return rows as plots that each fit a sheet."""
    return [
        rows(
            entries[k : k + AT_ONCE],
            name=f"{name}{k // AT_ONCE}",
            title=title,
            unit=unit,
            lines=lines,
            marks=marks,
        )
        for k in range(0, len(entries), AT_ONCE)
    ]


def accuracy_plots(found: Sequence[Shown], document: dict[str, Any]) -> list[str]:
    """Return the metric of every candidate with its interval, best first: held-out, and evaluation below it."""
    higher = not any(c.entry["metric"]["higher_is_better"] is False for c in found)
    known = sorted(
        (c for c in found if c.quality is not None), key=lambda c: c.quality or 0.0, reverse=higher
    )
    entries = []
    for c in known:
        said = c.held_out if c.held_out != "–" else f"{c.quality:.1f}"
        bars = [Bar(value=c.quality or 0.0, text=said, low=c.low, high=c.high)]
        evaluated = c.entry["metric"]["evaluation"]
        if (value := number(evaluated.get("value"))) is not None:
            bars.append(
                Bar(value=value, text="", low=number(evaluated["low"]), high=number(evaluated["high"]))
            )
        entries.append(Row(name=_named(c), bars=tuple(bars), marked=c.chosen))
    limit = least_quality(document)
    title = "The metric of every candidate with its interval; the figures are in the table of candidates"
    return parts(
        entries, "accuracy", title, quality_of(found), lines=() if limit is None else (limit,), marks=True
    )


def _named(c: Shown) -> str:
    return f"{c.key} {c.name}"


def size_plots(found: Sequence[Shown]) -> list[str]:
    """Return file and download of every candidate, smallest download first."""
    entries = [
        Row(
            name=_named(c),
            bars=(
                Bar(value=c.entry["bytes"] / 1000, text=f"{c.entry['bytes'] / 1000:.1f}"),
                Bar(value=c.entry["bytes_compressed"] / 1000, text=f"{c.entry['bytes_compressed'] / 1000:.1f} /"),
            ),
            marked=c.chosen,
        )
        for c in sorted(found, key=lambda c: c.entry["bytes_compressed"])
    ]  # fmt: skip
    title = "Download and file of every candidate; the figures are in the table of candidates"
    return parts(entries, "size", title, "download / file, kB")


def latency_plots(found: Sequence[Shown]) -> list[str]:
    """Return p50 of every candidate that was timed, quickest first."""
    timed = [(v, c) for c in found if (v := number(c.entry["latency_ms"]["p50"])) is not None]
    entries = [
        Row(name=_named(c), bars=(Bar(value=v, text=milliseconds(v)),), marked=c.chosen)
        for v, c in sorted(timed, key=lambda pair: (pair[0], pair[1].key))
    ]
    title = "Median latency of every candidate; the figures are in the table of candidates"
    return parts(entries, "time", title, "p50 latency, ms")


def spent_plots(found: Sequence[Shown]) -> list[str]:
    """Return the minutes that each candidate cost, the dearest first."""
    entries = [
        Row(
            name=_named(c),
            bars=(Bar(value=c.entry["seconds"] / 60, text=minutes(c.entry["seconds"])),),
            marked=c.chosen,
        )
        for c in sorted(found, key=lambda c: -c.entry["seconds"])
    ]  # fmt: skip
    title = "Time that each candidate cost; the figures are in the table of candidates"
    return parts(entries, "spent", title, "minutes")


def noise_of(snr_db: Any) -> float | None:
    """Return noise in percent of the signal (their powers), of decibels; None where they are not known."""
    known = number(snr_db)
    return None if known is None else 100 * 10 ** (-known / 10)


def sensitivity_plots(document: dict[str, Any]) -> list[str]:
    """Return the noise that quantizing each layer alone makes, in the order of the graph; of many layers those with
    most."""
    found = [(e, noise) for e in layers_of(document) if (noise := noise_of(e["alone_snr_db"])) is not None]
    least = sorted((noise for _, noise in found), reverse=True)[:AT_ONCE][-1:]
    entries = [
        Row(name=f"{e['layer']} ({e['op']})", bars=(Bar(value=noise, text=f"{noise:.2g}"),))
        for e, noise in found
        if noise >= least[0]
    ]
    title = "Noise that quantizing each layer alone makes; the figures are in the table beside it"
    return parts(entries[:AT_ONCE], "layer", title, "noise by it alone, % of the signal")


def layers_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the layers that a document tells of."""
    layers: list[dict[str, Any]] = (document.get("sensitivity") or {}).get("layers", [])
    return layers


def controls(found: Sequence[Shown], document: dict[str, Any]) -> list[Shown]:
    """Return what to compare with: plain recipes and what was fine-tuned and not compressed."""
    return [c for c in found if c.entry["control"] or not c.entry["steps"]]


def goals(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (what, limit) of every goal that was asked for."""
    asked = []
    for name, label, unit in GOALS:
        value = number(document["goals"].get(name))
        if value is not None:
            asked.append((label, f"{value:g} {unit or drop_unit(document)}"))
    return asked


def deploy_command(document: dict[str, Any]) -> str | None:
    """Return what brings the bundle to a device, typed in the folder of the page; None where there is no bundle."""
    bundle = document["bundle"]
    if not isinstance(bundle, str):
        return None
    safe = f"./{bundle}" if bundle.startswith("-") else bundle
    return f"edgeship deploy {shlex.quote(safe)} --host "
