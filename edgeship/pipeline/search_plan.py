"""What a search tries for one target, and the same as lines to read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgeship.compile.edgetpu.table import rows as edgetpu_operations
from edgeship.compress.plan import Planned, planned
from edgeship.compress.rewriting.rules import RULES
from edgeship.errors import InputError
from edgeship.model.source import open_model
from edgeship.pipeline.governing import check_candidates
from edgeship.pipeline.plan import recipes_for
from edgeship.profile import TargetProfile
from edgeship.project import Project
from edgeship.quantize.recipes import RECIPES
from edgeship.quantize.versions import equivalent_release, supports
from edgeship.tflite.entry import read_entry
from edgeship.tflite.file import TfliteFile


def plan_of(
    project: Project, profile: TargetProfile, *, samples: bool, operations: Collection[str] = ()
) -> tuple[Planned, ...]:
    """Return what to try for a target, with or without samples, for a model of these operations: those that the target
    lacks are written as others first, where that can be. Raises what `planned` and `recipes_for` raise."""
    recipes, left_out = recipes_for(project, profile, None, calibrated=samples)
    names = [recipe.name for recipe in recipes]
    if not project.recipes:  # what only a download gains by is tried here, too, where the target runs it
        accepted = [RECIPES.resolve(name) for name in profile.precision.accepts]
        names += [n for n in accepted if n.endswith("_wi4_ai8") and n not in names and not left_out]
    settings = project.file.compress
    first = spelled_for(profile, operations)
    plan = planned(settings.methods, names, samples=samples, seed=settings.seed, first=first)
    return tuple(one for one in plan if may_mix(one, profile))


def check_plan(project: Project, profile: TargetProfile) -> None:
    """Raise what `plan_of` raises with any engine of a target, before anything is converted."""
    samples = bool(project.datasets.train or project.datasets.calibration)
    refused: list[InputError] = []
    for engine in profile.engines():
        try:
            plan = plan_of(project, engine, samples=samples)
            check_candidates(project, profile, plan, sure=False)
        except InputError as error:
            refused.append(error)
        else:
            return
    raise refused[0]


def spelled_for(profile: TargetProfile, operations: Collection[str]) -> tuple[str, ...]:
    """Return the labels of the rewrites that write operations of a model as others which the target has; loops have no
    form of integers anywhere, and nothing trains through them."""
    runtime = profile.runtime
    available = equivalent_release(runtime.engine, runtime.version)

    def lacks(op: str) -> bool:
        table = edgetpu_operations() if profile.compiler.backend == "edgetpu" else None
        missing = supports(available, op, 1).verdict == "no" or (table is not None and op not in table)
        return missing or op == "WHILE"

    return tuple(f"rewrite-{rule.name}" for rule in RULES if rule.spells in operations and lacks(rule.spells))


def operations_of(file: TfliteFile) -> frozenset[str]:
    """Return the built-in operations of a model and its inner graphs; DIV where it divides by a constant."""
    return frozenset(
        op.op
        for graph in file.subgraphs
        for op in graph.operators
        if not op.custom and (op.op != "DIV" or graph.tensors[op.inputs[1]].has_data)
    )


def may_mix(one: Planned, profile: TargetProfile) -> bool:
    """Return whether a target runs the precisions that a candidate mixes. Raises InputError `mixed-not-here` for one
    that a person named."""
    accepted = [RECIPES[name] for name in profile.precision.accepts]
    for step in one.candidate.steps:
        if step.method != "mixed":
            continue
        other = str(step.setting("other"))
        if other == "float":
            fine = any(recipe.precision.activations == "float32" for recipe in accepted)
        else:
            fine = other in [recipe.alias for recipe in accepted]
        if fine:
            continue
        if not one.named:
            return False
        beside = other == "float" and any(recipe.alias == "int16x8" for recipe in accepted)
        raise InputError(
            "mixed-not-here",
            f"--method {step.label}: {profile.name} runs no {other} operations"
            + (
                ": from the first one on the rest of the model would be left to a CPU"
                if other == "float"
                else ""
            ),
            context={"it takes": ", ".join(recipe.alias for recipe in accepted)},
            hint="--method mixed-int16x8" if beside else f"edgeship target show {profile.name}",
        )
    return True


def plan_search(project: Project, model: Path, profile: TargetProfile) -> tuple[str, ...]:
    """Return what `compress` would do, a line a step, having opened the model and touched nothing else."""
    source = open_model(model, project.input_shapes)
    datasets, settings = project.datasets, project.file.compress
    lines = [f"convert {source.path} ({source.kind}, {source.sha256[:12]}) to one float .tflite"]
    for role in ("train", "calibration", "evaluation"):
        if reference := getattr(datasets, role):
            lines.append(f"read and check the {role} data {reference}")
    samples = bool(datasets.train or datasets.calibration)
    known = operations_of(read_entry(model, project.signature)) if source.kind == "tflite" else ()
    plan = plan_of(project, profile, samples=samples, operations=known)
    check_candidates(project, profile, plan, sure=bool(known))
    for one in plan:
        control = ", the control" if one.control else ""
        lines.append(f"{profile.name}: try {one.candidate.name} ({one.stage}{control})")
    lines.append(f"{profile.name}: stop after {settings.minutes:g} minutes, choose by {_chosen_by(project)}")
    lines.append(f"{profile.name}: score the ladder on the evaluation data" if datasets.evaluation else "")
    return tuple(line for line in lines if line)


def _chosen_by(project: Project) -> str:
    if project.datasets.train:
        return "a held-out part of the training data"
    return "a held-out part of the calibration samples" if project.datasets.calibration else "size alone"
