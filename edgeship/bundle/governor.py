"""`governor` of service.json: which variants may serve, what each is worth and costs, and how the device decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeship.bundle.parts import BundleParts
from edgeship.bundle.unit import MIB, TIMES_MODEL, most_mb
from edgeship.errors import InputError
from edgeship.pareto import front
from edgeship.quantize.recipes import RECIPES
from edgeship.registry import did_you_mean
from edgeship.score.cascade import Cascade, best_cascade
from edgeship.score.ladder import as_quick
from edgeship.score.quality import Quality, quality_of
from edgeship.values import Variant

Figures = Mapping[str, Mapping[str, Any] | str]
"""Name of a variant -> what was measured on this machine, or why nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Governed:
    """What service.json says under `governor`, and what people should know of it: what was left out, and a cascade."""

    entry: dict[str, Any]
    notes: tuple[str, ...]
    loaded_bytes: int
    """Of the files of the variants that stay loaded, or what comes to the same."""

    @property
    def resident(self) -> dict[str, int]:
        """Name -> bytes of memory that loading it takes, of the variants that stay loaded together."""
        return {row["variant"]: row["memory_bytes"] for row in self.entry["rungs"] if "cascade" not in row}


def is_governed(parts: BundleParts) -> bool:
    """Return whether the bundle gets a governor: it carries a ladder, or the project sets something for one."""
    ladder = len(parts.carried) > 1 and not parts.keeps_state
    return ladder or bool(parts.project.governor.model_fields_set)


def governed(
    parts: BundleParts, entries: Sequence[Mapping[str, Any]], figures: Figures, body_mb: int
) -> Governed:
    """Return the governor of a bundle. `entries`: the variants as service.json has them, in the order of
    `parts.carried`; `body_mb`: what requests take of the service's memory, MiB.

    Raises InputError `unknown-variant` where the project names a variant that the bundle does not carry.
    """
    notes: list[str] = []
    qualities = {v.artifact.name: quality_of(v.scorecard) for v in parts.carried}
    kept = [
        variant
        for variant, entry in zip(parts.carried, entries, strict=True)
        if variant is parts.chosen or _serves(parts, variant, (entry, entries[0]), figures, notes)
    ]
    kept = _on_one_scale(parts, kept, qualities, notes)
    kept = _undominated(parts, kept, qualities, figures, notes)
    kept = _that_fit(parts, kept, figures, (most_mb(parts.profile) - body_mb) * MIB, notes)
    rows = [_row(v.artifact.name, qualities[v.artifact.name], figures) for v in kept]
    cascade = _cascade_row(parts, kept, qualities, figures)
    if cascade:
        notes.append(_told(cascade))
    rows.sort(key=lambda row: (row["seconds"] is None, row["seconds"] or 0.0))
    entry = {
        "settings": _settings(parts),
        "rungs": rows + ([cascade] if cascade else []),
        "sensors": [sensor.model_dump(mode="json") for sensor in parts.profile.sensors],
        "power": _dumped(parts.profile, "power"),
        "thermal": _dumped(parts.profile, "thermal"),
    }
    return Governed(entry=entry, notes=tuple(notes), loaded_bytes=sum(_loaded(v, figures) for v in kept))


def _serves(
    parts: BundleParts,
    variant: Variant,
    entries: tuple[Mapping[str, Any], Mapping[str, Any]],
    figures: Figures,
    notes: list[str],
) -> bool:
    """Return whether a variant can answer in place of the chosen one, whose entry is the second."""
    name, (own, first) = variant.artifact.name, entries
    if parts.keeps_state:
        return False
    if isinstance(said := figures[name], str):
        notes.append(f"{name} does not answer by itself: it could not be timed here ({said})")
        return False
    for side in ("inputs", "outputs"):
        asked = [[(t["name"], t["datatype"], t["shape"]) for t in entry[side]] for entry in (own, first)]
        if asked[0] != asked[1]:
            notes.append(
                f"{name} does not answer by itself: clients would have to know that its {side} differ"
            )
            return False
    return True


