"""What a candidate is worth: its costs, the ladder, the one that is chosen and why. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgeship.compress.plan import Planned
from edgeship.pareto import front
from edgeship.project import Project
from edgeship.score.choice import cost
from edgeship.score.gates import gate
from edgeship.score.interval import LOST, expected_drop
from edgeship.score.ladder import as_quick
from edgeship.values import Figure, Goals, Scorecard, Tried, Unavailable

SAME = 1 - 1e-6
"""Cosine of outputs that are the float model's but for rounding: nothing is lost that more samples would show."""
PREFERENCES = {"download": 1, "file": 2, "latency": 3, "accuracy": 0}
"""What is preferred -> its place among the costs."""


def brief(tried: Tried) -> str:
    """Return a candidate in a few words: what it loses, its download, its latency."""
    assert tried.variant is not None and tried.contents is not None
    metric = tried.variant.scorecard.metric
    agreement = tried.variant.scorecard.agreement
    parts = [f"{tried.contents.download / 1000:.1f} kB to download"]
    if not isinstance(metric.value, Unavailable):
        value = f"{metric.value:.2f}" if metric.drop_unit == "points" else f"{metric.value:.4g}"
        parts.insert(0, f"{metric.name} {value}")
    elif not isinstance(agreement.argmax, Unavailable):
        parts.insert(0, f"{agreement.argmax:.1%} as the float model")
    elif not isinstance(agreement.cosine, Unavailable):
        parts.insert(0, f"cosine {agreement.cosine:.4f} beside the float model")
    return ", ".join(parts)


def costs_of(tried: Tried) -> tuple[float, ...] | None:
    """Return (loss, download, bytes, latency) of a candidate, less is better; None where it was not made.

    Latencies that are one are one (`as_quick`).
    """
    if tried.variant is None or tried.contents is None:
        return None
    return (
        math.inf if tried.loss is None else round(tried.loss, 6),
        float(tried.contents.download),
        float(tried.variant.artifact.bytes),
        as_quick(tried.variant.scorecard.latency_ms.p50),
    )


def loss_of(card: Scorecard, count: int) -> Figure:
    """Return what a file is expected to lose by a scorecard on `count` held-out samples: the metric's drop, made
    surer by how many samples get another class (`expected_drop`), else the share of these that is lost in the end, else
    what the cosine lacks, in percent."""
    agreement = card.agreement
    if not isinstance(card.metric.drop, Unavailable):
        if not isinstance(agreement.cosine, Unavailable) and agreement.cosine > SAME:
            return card.metric.drop
        return expected_drop(card.metric, agreement.argmax, count)
    if not isinstance(agreement.argmax, Unavailable):
        return 100 * LOST * (1 - agreement.argmax)
    return agreement.cosine if isinstance(agreement.cosine, Unavailable) else 100 * (1 - agreement.cosine)


def weighed(tried: Tried, count: int, goals: Goals) -> Tried:
    """Return a candidate with its expected loss, and the gate on accuracy judged by that: where there are no labels by
    agreement with the float model."""
    if tried.variant is None:
        return tried
    card = tried.variant.scorecard
    loss = loss_of(card, count)
    gates = tried.variant.gates
    labelled = card.evaluation_sha256 is not None
    if goals.max_drop is not None and not (labelled and isinstance(card.metric.drop, Unavailable)):
        unit = " points" if card.metric.drop_unit == "points" else " %"
        what = (
            f"expected {card.metric.name} drop" if labelled else "drop expected from the agreement with float"
        )
        result = gate("accuracy", goals.max_drop, loss, what, unit)
        gates = tuple(result if told.name == "accuracy" else told for told in gates)
    return replace(
        tried,
        loss=None if isinstance(loss, Unavailable) or loss != loss else loss,
        variant=replace(tried.variant, gates=gates),
    )


def needless(planned: Planned, results: Sequence[Tried], project: Project) -> bool:
    """Return whether a candidate would only take back what its plain recipe does not lose."""
    if not planned.remedy:
        return False
    limit = project.file.compress.max_drop if project.goals.max_drop is None else project.goals.max_drop
    recipe = planned.candidate.recipe
    plain = [t for t in results if not t.candidate.steps and t.candidate.recipe == recipe]
    return any(t.loss is not None and t.loss <= limit for t in plain)


