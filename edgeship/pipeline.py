"""build() and ship(): the whole story, from a trained model to what every device said, on one screen each."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.bundle.make import make_bundle
from edgeship.compile.backends import CompileOptions, CompileResult
from edgeship.compile.ship import Shipped, require_compiler, ship
from edgeship.digest import sha256_file
from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.dataset import load_dataset
from edgeship.model.metadata import write_all_metadata
from edgeship.model.precision import precision_of
from edgeship.model.preprocess import prepare
from edgeship.model.source import open_model
from edgeship.model.tflite import read_tflite
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize import calibration as calibrating
from edgeship.quantize import contract
from edgeship.quantize.choose import choose, explain, wanted
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.score.choice import choose_best
from edgeship.score.gates import judge
from edgeship.score.measure import score
from edgeship.values import (
    Artifact,
    Bundle,
    Dataset,
    FloatModel,
    ModelSource,
    Recipe,
    Variant,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBuild:
    """What building for one target gave: its variants, the chosen one, and the bundle when no gate said no."""

    target: str
    variants: tuple[Variant, ...]
    failed: tuple[tuple[str, str], ...]
    """(recipe, reason) of recipes that could not be derived at all."""
    chosen: Variant | None
    reason: str
    bundle: Bundle | None
    compiled: CompileResult | None = None
    """What the target's compiler made of the chosen variant; None: it has none, or nothing was chosen."""
    model_file: Path | None = None
    """The model alone, for a target that no service can be brought to."""

    @property
    def done(self) -> bool:
        """Whether there is something to ship."""
        return self.bundle is not None or self.model_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build made of one model."""

    model: ModelSource
    seconds: float
    targets: tuple[TargetBuild, ...]

    @property
    def exit_code(self) -> int:
        """0, or 3 where a gate said no for a target."""
        return 0 if all(t.done for t in self.targets) else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The model and the data, opened and checked, ready for every target."""

    source: ModelSource
    float_model: FloatModel
    calibration: Dataset | None
    calibration_prepared: Path | None
    evaluation: Dataset | None
    evaluation_prepared: Path | None


def build(
    project: Project,
    model: Path,
    profiles: Sequence[TargetProfile],
    out: Path,
    work: Path,
    progress: Progress,
    compiling: CompileOptions | None = None,
) -> BuildReport:
    """Build `model` for every profile: convert once, derive the recipes, score, judge, choose, compile, bundle.

    Bundles go into `out`. `work` keeps what may be used again (the converted model, downloaded runtimes). A target
    whose gates say no has no bundle and says why; the others are built all the same. Raises InputError or ToolError
    where nothing can go on, among them a compiler that is missing or fails.
    """
    started = time.monotonic()
    writable(out)
    for profile in profiles:
        choose(profile, project.recipes)  # a recipe nobody accepts is refused before anything is converted
    inputs = open_inputs(project, model, work, progress)
    options = compiling or CompileOptions()
    with tempfile.TemporaryDirectory(prefix="edgeship-build-") as folder:
        targets = tuple(
            build_target(project, profile, inputs, out, Path(folder) / profile.name, work, progress, options)
            for profile in profiles
        )
    return BuildReport(model=inputs.source, seconds=time.monotonic() - started, targets=targets)