def _on_one_scale(
    parts: BundleParts, kept: list[Variant], qualities: dict[str, Quality], notes: list[str]
) -> list[Variant]:
    """Return the variants that are compared by one measure: accuracy where it is known of all, else agreement; those of
    which neither is known are left out."""
    if any(qualities[v.artifact.name].accuracy is None for v in kept):
        for name, quality in qualities.items():
            measure = quality.measure if quality.accuracy is None else "agreement with the float model"
            qualities[name] = Quality(accuracy=None, agreement=quality.agreement, measure=measure)
    found = []
    for variant in kept:
        quality = qualities[variant.artifact.name]
        if variant is parts.chosen or quality.accuracy is not None or quality.agreement is not None:
            found.append(variant)
        else:
            notes.append(
                f"{variant.artifact.name} does not answer by itself: nothing tells how good its answers are"
            )
    chosen = qualities[parts.chosen.artifact.name]
    if chosen.accuracy is None and chosen.agreement is None and len(found) > 1:
        notes.append(f"only {parts.chosen.artifact.name} answers: nothing tells how good its answers are")
        return [parts.chosen]
    return found


def _undominated(
    parts: BundleParts,
    kept: list[Variant],
    qualities: Mapping[str, Quality],
    figures: Figures,
    notes: list[str],
) -> list[Variant]:
    """Return the chosen variant and those that no other beats in quality and time. For another machine than this one a
    smaller file may still be the quicker one, so that it must be beaten in that, too: the device itself has the last
    word."""

    def costs(variant: Variant) -> tuple[float, ...]:
        name, artifact = variant.artifact.name, variant.artifact
        size = 0.0 if parts.profile.measured_here else float(artifact.bytes)
        return (-qualities[name].rank, as_quick(1e3 * _seconds(figures, name)), size)

    best = front(kept, costs)
    for variant in kept:
        if variant not in best and variant is not parts.chosen:
            better = next(
                v for v in best if all(a <= b for a, b in zip(costs(v), costs(variant), strict=True))
            )
            notes.append(
                f"{variant.artifact.name} does not answer by itself: {better.artifact.name} is as accurate and as quick"
            )
    return [variant for variant in kept if variant in best or variant is parts.chosen]


