"""Which recipes a target gets: what its profile wants, or what the user asked for where the profile accepts
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeship.errors import InputError
from edgeship.quantize.recipes import RECIPES, recipe_of
from edgeship.values import Precision, Recipe

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile


def choose(
    profile: TargetProfile, asked: tuple[str, ...] = (), given: Precision | None = None
) -> tuple[Recipe, ...]:
    """Return the recipes to derive for a target, best first.

    Without `asked`, what the profile wants in its own order; with it, what was asked in the order asked.
    `given` is the precision of a model that came quantized: it is then the only variant there can be, and its
    operations decide whether a target runs it, not the name of its precision. Raises InputError
    `unknown-recipe`, `recipe-not-accepted`, `model-already-quantized`.
    """
    if given is not None:
        return (_as_given(asked, recipe_of(given)),)
    names = tuple(dict.fromkeys(RECIPES.resolve(name) for name in asked)) or wanted(profile)
    accepted = {RECIPES.resolve(name) for name in profile.precision.accepts}
    for name in names:
        if name not in accepted:
            raise _refused(profile, RECIPES[name])
    return tuple(RECIPES[name] for name in names)


def wanted(profile: TargetProfile) -> tuple[str, ...]:
    """Return the recipe names (canonical, best first) that a profile wants: the order the choice goes by."""
    return tuple(dict.fromkeys(RECIPES.resolve(name) for name in profile.precision.wants))


def explain(
    profile: TargetProfile, chosen: tuple[Recipe, ...], asked: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return one line per chosen recipe: what it is and why it is made."""
    lines = []
    for place, recipe in enumerate(chosen, start=1):
        if recipe.alias == "as-given" or recipe.name not in RECIPES:
            why = "the model came quantized"
        elif asked:
            why = "asked for"
        else:
            why = f"what {profile.name} wants first" if place == 1 else f"choice {place} of {profile.name}"
        lines.append(f"{recipe.name} ({recipe.alias}): {recipe.summary}; {why}")
    return tuple(lines)


def _as_given(asked: tuple[str, ...], recipe: Recipe) -> Recipe:
    """Return the one recipe of a model that came quantized, or refuse what it cannot be."""
    others = [name for name in asked if name != recipe.alias and RECIPES.resolve(name) != recipe.name]
    if others:
        weights = recipe.precision.weights
        raise InputError(
            "model-already-quantized",
            f"the model holds {weights} weights and {recipe.precision.activations} "
            f"activations: '{others[0]}' cannot be derived from it",
            context={"asked": ", ".join(asked), "possible": recipe.name},
            hint="hand over the float model (.keras, .h5, SavedModel, float .tflite), or leave --recipe out"
            + ("; edgeship compress reads float16 weights as float32" if weights == "float16" else ""),
        )
    return recipe


def _refused(profile: TargetProfile, recipe: Recipe) -> InputError:
    held = recipe.precision
    accepted = ", ".join(profile.precision.accepts)
    return InputError(
        "recipe-not-accepted",
        f"{profile.name} does not run {recipe.name} ({held.weights} weights, {held.activations} activations)",
        context={"target": profile.name, "key": "precision.accepts", "accepts": accepted},
        hint=f"--recipe {profile.precision.wants[0]}",
    )