def writable(folder: Path) -> None:
    """Raise InputError `cannot-write` unless `folder` can be written, or made, once there is something to write."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    raise InputError(
        "cannot-write",
        f"bundles cannot be written into {folder}: "
        + (f"{nearest} may not be written" if nearest.is_dir() else f"{nearest} is a file"),
        context={"folder": folder.absolute()},
        hint="name another folder with -o DIR",
    )


def open_inputs(project: Project, model: Path, work: Path, progress: Progress) -> Inputs:
    """Read and check the model and its datasets once. Bad data is found before TensorFlow is started."""
    source = open_model(model)
    labels = project.read_labels()
    references = {
        "calibration": project.datasets.calibration,
        "evaluation": project.datasets.evaluation,
    }
    data = {
        role: load_dataset(
            reference,
            work / "data",
            role=role,  # type: ignore[arg-type]
            base=project.base,
            resize=project.preprocess.resize,
            progress=progress,
        )
        for role, reference in references.items()
        if reference
    }
    float_model = to_float_tflite(source, work / "models", progress=progress)
    calibration, evaluation = data.get("calibration"), data.get("evaluation")
    check_labels(labels, float_model, evaluation)
    first = float_model.signature.inputs[0]
    held = read_tflite(float_model.path)
    prepared = {
        role: prepare(dataset, project.preprocess, first, work / "data", progress=progress, model=held)
        for role, dataset in data.items()
    }
    if calibration:
        for note in calibrating.check(calibration, first, evaluation, project.preprocess):
            progress.note(note)
    return Inputs(
        source=source,
        float_model=float_model,
        calibration=calibration,
        calibration_prepared=prepared.get("calibration"),
        evaluation=evaluation,
        evaluation_prepared=prepared.get("evaluation"),
    )


def build_target(
    project: Project,
    profile: TargetProfile,
    inputs: Inputs,
    out: Path,
    scratch: Path,
    work: Path,
    progress: Progress,
    compiling: CompileOptions,
) -> TargetBuild:
    """Derive, describe, check and score every recipe for one target; compile and bundle the best admitted one."""
    recipes = recipes_for(project, profile, inputs, progress)
    require_compiler(profile, compiling)  # before anything is derived and scored in vain
    progress.step(f"{profile.name}: deriving {', '.join(r.alias for r in recipes)}")
    derived = derive_all(
        inputs.float_model,
        recipes,
        inputs.calibration_prepared,
        inputs.calibration.info.sha256 if inputs.calibration else None,
        scratch,
        profile=profile,
        progress=progress,
    )
    for name, reason in derived.failed:
        progress.note(f"{profile.name}: no {name}: {reason}")
    artifacts = describe(project, inputs, derived.artifacts, scratch / "described", progress)
    variants = scored(project, profile, inputs, artifacts, recipes, progress)
    chosen, reason = choose_best(variants, wanted(profile), project.goals)
    built = TargetBuild(
        target=profile.name,
        variants=variants,
        failed=derived.failed,
        chosen=chosen,
        reason=reason,
        bundle=None,
    )
    if chosen is None:
        return built
    shipped = ship(chosen, profile, scratch / "compiled", compiling, progress)
    built = replace(built, compiled=shipped.result)
    too_much = [
        g for g in judge(shipped.variant.artifact, chosen.scorecard, project.goals) if g.verdict == "fail"
    ]
    if too_much:  # the size of what ships is known only now
        return replace(built, chosen=None, reason=f"once compiled: {too_much[0].reason}")
    if not profile.deployable:
        return replace(built, model_file=keep_model(project, inputs, shipped, out))
    return replace(built, bundle=bundle(project, inputs, variants, shipped, out, work, progress))


def scored(
    project: Project,
    profile: TargetProfile,
    inputs: Inputs,
    artifacts: Sequence[Artifact],
    recipes: Sequence[Recipe],
    progress: Progress,
) -> tuple[Variant, ...]:
    """Score every artifact and judge it: by what its file holds, and by the goals."""
    progress.step(f"{profile.name}: scoring {len(artifacts)} variants")
    samples, prepared = (
        (inputs.evaluation, inputs.evaluation_prepared)
        if inputs.evaluation
        else (inputs.calibration, inputs.calibration_prepared)
    )
    cards = score(artifacts, inputs.float_model, samples, prepared, project.goals, progress=progress)
    named = {recipe.name: recipe for recipe in recipes}
    return tuple(
        Variant(
            artifact=artifact,
            scorecard=card,
            gates=(
                *contract.check(artifact.path, named[artifact.recipe], profile),
                *judge(artifact, card, project.goals),
            ),
        )
        for artifact, card in zip(artifacts, cards, strict=True)
    )


def bundle(
    project: Project,
    inputs: Inputs,
    variants: Sequence[Variant],
    shipped: Shipped,
    out: Path,
    work: Path,
    progress: Progress,
) -> Bundle:
    """Seal what ships, with golden vectors recorded from what was scored."""
    progress.step(f"{shipped.profile.name}: bundling {shipped.variant.artifact.recipe}")
    return make_bundle(
        profile=shipped.profile,
        project=project,
        app=project.app_for(inputs.source.path),
        version=project.version,
        variants=(*variants, shipped.variant),
        chosen=shipped.variant,
        source=inputs.source,
        evaluation=inputs.evaluation,
        calibration=inputs.calibration,
        preprocess=project.preprocess,
        labels=labels_of(project, inputs),
        out=out,
        progress=progress,
        cache=work,
        shipped=shipped,
    )


def keep_model(project: Project, inputs: Inputs, shipped: Shipped, out: Path) -> Path:
    """Write the model of a target without Linux into `out`, named by its content, and return where."""
    artifact = shipped.variant.artifact
    name = f"{project.app_for(inputs.source.path)}-{shipped.profile.name}-{artifact.sha256[:12]}.tflite"
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(artifact.path.read_bytes())
    return out / name


def recipes_for(
    project: Project, profile: TargetProfile, inputs: Inputs, progress: Progress
) -> tuple[Recipe, ...]:
    """Return the recipes for a target. Without calibration data, those that need it are left out, aloud.

    Raises InputError `calibration-missing` where they were asked for by name, or nothing else would be left.
    """
    given = None if inputs.float_model.is_float else precision_of(read_tflite(inputs.float_model.path))
    recipes = choose(profile, project.recipes, given)
    if inputs.calibration or given:
        return recipes
    kept = tuple(r for r in recipes if not r.needs_calibration)
    left_out = [r.alias for r in recipes if r.needs_calibration]
    if left_out and (project.recipes or not kept):
        raise InputError(
            "calibration-missing",
            f"{profile.name}: {', '.join(left_out)} needs samples of real inputs to find the ranges of its integers",
            context={"target": profile.name, "wanted": "100 or more samples like those the device will see"},
            hint="--calibration DATA.npz, or calibration: under datasets: in edgeship.yaml",
        )
    if left_out:
        progress.note(f"{profile.name}: {', '.join(left_out)} not made: no --calibration data was given")
    return kept


def describe(
    project: Project, inputs: Inputs, artifacts: Sequence[Artifact], folder: Path, progress: Progress
) -> tuple[Artifact, ...]:
    """Return the artifacts with name, labels, normalisation, ranges and licence written into each file."""
    metadata = project.metadata_for(inputs.source.path)
    seen = inputs.calibration or inputs.evaluation
    metadata = replace(
        metadata,
        labels=labels_of(project, inputs),
        input_minimum=seen.info.minimum if seen else None,
        input_maximum=seen.info.maximum if seen else None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(a.path, folder / a.path.name) for a in artifacts]
    write_all_metadata(pairs, metadata, progress=progress)
    return tuple(
        replace(a, path=new, bytes=new.stat().st_size, sha256=sha256_file(new))
        for a, (_, new) in zip(artifacts, pairs, strict=True)
    )


def labels_of(project: Project, inputs: Inputs) -> tuple[str, ...]:
    """Return the class names: as set, else the folder names of an image dataset."""
    named = project.read_labels()
    if named:
        return named
    return next((d.info.classes for d in (inputs.evaluation, inputs.calibration) if d and d.info.classes), ())


def check_labels(labels: Sequence[str], model: FloatModel, evaluation: Dataset | None) -> None:
    """Raise InputError `labels-count` unless there are as many labels as the model has outputs."""
    shape = model.signature.outputs[0].shape
    if labels and len(model.signature.outputs) == 1 and shape and shape[-1] not in (-1, len(labels)):
        raise InputError(
            "labels-count",
            f"there are {len(labels)} labels, and the model has {shape[-1]} outputs",
            context={"key": "labels", "output": list(shape), "evaluation": bool(evaluation)},
            hint="give one label an output, in the order the model was trained with",
        )


def plan_build(
    project: Project, model: Path, profiles: Sequence[TargetProfile], out: Path
) -> tuple[str, ...]:
    """Return what `build` would do, a line a step, having opened the model and touched nothing else."""
    source = open_model(model)
    lines = [f"convert {source.path} ({source.kind}, {source.sha256[:12]}) to one float .tflite"]
    for role in ("calibration", "evaluation"):
        if reference := getattr(project.datasets, role):
            lines.append(f"read and check the {role} data {reference}")
    for profile in profiles:
        recipes = choose(profile, project.recipes)
        lines += [f"{profile.name}: derive {line}" for line in explain(profile, recipes, project.recipes)]
        lines.append(
            f"{profile.name}: score each variant, check what the produced file holds, apply the gates"
        )
        if profile.compiler.backend != "none":
            lines.append(
                f"{profile.name}: compile the chosen one ({profile.compiler.backend}) and check what it made"
            )
        ending = "<release>.edgeship" if profile.deployable else "<digest>.tflite"
        lines.append(f"{profile.name}: write {out}/{project.app_for(model)}-{profile.name}-{ending}")
    return tuple(lines)


def every_recipe(profile: TargetProfile) -> tuple[str, ...]:
    """Return all recipes a target accepts, in the order they are listed."""
    accepted = {RECIPES.resolve(name) for name in profile.precision.accepts}
    return tuple(name for name in RECIPES if name in accepted)