def ladder_of(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Return the admitted candidates that no other beats in accuracy, download, file and latency."""
    useful = [
        (t, costs) for t in tried if t.admitted and not t.control and (costs := costs_of(t)) is not None
    ]
    return tuple(t for t, _ in front(useful, lambda pair: pair[1]))


def chosen_of(tried: Sequence[Tried], project: Project) -> tuple[Tried | None, str]:
    """Return the candidate to ship and why, or None and the nearest one with what it lacks."""
    prefer = project.file.compress.prefer
    ladder = ladder_of(tried)
    made = [t for t in tried if t.variant is not None and not t.control]
    if not made:
        why = next((t.failed for t in tried if t.failed), "there was no time for any")
        return None, f"no candidate could be made: {why}"
    place = PREFERENCES[prefer]

    def order(t: Tried) -> tuple[float, ...]:
        costs = costs_of(t) or ()
        return costs[place], *costs

    if ladder:
        best = min(ladder, key=order)
        plain = [t for t in made if not t.candidate.steps]
        words = f"{best.candidate.name}: {PREFERRED[prefer]} of {len(made)} that were tried within the goals"
        if plain and plain[0] is not best and plain[0].contents and best.contents:
            words += f"; {beside(best, plain[0])}"
        return best, words
    nearest = min(made, key=lambda t: (_missed(t), order(t)))
    assert nearest.variant is not None
    lacks = "; ".join(gate.reason for gate in nearest.variant.gates if gate.stops)
    return None, f"no candidate meets the goals; nearest: {nearest.candidate.name}, {brief(nearest)}: {lacks}"


PREFERRED = {
    "download": "the smallest download",
    "file": "the smallest file",
    "latency": "the quickest",
    "accuracy": "the most accurate",
}


def beside(best: Tried, plain: Tried) -> str:
    """Return in words how a candidate compares with the plain recipe that it ends in."""
    assert best.contents and plain.contents and best.variant and plain.variant
    download = _sized(best.contents.download, plain.contents.download)
    file = _sized(best.variant.artifact.bytes, plain.variant.artifact.bytes)
    size = f"download {download} and file {file}"
    words = (
        f"beside plain {plain.candidate.recipe}: {size if download != file else f'download and file {file}'}"
    )
    if best.loss is None or plain.loss is None:
        return words
    metric, lost = best.variant.scorecard.metric, best.loss - plain.loss
    if abs(lost) < 0.005:
        return f"{words}, as accurate as far as held-out samples tell"
    unit = "points" if metric.drop_unit == "points" else f"% of {metric.name}"
    return (
        f"{words}, {abs(lost):.2f} {unit} {'worse' if lost > 0 else 'better'} as far as held-out samples tell"
    )


def _sized(size: int, other: int) -> str:
    """Return in words how a size compares with another."""
    if size == other:
        return "as large"
    less, ratio = size < other, max(size, other) / min(size, other)
    by = f"{ratio:.2f} times" if ratio > 1.1 else f"{abs(1 - size / other):.1%}"
    return f"{by} {'smaller' if less else 'larger'}"


def _missed(tried: Tried) -> float:
    """Return by what share the worst limit is missed."""
    assert tried.variant is not None
    worst = 0.0
    for told in tried.variant.gates:
        if told.stops:
            value, limit = cost(told.value), cost(told.limit)
            worst = max(worst, (value - limit) / max(abs(limit), 1e-9))
    return worst


def confirmed(chosen: Tried | None, goals: Goals) -> str:
    """Return why the chosen candidate does not keep on evaluation data what it kept on held-out data; empty:
    it does."""
    card = chosen.evaluated if chosen else None
    if card is None or goals.max_drop is None or isinstance(card.metric.drop, Unavailable):
        return ""
    result = gate("accuracy", goals.max_drop, card.metric.drop, f"{card.metric.name} drop", "")
    if not result.stops:
        return ""
    return (
        f"on the evaluation data, which nothing was chosen by, it does not hold: {result.reason}; more --train data "
        f"makes the choice surer, --max-drop {math.ceil(10 * card.metric.drop) / 10:g} takes it as it is"
    )
