"""build(): from a trained model to one bundle a target. The whole story, step by step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.bundle.limits import check_body_limit
from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.service import sides_entry
from edgeship.compile.backend import CompileOptions, CompileResult, Part
from edgeship.compile.ship import Shipped, require_compiler, ship
from edgeship.digest import sha256_file
from edgeship.errors import ToolError
from edgeship.pipeline.inputs import Inputs, open_inputs, writable
from edgeship.pipeline.plan import recipes_for
from edgeship.pipeline.several import keep_segments, keep_together, weighed_of
from edgeship.pipeline.site import BuildSite
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize import contract
from edgeship.quantize.choose import choose, wanted
from edgeship.quantize.derive import derive_all
from edgeship.score.choice import choose_best
from edgeship.score.gates import judge
from edgeship.score.measure import score
from edgeship.tflite.engine import EngineChoice, engine_for
from edgeship.tflite.metadata import write_all_metadata
from edgeship.tflite.precision import boundary, precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Artifact, Bundle, GateResult, InputMetadata, ModelSource, Recipe, Variant

UNPROVEN = ("golden-cannot-record", "golden-not-finite", "golden-disagree")
"""What tells of a variant, not of the build: the next admitted one is tried."""


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
    segments: tuple[Part, ...] = ()
    """The files of a pipeline in the order they run; they are in place of a bundle."""
    together: tuple[Part, ...] = ()
    """The other models of a co-compilation, beside the bundle."""

    @property
    def done(self) -> bool:
        """Whether there is something to ship."""
        return self.bundle is not None or self.model_file is not None or bool(self.segments)


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
    writable(out, "bundles", "name another folder with -o DIR")
    writable(work, "what may be used again", "set EDGESHIP_CACHE=DIR to a folder you may write")
    for profile in profiles:
        choose(profile, project.recipes)  # a recipe nobody accepts is refused before anything is converted
    options = compiling or CompileOptions()
    if options.several:  # asked for by name: refused before anything is converted, too
        for profile in profiles:
            require_compiler(profile, options)
    inputs = open_inputs(project, model, work, progress)
    if project.service.limits.body_bytes and any(profile.deployable for profile in profiles):
        check_one_request(project, inputs)  # before an hour is spent on what no client could ask
    with tempfile.TemporaryDirectory(prefix="edgeship-build-") as folder:
        site = BuildSite(
            project=project, out=out, work=work, scratch=Path(folder), progress=progress, compiling=options
        )
        targets = tuple(
            build_target(replace(site, scratch=site.scratch / profile.name), profile, inputs)
            for profile in profiles
        )
    return BuildReport(model=inputs.source, seconds=time.monotonic() - started, targets=targets)


def check_one_request(project: Project, inputs: Inputs) -> None:
    """Raise InputError `body-limit` where the limit that is set keeps out a request of one batch."""
    data = inputs.evaluation or inputs.calibration
    entry = sides_entry(inputs.float_model.signature, data.info if data else None, inputs.rules)
    check_body_limit(project.service.limits, entry)


def build_target(site: BuildSite, profile: TargetProfile, inputs: Inputs) -> TargetBuild:
    """Build for one target with the first of its engines that runs the model.

    An engine that is known to refuse the model is passed over; one that turns out to refuse every variant, too.
    """
    first = engine_for(read_tflite(inputs.float_model.path), profile)
    engines = profile.engines()
    left = [
        first,
        *(EngineChoice(profile=p, reason=None) for p in engines[engines.index(first.profile) + 1 :]),
    ]
    refused: ToolError | None = None
    for number, choice in enumerate(left):
        reason = (
            f"{left[0].profile.runtime.engine} cannot run it: {refused.message}" if refused else choice.reason
        )
        if reason:
            runtime = choice.profile.runtime
            site.progress.note(f"{profile.name}: runs with {runtime.engine} {runtime.version}: {reason}")
        here = replace(
            site, engine_reason=reason, scratch=site.scratch / str(number) if number else site.scratch
        )
        try:
            return build_with(here, choice.profile, inputs)
        except ToolError as error:
            if error.reference != "golden-cannot-record":
                raise
            refused = refused or error
    assert refused is not None
    raise refused


def build_with(site: BuildSite, profile: TargetProfile, inputs: Inputs) -> TargetBuild:
    """Derive, describe, check and score every recipe for one target; compile and bundle the best admitted one."""
    project, progress = site.project, site.progress
    given = None if inputs.float_model.is_float else precision_of(read_tflite(inputs.float_model.path))
    recipes, left_out = recipes_for(project, profile, given, calibrated=inputs.calibration is not None)
    if left_out:
        progress.note(f"{profile.name}: {', '.join(left_out)} not made: no --calibration data was given")
    require_compiler(profile, site.compiling)  # before anything is derived and scored in vain
    progress.step(f"{profile.name}: deriving {', '.join(r.alias for r in recipes)}")
    derived = derive_all(
        inputs.float_model,
        recipes,
        inputs.calibration_prepared,
        site.scratch,
        profile=profile,
        progress=progress,
    )
    edges = boundary(read_tflite(inputs.float_model.path))
    if given and profile.compiler.backend != "none" and any(tensor.dtype == "float32" for tensor in edges):
        progress.note(
            f"{profile.name}: the model came with float inputs or outputs: QUANTIZE and DEQUANTIZE at its edges stay "
            "on the CPU"
        )
    for name, reason in derived.failed:
        progress.note(f"{profile.name}: no {name}: {reason}")
    for artifact in derived.artifacts:
        for note in artifact.notes:
            progress.note(f"{profile.name}: {artifact.recipe}: {note}")
    artifacts = describe(site, inputs, derived.artifacts)
    variants = scored(site, profile, inputs, artifacts, recipes)
    built = TargetBuild(
        target=profile.name,
        variants=variants,
        failed=derived.failed,
        chosen=None,
        reason="none of the recipes could be made from this model",
        bundle=None,
    )
    unproven: ToolError | None = None
    while variants:
        chosen, reason = choose_best(
            variants, wanted(profile), project.goals, measured_here=profile.measured_here
        )
        if unproven and chosen is None:
            raise unproven
        built = replace(built, variants=variants, chosen=chosen, reason=reason)
        if chosen is None:
            return built
        try:
            return finished(site, profile, inputs, built, chosen)
        except ToolError as error:
            if error.reference not in UNPROVEN:
                raise
            unproven = unproven or error
            refused = stopped(chosen, error)
            variants = tuple(refused if v is chosen else v for v in variants)
            progress.note(f"{profile.name}: not {chosen.artifact.recipe}: {refused.gates[-1].reason}")
    return built


def finished(
    site: BuildSite, profile: TargetProfile, inputs: Inputs, built: TargetBuild, chosen: Variant
) -> TargetBuild:
    """Compile the chosen variant where the target has a compiler, weigh it, and write what the target takes."""
    project, out = site.project, site.out
    shipped = ship(chosen, profile, site.scratch / "compiled", site.compiling, site.progress)
    built = replace(built, compiled=shipped.result)
    weighed = weighed_of(shipped)
    too_much = [g for g in judge(weighed, chosen.scorecard, project.goals) if g.verdict == "fail"]
    if too_much:  # the size of what ships is known only now
        return replace(built, chosen=None, reason=f"once compiled: {too_much[0].reason}")
    if shipped.result and shipped.result.segments:
        return replace(built, segments=keep_segments(project, inputs, shipped, out))
    if not profile.deployable:
        return replace(built, model_file=keep_model(project, inputs, shipped, out))
    return replace(
        built,
        bundle=bundle(site, inputs, built.variants, shipped),
        together=keep_together(project, inputs, shipped, out),
    )


def stopped(variant: Variant, error: ToolError) -> Variant:
    """Return the variant with the gate that it fails: the runtime of devices does not run it, or not as scored."""
    words = error.context.get("engine") or error.context.get("it said")
    reason = f"{error.message}: {words}" if words else error.message
    gate = GateResult(name="runtime", verdict="fail", limit=0.0, value=1.0, reason=reason)
    return replace(variant, gates=(*variant.gates, gate))


def scored(
    site: BuildSite,
    profile: TargetProfile,
    inputs: Inputs,
    artifacts: Sequence[Artifact],
    recipes: Sequence[Recipe],
) -> tuple[Variant, ...]:
    """Score every artifact and judge it: by what its file holds, and by the goals."""
    goals, progress = site.project.goals, site.progress
    progress.step(f"{profile.name}: scoring {len(artifacts)} variants")
    prepared = (
        inputs.evaluation_prepared or inputs.calibration_prepared
    )  # of the latter no labels are looked at
    cards = score(artifacts, inputs.float_model, inputs.evaluation, prepared, goals, progress=progress)
    named = {recipe.name: recipe for recipe in recipes}
    return tuple(
        Variant(
            artifact=artifact,
            scorecard=card,
            gates=(
                *contract.check(
                    artifact.path,
                    named[artifact.recipe],
                    profile,
                    given=not inputs.float_model.is_float,
                    accepted=site.project.accept,
                ),
                *judge(artifact, card, goals),
            ),
        )
        for artifact, card in zip(artifacts, cards, strict=True)
    )


def bundle(site: BuildSite, inputs: Inputs, variants: Sequence[Variant], shipped: Shipped) -> Bundle:
    """Seal what ships, with golden vectors recorded from what was scored."""
    project = site.project
    site.progress.step(f"{shipped.profile.name}: bundling {shipped.variant.artifact.recipe}")
    parts = BundleParts(
        profile=shipped.profile,
        project=project,
        app=project.app_for(inputs.source.path),
        version=project.version,
        variants=(*variants, shipped.variant),
        chosen=shipped.variant,
        source=inputs.source,
        evaluation=inputs.evaluation,
        calibration=inputs.calibration,
        rules=inputs.rules,
        labels=inputs.labels,
        shipped=shipped,
        engine_reason=site.engine_reason,
    )
    return make_bundle(parts, out=site.out, cache=site.work, progress=site.progress)


def keep_model(project: Project, inputs: Inputs, shipped: Shipped, out: Path) -> Path:
    """Write the model of a target without Linux into `out`, named by its content, and return where."""
    artifact = shipped.variant.artifact
    name = f"{project.app_for(inputs.source.path)}-{shipped.profile.name}-{artifact.sha256[:12]}.tflite"
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(artifact.path.read_bytes())
    return out / name


def describe(site: BuildSite, inputs: Inputs, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """Return the artifacts with name, labels, normalisation, ranges and licence written into each file."""
    project, folder = site.project, site.scratch / "described"
    metadata = project.metadata_for(inputs.source.path)
    seen = inputs.calibration or inputs.evaluation
    metadata = replace(
        metadata,
        labels=inputs.labels,
        inputs=tuple(
            InputMetadata(
                preprocess=rule.preprocess,
                minimum=seen.info.arrays[k].minimum if seen else None,
                maximum=seen.info.arrays[k].maximum if seen else None,
            )
            for k, rule in enumerate(inputs.rules)
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(a.path, folder / a.path.name) for a in artifacts]
    tools = write_all_metadata(pairs, metadata, progress=site.progress)
    return tuple(
        replace(a, path=new, bytes=new.stat().st_size, sha256=sha256_file(new), tools={**a.tools, **tools})
        for a, (_, new) in zip(artifacts, pairs, strict=True)
    )
