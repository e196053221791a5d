"""Variants that the governor's settings name, held against what a build or a search can make: before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.project import Project
from edgeship.quantize.recipes import RECIPES
from edgeship.registry import did_you_mean
from edgeship.values import Recipe

if TYPE_CHECKING:
    from edgeship.compress.plan import Planned

APART = "~"
"""What ends names of candidates that would be called alike with a piece of their digest: known when they are made."""


def check_variants(project: Project, profile: TargetProfile, recipes: Sequence[Recipe]) -> None:
    """Raise InputError `unknown-variant` where `governor:` names a variant that no build of these recipes makes."""
    _check(project, profile, [recipe.name for recipe in recipes], [recipe.name for recipe in recipes])


def check_candidates(
    project: Project, profile: TargetProfile, plan: Sequence[Planned], *, sure: bool
) -> None:
    """As `check_variants`, for a search. `sure`: the operations of the model were known to the plan; else its chains
    may yet begin with rewrites that the target needs."""
    names = [one.candidate.name for one in plan]
    _check(project, profile, names, [one.candidate.recipe for one in plan], sure=sure)


def _check(
    project: Project,
    profile: TargetProfile,
    names: Sequence[str],
    recipes: Iterable[str],
    *,
    sure: bool = True,
) -> None:
    if not profile.deployable or project.compiler.segments > 1:
        return  # nothing is brought to a device
    made = set(recipes)
    known = set(names) if sure else {_shorter(name) for name in names}
    for key, asked in _named(project):
        recipe = RECIPES.resolve(asked) if asked in RECIPES else None
        if recipe in made or APART in asked or (asked if sure else _shorter(asked)) in known:
            continue
        aliases = [RECIPES[name].alias for name in names if name in RECIPES]
        near = did_you_mean(asked, [*names, *aliases]) or names[0]
        wanted = (
            f"variant: {near}" if key == "variant" else f"battery: [{{below_percent: 30, variant: {near}}}]"
        )
        raise InputError(
            "unknown-variant",
            f"governor.{key}: nothing that is made for {profile.name} is a variant '{asked}'",
            context={"key": f"governor.{key}", "it can have": ", ".join(dict.fromkeys(names))},
            hint=f"write governor: {{{wanted}}} in edgeship.yaml",
        )


def _named(project: Project) -> Iterator[tuple[str, str]]:
    """Return (setting, variant that it names) of the project's governor."""
    if project.governor.variant is not None:
        yield "variant", project.governor.variant
    for band in project.governor.battery:
        if band.variant is not None:
            yield "battery", band.variant


def _shorter(name: str) -> str:
    """Return a candidate's name without the rewrites that it begins with."""
    labels = name.split("+")
    while len(labels) > 1 and labels[0].startswith("rewrite"):
        del labels[0]
    return "+".join(labels)
