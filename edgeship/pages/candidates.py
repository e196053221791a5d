"""Candidates of `edgeship.compress/1` as a page tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeship.pages.figures import kilobytes, milliseconds, minutes, number, plain, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A candidate with its number in the tables, and its figures as text."""

    key: int
    entry: dict[str, Any]
    chosen: bool
    quality: float | None
    """What it was chosen by, the metric on held-out data; else how often it says what the float model says, percent."""
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def role(self) -> str:
        """What it is in the search, in a word or two; nothing of most."""
        if self.chosen:
            return "chosen"
        return "control" if self.entry["control"] else "ladder" if self.entry["pareto"] else ""

    @property
    def held_out(self) -> str:
        return measured(self.entry["metric"]["held_out"])

    @property
    def evaluation(self) -> str:
        return measured(self.entry["metric"]["evaluation"])

    @property
    def drop(self) -> str:
        """What it loses on evaluation data; where it was not evaluated, on held-out data, which then is said."""
        evaluated = self.entry["metric"]["evaluation"].get("drop")
        return (
            plain(evaluated)
            if number(evaluated) is not None
            else f"({plain(self.entry['metric']['held_out'].get('drop'))})"
        )

    @property
    def download(self) -> str:
        return kilobytes(self.entry["bytes_compressed"])

    @property
    def file(self) -> str:
        return kilobytes(self.entry["bytes"])

    @property
    def latency(self) -> str:
        return milliseconds(self.entry["latency_ms"]["p50"])

    @property
    def memory(self) -> str:
        return shown(self.entry["peak_rss_mb"], 1)

    @property
    def zeros(self) -> str:
        return f"{self.entry['sparsity']:.1%}"

    @property
    def values(self) -> str:
        return f"{self.entry['unique_weights']:,}"

    @property
    def time(self) -> str:
        return minutes(self.entry["seconds"])

    @property
    def steps(self) -> str:
        """Labels of its steps, first to last, and the recipe."""
        return " → ".join([*(str(s["label"]) for s in self.entry["steps"]), str(self.entry["recipe"])])

    @property
    def stopped(self) -> list[str]:
        """Why it may not be used, a sentence each."""
        return [str(g["reason"]) for g in self.entry["gates"] if g["verdict"] in ("fail", "no-data")]

    @property
    def lines(self) -> tuple[str, ...]:
        """What its point in a plot tells."""
        metric = self.entry["metric"]["name"]
        told = [
            f"{self.key}. {self.name}" + (f" ({self.role})" if self.role else ""),
            f"steps: {self.steps}",
            f"{metric} held-out: {self.held_out}",
            f"{metric} evaluation: {self.evaluation}",
            f"download {self.download}, file {self.file}",
            f"p50 {self.latency} ms, memory {self.memory} MiB",
            f"{self.zeros} zeros, {self.values} values",
        ]
        return (*told, *(["not admitted"] if not self.entry["admitted"] else []))


def measured(value: dict[str, Any]) -> str:
    """Return a metric with its interval; a dash where there is none."""
    known = number(value.get("value"))
    low, high = number(value.get("low")), number(value.get("high"))
    if known is None:
        return "–"
    between = f" ({low:.1f}–{high:.1f})" if low is not None and high is not None else ""
    return (f"{known:.1f}" if between else f"{known:.4g}") + between


def candidates(document: dict[str, Any]) -> list[Shown]:
    """Return the candidates of a document, numbered in its order."""
    held = [entry["metric"]["held_out"] for entry in document["variants"]]
    by_metric = any(number(value.get("value")) is not None for value in held)
    found = []
    for key, (entry, value) in enumerate(zip(document["variants"], held, strict=True), 1):
        agreement = number(entry["agreement"]["argmax"])
        quality = number(value.get("value")) if by_metric else None
        if not by_metric and agreement is not None:
            quality = 100 * agreement
        chosen = isinstance(document["chosen"], str) and entry["file"] == document["chosen"]
        found.append(
            Shown(
                key=key,
                entry=entry,
                chosen=chosen,
                quality=quality,
                low=number(value.get("low")) if by_metric else None,
                high=number(value.get("high")) if by_metric else None,
            )
        )
    return found
