"""The choice between variants: the best one, and why. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeship.score.gates import AGREEMENT
from edgeship.values import Figure, Goals, Unavailable, Variant

AS_QUICK = 1.1
"""Two p50 latencies nearer than this ratio are one latency: medians of the same file differ by some percent."""
AS_QUICK_MS = 0.05
"""And so are two nearer than this, milliseconds: below it, calling the model costs more than running it."""


def choose_best(
    variants: Sequence[Variant], wants: Sequence[str], goals: Goals, *, measured_here: bool = False
) -> tuple[Variant | None, str]:
    """Return the variant to run and why, or None and the best that was found.

    Among the variants that no gate stopped, the first recipe in `wants` (canonical names, best first) is
    taken: what is fast on a target is a fact of the target, and latency on this machine would choose wrongly
    for it. Recipes that are not in `wants` come after, smallest drop first, then smallest file. Where this
    machine is the target (`measured_here`), what was measured comes first: only variants as quick as the quickest
    are left to choose from. `goals` only adds to the words.
    """
    admitted = [v for v in variants if v.admitted]
    if admitted:
        quick = _quickest(admitted) if measured_here else admitted
        best = min(quick, key=lambda v: _preference(v, wants))
        return best, _why(best, variants, wants, goals) + _rests_on(best, admitted, wants, measured_here)
    if not variants:
        return None, "there is no variant to choose from"
    nearest = min(variants, key=_shortfall)
    failures = "; ".join(g.reason for g in nearest.gates if g.stops)
    asked = ", ".join(_goals(goals)) or "every gate"
    told = f"no variant meets {asked}; best found: {describe(nearest)}: {failures}"
    if all(g.name == AGREEMENT for g in nearest.gates if g.stops):
        told += f"; --accept {AGREEMENT} ships it all the same"
    return None, told


def describe(variant: Variant) -> str:
    """Return a variant in a few words with what was measured: its name, metric beside the float model's, bytes,
    p50.
    """
    metric = variant.scorecard.metric
    parts = [variant.artifact.name]
    if isinstance(metric.value, Unavailable):
        parts.append(f"{metric.name} not known")
    else:
        beside = "" if isinstance(metric.float_value, Unavailable) else f" (float {metric.float_value:.4g})"
        parts.append(f"{metric.name} {metric.value:.4g}{beside}")
    parts.append(f"{variant.artifact.bytes:,} bytes")
    p50 = variant.scorecard.latency_ms.p50
    if not isinstance(p50, Unavailable):
        parts.append(f"p50 {p50:.3g} ms on this machine")
    return ", ".join(parts)


def _why(best: Variant, variants: Sequence[Variant], wants: Sequence[str], goals: Goals) -> str:
    recipe = best.artifact.recipe
    made_of = {v.artifact.recipe for v in variants}
    stopped = [v for w in wants for v in variants if v.artifact.recipe == w and not v.admitted]
    text = describe(best)
    unknown = [g.name for g in best.gates if g.verdict in ("no-data", "inconclusive")]
    gates = _of_gates(unknown, goals)
    if recipe in wants:
        earlier = [v for v in stopped if wants.index(v.artifact.recipe) < wants.index(recipe)]
        place = "the best of what the target wants"
        if recipe == wants[0]:
            place = "what the target wants first"
        elif len(variants) == 1:
            place = "the only variant there is"
        elif wants[0] not in made_of:
            place = f"the best of what was made; the target wants {wants[0]} first"
        if earlier:
            reason = next(g.reason for g in earlier[0].gates if g.stops)
            return f"{text}: {place} after {earlier[0].artifact.name} was stopped ({reason}); {gates}"
        return f"{text}: {place}; {gates}"
    made = "the only variant there is" if len(variants) == 1 else "smallest drop of the recipes made"
    return f"{text}: {made}; {gates}"


def _quickest(admitted: Sequence[Variant]) -> list[Variant]:
    """Return the variants whose p50 is as good as the smallest; all, where none could be measured."""
    least = min(cost(v.scorecard.latency_ms.p50) for v in admitted)
    limit = max(least * AS_QUICK, least + AS_QUICK_MS)
    return [v for v in admitted if cost(v.scorecard.latency_ms.p50) <= limit]


def _rests_on(best: Variant, admitted: Sequence[Variant], wants: Sequence[str], measured_here: bool) -> str:
    """Return what the choice of the latency rests on, in words that follow the reason."""
    if len(admitted) < 2:
        return ""
    if not measured_here:
        return "; the order is the target's, nothing was measured there"
    first = min(admitted, key=lambda v: _preference(v, wants))
    mine, other = best.scorecard.latency_ms.p50, first.scorecard.latency_ms.p50
    if isinstance(mine, Unavailable):
        return "; the order is the target's, nothing could be measured"
    if first is best or isinstance(other, Unavailable):
        return "; measured on this machine, which is the target"
    return (
        f"; measured on this machine, which is the target: {first.artifact.name} takes {other:.3g} ms, "
        f"{other / mine:.1f} times as long"
    )


def _of_gates(unknown: Sequence[str], goals: Goals) -> str:
    """Return what the gates said of the chosen one: a pass is worth as much as what was asked."""
    said = (
        "passes every gate" if not unknown else f"no gate stops it ({', '.join(unknown)} could not be told)"
    )
    if not _goals(goals):
        return "no goal was set" if not unknown else f"no goal was set; {said}"
    return said if goals.max_drop is not None else f"{said}, none of them on accuracy"


def _preference(variant: Variant, wants: Sequence[str]) -> tuple[float, float, int, str]:
    recipe = variant.artifact.recipe
    place = wants.index(recipe) if recipe in wants else len(wants)
    return place, cost(variant.scorecard.metric.drop), variant.artifact.bytes, variant.artifact.name


def _shortfall(variant: Variant) -> tuple[int, float, int, str]:
    """Order for the best found: fewest failed gates, then the smallest excess over a limit, then bytes."""
    failed = [g for g in variant.gates if g.stops]
    excess = 0.0
    for g in failed:
        if isinstance(g.value, Unavailable) or isinstance(g.limit, Unavailable):
            excess = math.inf
        else:
            excess = max(excess, (g.value - g.limit) / max(abs(g.limit), 1e-9))
    return len(failed), excess, variant.artifact.bytes, variant.artifact.name


def _goals(goals: Goals) -> list[str]:
    named = (
        ("drop", goals.max_drop, ""),
        ("size", goals.max_kb, " kB"),
        ("download", goals.max_download_kb, " kB"),
        ("latency", goals.max_ms, " ms"),
        ("memory", goals.max_rss_mb, " MiB"),
    )
    return [f"{name} <= {limit:g}{unit}" for name, limit, unit in named if limit is not None]


def cost(figure: Figure) -> float:
    """Return a figure to compare by: infinite where it is not known."""
    return math.inf if isinstance(figure, Unavailable) or figure != figure else figure
