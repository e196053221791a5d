"""Which recipes a target gets from these inputs, and what a build would do, as lines to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeship.errors import InputError
from edgeship.model.source import open_model
from edgeship.pipeline.governing import check_variants
from edgeship.profile import TargetProfile
from edgeship.project import Project
from edgeship.quantize.choose import choose, explain
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.entry import read_entry
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.simulated import float_form
from edgeship.values import ModelSource, Precision, Recipe


def recipes_for(
    project: Project, profile: TargetProfile, given: Precision | None, *, calibrated: bool
) -> tuple[tuple[Recipe, ...], tuple[str, ...]]:
    """Return (recipes to derive, aliases left out because there is no calibration data).

    `given` is the precision of a model that came quantized. Raises InputError `calibration-missing` where a recipe
    that needs samples was asked for by name, or nothing else would be left.
    """
    recipes = choose(profile, project.recipes, given)
    if calibrated or given:
        return recipes, ()
    kept = tuple(r for r in recipes if not r.needs_calibration)
    left_out = tuple(r.alias for r in recipes if r.needs_calibration)
    if left_out and (project.recipes or not kept):
        raise InputError(
            "calibration-missing",
            f"{profile.name}: {', '.join(left_out)} needs samples of real inputs to find the ranges of its integers",
            context={"target": profile.name, "wanted": "100 or more samples like those the device will see"},
            hint="--calibration DATA.npz, or calibration: under datasets: in edgeship.yaml",
        )
    return kept, left_out


def given_entry(source: ModelSource, signature: str | None = None) -> TfliteFile | None:
    """Return a `.tflite` that came quantized, that signature of it alone; None for a float model, one that simulates
    being quantized included. Raises as `read_entry`."""
    if source.kind != "tflite":
        return None
    entry = read_entry(source.path, signature)
    if is_float(precision_of(entry)) or float_form(entry.content)[0] is not entry.content:
        return None
    return entry


def precision_given(source: ModelSource, signature: str | None = None) -> Precision | None:
    """Return what such a `.tflite` holds; None and raises as `given_entry`."""
    entry = given_entry(source, signature)
    return None if entry is None else precision_of(entry)


def plan_build(
    project: Project, model: Path, profiles: Sequence[TargetProfile], out: Path
) -> tuple[str, ...]:
    """Return what `build` would do, a line a step, having opened the model and touched nothing else."""
    source = open_model(model, project.input_shapes)
    lines = [f"convert {source.path} ({source.kind}, {source.sha256[:12]}) to one float .tflite"]
    for role in ("calibration", "evaluation"):
        if reference := getattr(project.datasets, role):
            lines.append(f"read and check the {role} data {reference}")
    for profile in profiles:
        recipes, left_out = recipes_for(
            project,
            profile,
            precision_given(source, project.signature),
            calibrated=bool(project.datasets.calibration),
        )
        check_variants(project, profile, recipes)
        lines += [f"{profile.name}: leave out {alias}: no calibration data is given" for alias in left_out]
        lines += [f"{profile.name}: derive {line}" for line in explain(profile, recipes, project.recipes)]
        lines.append(
            f"{profile.name}: score each variant, check what the produced file holds, apply the gates"
        )
        if profile.compiler.backend != "none":
            beside = "".join(f" together with {other}" for other in project.compiler.co_compile)
            lines.append(
                f"{profile.name}: compile the chosen one{beside} ({profile.compiler.backend}) "
                "and check what it made"
            )
        if project.ladder and profile.deployable:
            lines.append(
                f"{profile.name}: add every variant that no other beats in accuracy, file and latency"
            )
            lines.append(
                f"{profile.name}: measure each with the runtime for devices"
                + (" and look for a cascade of two" if project.governor.cascade == "auto" else "")
            )
        ending = "<release>.edgeship" if profile.deployable else "<digest>.tflite"
        if (count := project.compiler.segments) > 1:
            ending = f"<digest>-segment-<1 to {count}>-of-{count}.tflite, and no bundle"
        lines.append(f"{profile.name}: write {out}/{project.app_for(model)}-{profile.name}-{ending}")
    return tuple(lines)


def every_recipe(profile: TargetProfile) -> tuple[str, ...]:
    """Return all recipes a target accepts, in the order they are listed."""
    accepted = {RECIPES.resolve(name) for name in profile.precision.accepts}
    return tuple(name for name in RECIPES if name in accepted)
