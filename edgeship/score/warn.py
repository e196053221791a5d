"""What should worry people about the variant that was chosen: it lost much, and nothing said it may not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.score.gates import AGREEMENT, died
from edgeship.score.parts import worst_of
from edgeship.values import Figure, OutputPart, Unavailable, Variant

LARGE_DROP = 2.0
"""Points, or percent of what the float model has: more is said aloud. Honest int8 loses well under one."""
LARGE_RISE = 10.0
"""Percent that an error may grow by without a word: rounding to 8 bits adds some to any error that is small."""
LEAST_ARGMAX = 0.95
MOST_TIES = 0.2
"""Share of near ties from which samples are no ground to call two models alike."""
LEAST_COSINE = 0.95
LEAST_CORRELATION = 0.9
"""Of the worst part of an output: below, its small values have fewer than about three bits left."""
LEAST_OF_CLASSES = 0.5
"""Where the classes agree: a few samples between two classes lower a correlation that much, noise lowers it more."""
TELLS = "labelled data with --eval would tell"


def warnings(chosen: Variant | None, variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return a line for each thing to worry about; none where a limit was set and says what may be lost.

    What such a limit cannot see is told nevertheless: auc stays where it was when all outputs move to one side of the
    threshold, and of several outputs one has labels.
    """
    if chosen is None:
        return ()
    dead = [part for part in chosen.scorecard.agreement.parts if part.dead]
    accepted = (f"{died(dead)}, which --accept {AGREEMENT} ships all the same",) if dead else ()
    return (*chosen.artifact.warnings, *accepted, *(() if accepted else _losses(chosen, variants)))