def _loaded(variant: Variant, figures: Figures) -> int:
    """Return the bytes of a file that would take as much memory as the variant does: its own, or more where what was
    measured (which holds the activations, too) is more than TIMES_MODEL of them."""
    measured = figures[variant.artifact.name]
    grown = 0 if isinstance(measured, str) else int(measured["memory_bytes"])
    return max(variant.artifact.bytes, grown // TIMES_MODEL)


def _that_fit(
    parts: BundleParts, kept: list[Variant], figures: Figures, room: int, notes: list[str]
) -> list[Variant]:
    """Return the variants that the service of the target has memory for together (`room`, bytes), the largest left out
    first."""
    found = list(kept)
    while len(found) > 1 and TIMES_MODEL * sum(_loaded(v, figures) for v in found) > room:
        largest = max((v for v in found if v is not parts.chosen), key=lambda v: _loaded(v, figures))
        found.remove(largest)
        notes.append(
            f"{largest.artifact.name} does not answer by itself: {parts.profile.name} has no memory to keep it "
            f"loaded beside {', '.join(v.artifact.name for v in found)}"
        )
    return found


def _row(name: str, quality: Quality, figures: Figures) -> dict[str, Any]:
    measured = figures[name]
    known: Mapping[str, Any] = {} if isinstance(measured, str) else measured
    return {
        "variant": name,
        "accuracy": quality.accuracy,
        "agreement": quality.agreement,
        "measure": quality.measure,
        "seconds": known.get("seconds"),
        "p95_seconds": known.get("p95_seconds"),
        "cold_seconds": known.get("cold_seconds"),
        "threads": known.get("threads", 1),
        "joules": None,
        "memory_bytes": known.get("memory_bytes", 0),
        "measured": "host",
    }


def _cascade_row(
    parts: BundleParts, kept: Sequence[Variant], qualities: Mapping[str, Quality], figures: Figures
) -> dict[str, Any] | None:
    """Return the entry of the best cascade of two of the variants; None where none is worth its place."""
    if parts.answers is None or len(kept) < 2:
        return None
    named = {v.artifact.digest: v.artifact.name for v in kept}
    found = best_cascade(
        {digest: _seconds(figures, name) for digest, name in named.items()},
        {digest: qualities[name].rank for digest, name in named.items()},
        parts.answers,
    )
    if found is None:
        return None
    cascade, seconds = found
    little, big = named[cascade.little], named[cascade.big]
    quality = qualities[big]
    agreement = None if cascade.agreement is None else _rounded(cascade.agreement)
    labelled = quality.accuracy is not None and parts.answers.labels is not None
    rank = max(0.0, min(1.0, quality.rank + cascade.against_big))
    return {
        **_row(f"{little}+{big}", quality, {f"{little}+{big}": "of two"}),
        "cascade": {
            "little": little,
            "big": big,
            "margin": _rounded(cascade.margin),
            "share": _rounded(cascade.share),
        },
        "accuracy": _rounded(rank) if labelled else None,
        "agreement": agreement if labelled else _rounded(rank),
        "measure": _of_two(cascade, quality, parts.answers.about),
        "seconds": _rounded(seconds),
        "threads": max(_threads(figures, name) for name in (little, big)),
        **{key: _both(figures, (little, big), key) for key in ("p95_seconds", "cold_seconds")},
    }


def _told(row: Mapping[str, Any]) -> str:
    """Return what people should know of a cascade that was made."""
    two, known = row["cascade"], "accuracy" if row["accuracy"] is not None else "agreement"
    return (
        f"{two['little']} with {two['big']} behind it, asked for the {100 * two['share']:.2g} % that it is unsure of, "
        f"is a variant more: {known} {100 * row[known]:.4g} % at {1e3 * row['seconds']:.3g} ms here"
    )


def _of_two(cascade: Cascade, quality: Quality, about: str) -> str:
    """Return what stands behind a cascade's figures."""
    gained = 100.0 * cascade.against_big
    return (
        f"{quality.measure}: {abs(gained):.2g} points {'above' if gained > 0 else 'below'} the large one alone "
        f"on the halves of {about} that its margin was not chosen on"
    )


def _both(figures: Figures, names: tuple[str, str], key: str) -> float:
    measured = [figures[name] for name in names]
    return _rounded(sum(float(m[key]) for m in measured if not isinstance(m, str)))


def _seconds(figures: Figures, name: str) -> float:
    measured = figures[name]
    return float("inf") if isinstance(measured, str) else float(measured["seconds"])


def _threads(figures: Figures, name: str) -> int:
    measured = figures[name]
    return 1 if isinstance(measured, str) else int(measured["threads"])


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _settings(parts: BundleParts) -> dict[str, Any]:
    """Return the settings as the project has them, variants by the names that they have in the bundle."""
    settings = parts.project.governor.model_dump(mode="json")
    for part in (settings, *settings["battery"]):
        if part["variant"] is not None:
            part["variant"] = _named(parts, part["variant"])
    return settings


def _named(parts: BundleParts, asked: str) -> str:
    """Return the name of the variant carried that is called so, or the only one of that recipe."""
    names = [v.artifact.name for v in parts.carried]
    if asked in names:
        return asked
    recipe = RECIPES.resolve(asked) if asked in RECIPES else asked
    alike = [v.artifact.name for v in parts.carried if v.artifact.recipe == recipe]
    if len(alike) == 1:
        return alike[0]
    near = did_you_mean(asked, names)
    raise InputError(
        "unknown-variant",
        f"governor.variant: the bundle carries no variant '{asked}'"
        + (f" but {len(alike)}" if alike else ""),
        context={"key": "governor", "it carries": ", ".join(names)},
        hint=f"write governor: {{variant: {near or names[0]}}} in edgeship.yaml",
    )


def _dumped(profile: Any, part: str) -> Any:
    """Return a part of the profile as JSON; None where the profile does not say."""
    value = getattr(profile, part, None)
    return None if value is None else value.model_dump(mode="json")
