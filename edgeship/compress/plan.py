"""What to try: the chains that people name, or those that usually help, cheap ones first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeship.compress.methods import rows_by_name, step_of
from edgeship.errors import InputError
from edgeship.values import Candidate, Step

Stage = Literal["plain", "quick", "training"]
PROBE = 4
"""A probe trains this many times shorter than the whole."""
CONTROL = "finetune"
USUAL: tuple[tuple[str, ...], ...] = (
    ("cluster-16",),
    ("cluster-8",),
    ("prune-50", "cluster-16"),
    ("prune-50", "qat-int8"),
    ("low-rank-50", "distill", "qat-int8"),
    ("low-rank-40", "distill", "cluster-16"),
    ("channels-30", "distill", "qat-int8"),
    ("student-depth-1", "distill", "qat-int8"),
    ("round-int4", "qat-int4"),
)
"""Chains that are tried where none is named, but for those that end in a recipe which the target does not take."""
QUICK: tuple[tuple[str, ...], ...] = (
    ("rewrite",),
    ("equalise",),
    ("round-int8",),
    ("equalise", "round-int8"),
    ("round-int4",),
    ("mixed-float",),
    ("mixed-int16x8",),
    ("mixed-int8",),
)
"""The same, of those that take seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A candidate to try, and when."""

    candidate: Candidate
    stage: Stage
    named: bool
    """Whether a person asked for it: it is done in full, whatever a probe of others says."""

    @property
    def remedy(self) -> bool:
        """Whether it only takes back what its recipe loses, and nobody asked for it."""
        return not self.named and any(rows_by_name()[step.method].measured for step in self.candidate.steps)

    @property
    def control(self) -> bool:
        """Whether it is there to compare with."""
        return [s.method for s in self.candidate.steps if s.method != "rewrite"] == [CONTROL]


def chain_of(text: str, *, seed: int) -> tuple[Step, ...]:
    """Return the steps of a chain as people write it: `channels-30+prune-60+qat-int8`. Raises as `step_of`, and
    InputError `bad-chain` where steps cannot follow one another."""
    steps = tuple(step_of(label.strip(), seed=seed) for label in text.split("+"))
    rows = rows_by_name()
    fine = ""
    for place, step in enumerate(steps):
        if rows[step.method].measured and place + 1 < len(steps):
            raise InputError(
                "bad-chain",
                f"--method {text}: {step.label} looks at what quantizing costs in the end, so nothing comes after it",
                hint=f"--method {'+'.join(s.label for s in (*(s for s in steps if s is not step), step))}",
            )
        if rows[step.method].structural and fine:
            raise InputError(
                "bad-chain",
                f"--method {text}: {step.label} takes layers apart, and {fine} before it would be undone",
                hint=f"--method {'+'.join(s.label for s in (step, *(s for s in steps if s is not step)))}",
            )
        if not rows[step.method].structural and step.method not in ("distill", CONTROL):
            fine = step.label
    return steps


def planned(
    chains: Sequence[str],
    recipes: Sequence[str],
    *,
    samples: bool,
    seed: int,
    first: Sequence[str] = (),
    controls: bool = True,
) -> tuple[Planned, ...]:
    """Return what to try, in order: every recipe as it is, then the chains that are named, or the usual ones.

    `recipes` are those the target takes (canonical names, best first), of which a chain ends in the one that its
    last step is for, else in the first one of whole integers, else in the first. `samples` says whether there is
    anything to train on; `first` are labels of rewrites that every usual chain and the control begin with, since the
    target needs them.
    """
    found = [Planned(candidate=Candidate(recipe=r), stage="plain", named=True) for r in recipes]
    rows = rows_by_name()
    usual = [chain for chain in (*QUICK, *USUAL) if all(_method(label) in rows for label in chain)]
    usual = [tuple(first), *((*first, *chain) for chain in usual)] if first else usual
    texts = [(text, True) for text in chains] or [("+".join(chain), False) for chain in usual]
    trained = False
    for text, named in texts:
        steps = chain_of(text, seed=seed)
        recipe = recipe_for(steps, recipes)
        needs = any(rows[step.method].needs != "nothing" for step in steps)
        if recipe is None or (needs and not samples):
            if named:
                _refuse(text, recipes, lacks_samples=needs and not samples)
            continue
        training = any("epochs" in dict(step.settings) for step in steps)
        trained = trained or training
        candidate = Candidate(steps=steps, recipe=recipe)
        found.append(Planned(candidate=candidate, stage="training" if training else "quick", named=named))
    if trained and controls and not any(p.control for p in found):
        control = chain_of("+".join((*first, CONTROL)), seed=seed)
        recipe = recipe_for(control, recipes)
        if recipe is not None:
            found.append(
                Planned(candidate=Candidate(steps=control, recipe=recipe), stage="training", named=True)
            )
    order: dict[Stage, int] = {"plain": 0, "quick": 1, "training": 2}
    unique: dict[str, Planned] = {}
    for one in found:
        unique.setdefault(one.candidate.digest, one)
    return tuple(sorted(unique.values(), key=lambda p: order[p.stage]))


def recipe_for(steps: Sequence[Step], recipes: Sequence[str]) -> str | None:
    """Return the recipe that a chain ends in, None where the target takes none that fits."""
    wanted = {"int8": "_wi8_ai8", "int4": "_wi4_ai8", "int16x8": "_wi8_ai16"}
    for step in reversed(steps):
        if rows_by_name()[step.method].measured:
            end = wanted["int4" if step.setting("other") == "int8" else "int8"]
            return next((r for r in recipes if r.endswith(end)), None)
        precision = dict(step.settings).get("precision")
        if isinstance(precision, str) and precision in wanted:
            return next((r for r in recipes if r.endswith(wanted[precision])), None)
    whole = [r for r in recipes if r.endswith("_wi8_ai8")]
    return next(iter((*whole, *recipes)), None)


def probe_of(planned: Planned) -> Planned:
    """Return the same candidate trained a quarter as long."""
    steps = tuple(_shorter(step) for step in planned.candidate.steps)
    return replace(planned, candidate=replace(planned.candidate, steps=steps))


def _shorter(step: Step) -> Step:
    settings = dict(step.settings)
    changed = {name: max(1, int(settings[name]) // PROBE) for name in ("epochs", "steps") if name in settings}
    if not changed:
        return step
    head = step.label.split(",")[0]
    told = [f"{key}={value}" for key, value in changed.items()]
    kept = [text for text in step.label.split(",")[1:] if text.partition("=")[0] not in changed]
    return replace(
        step, label=",".join([head, *kept, *told]), settings=tuple(sorted((settings | changed).items()))
    )


def _method(label: str) -> str:
    rows = rows_by_name()
    return next(
        (n for n in sorted(rows, key=len, reverse=True) if label == n or label.startswith(n + "-")), label
    )


def _refuse(text: str, recipes: Sequence[str], *, lacks_samples: bool) -> None:
    if not lacks_samples:
        raise InputError(
            "method-without-recipe",
            f"--method {text}: the target takes no file that it ends in",
            context={"the target takes": ", ".join(recipes)},
            hint="edgeship target show NAME tells what a target takes",
        )
    raise InputError(
        "no-training-data",
        f"--method {text} learns from samples, and there are none",
        hint="--train DATA.npz (labels are used where there are some), or --calibration DATA.npz",
    )