def _losses(chosen: Variant, variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return what the chosen variant lost, in a line or none."""
    loss = loss_of(chosen)
    limited = any(gate.name == "accuracy" for gate in chosen.gates)
    if loss is None and (part := _strays_in_part(chosen)) is not None:
        name = chosen.artifact.name
        return (f"{name} follows the float model worst in {part.words}: correlation {part.correlation:.2f}",)
    if loss is None and not limited and (ties := _tied(chosen)):
        return (f"{chosen.artifact.name} {ties}",)
    if loss is None:
        unknown = not limited and _unknown(chosen)
        return (f"how accurate {chosen.artifact.name} is was not measured: {TELLS}",) if unknown else ()
    if limited and not (_decides_otherwise(chosen) or _strays(chosen)):
        return ()
    better = [
        v for v in variants if v is not chosen and v.admitted and loss_of(v) is None and not _unknown(v)
    ]
    words = f"{chosen.artifact.name} {loss}" + ("" if limited else ", and no limit was set")
    if better:
        other = better[0].artifact
        words += f"; {other.name} {_stays(better[0], chosen)}"
        words += "" if other.steps else f": --recipe {other.recipe} takes it"
    else:
        words += "; no other variant is known to be better: look at the calibration data"
    if isinstance(chosen.scorecard.metric.value, Unavailable):
        words += f"; {TELLS} what that costs"
    elif not limited and _dropped(chosen):
        limit = LARGE_RISE if _is_error(chosen) else LARGE_DROP
        words += f"; --max-drop {limit:g} stops what loses more"
    return (words,)


def loss_of(variant: Variant) -> str | None:
    """Return what a variant lost where that is much, in words: by its metric, else by its agreement."""
    metric, agreement = variant.scorecard.metric, variant.scorecard.agreement
    if not isinstance(metric.drop, Unavailable):
        if _dropped(variant):
            error = _is_error(variant)
            unit = "points" if metric.drop_unit == "points" else "%"
            lost = f"{'has' if error else 'loses'} {metric.drop:.4g} {unit} {'more' if error else 'of'} {metric.name}"
            return f"{lost} ({_number(metric.value)}, float {_number(metric.float_value)})"
        if _decides_otherwise(variant):
            return _otherwise(variant)
        return _unlike(variant, "in one of its outputs") if _strays(variant) else None
    if (change := _change(variant)) > LARGE_RISE:
        moved = f"moved {metric.name} by {change:.4g} %, which does not say whether higher is better"
        return f"{moved} ({_number(metric.value)}, float {_number(metric.float_value)})"
    if not isinstance(agreement.argmax, Unavailable):
        if _kept(variant) < LEAST_ARGMAX:
            return _otherwise(variant)
        if _strays(variant):
            return _unlike(variant, "in one of its outputs")
        return _uncorrelated(variant, LEAST_OF_CLASSES)
    if _cosine(variant) < LEAST_COSINE:
        return _unlike(variant, "")
    return _uncorrelated(variant, LEAST_CORRELATION)


def _change(variant: Variant) -> float:
    """Return by how many percent a metric moved of which nobody knows the good direction; 0 for every other."""
    metric = variant.scorecard.metric
    value, was = metric.value, metric.float_value
    if metric.higher_is_better is not None or isinstance(value, Unavailable) or isinstance(was, Unavailable):
        return 0.0
    return 100.0 * abs(value - was) / abs(was) if was else 0.0


def _dropped(variant: Variant) -> bool:
    drop = variant.scorecard.metric.drop
    return not isinstance(drop, Unavailable) and drop > (LARGE_RISE if _is_error(variant) else LARGE_DROP)


def _is_error(variant: Variant) -> bool:
    metric = variant.scorecard.metric
    return metric.drop_unit == "%" and not metric.higher_is_better


def _decides_otherwise(variant: Variant) -> bool:
    """Return whether a metric of ranks is blind to decisions that are others than the float model's."""
    return variant.scorecard.metric.name == "auc" and _kept(variant) < LEAST_ARGMAX


def _kept(variant: Variant) -> float:
    """Return the share of samples that keep the float model's class, of those that it does not leave open; 1.0 where
    it is not known or it leaves all of them open."""
    share, ties = variant.scorecard.agreement.argmax, variant.scorecard.near_ties
    return 1.0 if isinstance(share, Unavailable) or ties >= 1.0 else share / (1.0 - ties)


def _tied(variant: Variant) -> str | None:
    """Return that samples tell little of what was lost: too many got another class that the float model rates alike."""
    metric, ties = variant.scorecard.metric, variant.scorecard.near_ties
    if ties <= MOST_TIES or not isinstance(metric.value, Unavailable):
        return None
    share = _percent(ties)
    return (
        f"puts {share} of the samples into another class than the float model, which rates both alike there "
        f"(nearer than 8 bits can tell): such samples say nothing of what was lost; {TELLS}"
    )


def _strays(variant: Variant) -> bool:
    """Return whether one of several outputs is unlike the float model's; labels are for one of them alone."""
    return len(variant.artifact.signature.outputs) > 1 and _cosine(variant) < LEAST_COSINE


def _strays_in_part(variant: Variant) -> OutputPart | None:
    """Return the worst of several parts where it is far worse than the best of them; no part died here."""
    parts = variant.scorecard.agreement.parts
    known = [p for p in parts if not isinstance(p.correlation, Unavailable)]
    worst = worst_of(parts)
    if worst is None or len(known) < 2 or isinstance(worst.correlation, Unavailable):
        return None
    best = max(p.correlation for p in known if not isinstance(p.correlation, Unavailable))
    return worst if worst.correlation < LEAST_CORRELATION <= best else None


def _cosine(variant: Variant) -> float:
    cosine = variant.scorecard.agreement.cosine
    return 1.0 if isinstance(cosine, Unavailable) else cosine


def _unlike(variant: Variant, where: str) -> str:
    words = " ".join(filter(None, ("answers unlike the float model", where)))
    return f"{words} (cosine {_cosine(variant):.3f} in the worst sample)"


def _uncorrelated(variant: Variant, least: float) -> str | None:
    """Return that outputs do not move with the float model's, in words, where they correlate below `least`.

    What shares of samples and cosines cannot see: beside a class that nearly all samples have, or around a mean far
    from 0, noise agrees, too. Parts of which only some stray are told by name, in `_losses`.
    """
    found = _correlation(variant)
    if isinstance(found, Unavailable) or found >= least or _strays_in_part(variant) is not None:
        return None
    return f"does not follow the float model (correlation {found:.2f})"


def _correlation(variant: Variant) -> Figure:
    """Return the correlation of the worst part of all outputs."""
    worst = worst_of(variant.scorecard.agreement.parts)
    return Unavailable(reason="no part of the outputs was compared") if worst is None else worst.correlation


def _otherwise(variant: Variant) -> str:
    share = _percent(_kept(variant))
    return f"puts only {share} of the samples into the float model's class"


def _unknown(variant: Variant) -> bool:
    """Return whether nothing says how near a variant of fewer bits is to the float model."""
    card = variant.scorecard
    figures = (card.metric.value, card.agreement.argmax, card.agreement.cosine, _correlation(variant))
    return variant.artifact.precision.weights != "float32" and all(
        isinstance(f, Unavailable) for f in figures
    )


def _stays(variant: Variant, chosen: Variant) -> str:
    """Return how a better variant does in what the chosen one is bad at."""
    metric, agreement = variant.scorecard.metric, variant.scorecard.agreement
    if _dropped(chosen) or _change(chosen):
        return f"has {metric.name} {_number(metric.value)}"
    if _kept(chosen) < LEAST_ARGMAX:
        return f"agrees in {_percent(agreement.argmax)}"
    by_classes = not isinstance(chosen.scorecard.agreement.argmax, Unavailable) and not _strays(chosen)
    if by_classes or _cosine(chosen) >= LEAST_COSINE:
        return f"has correlation {_number(_correlation(variant))}"
    return f"has cosine {_number(agreement.cosine)}"


def _number(value: Figure) -> str:
    return "not known" if isinstance(value, Unavailable) else f"{value:.4g}"


def _percent(share: Figure) -> str:
    return "not known" if isinstance(share, Unavailable) else f"{100 * share:.1f} %"
