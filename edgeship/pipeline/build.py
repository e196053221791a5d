"""build(): from a trained model to one bundle a target. The whole story, step by step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.bundle.parts import BundleParts
from edgeship.compile.backend import AGAINST_MODEL, CompileOptions, CompileResult, Part
from edgeship.compile.ship import Shipped, require_compiler, ship
from edgeship.errors import EdgeshipError, ToolError
from edgeship.model.source import open_model
from edgeship.pipeline.answering import with_answers
from edgeship.pipeline.governing import check_variants
from edgeship.pipeline.inputs import Inputs, opened_for, writable
from edgeship.pipeline.plan import precision_given, recipes_for
from edgeship.pipeline.rungs import UNPROVEN, rungs, seal_ladder, with_rungs
from edgeship.pipeline.several import keep_segments, keep_together, weighed_of
from edgeship.pipeline.site import BuildSite
from edgeship.pipeline.variants import make_variants
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.score.gates import judge
from edgeship.score.ladder import ladder
from edgeship.tflite.engine import EngineChoice, engine_for
from edgeship.tflite.reader import read_tflite
from edgeship.values import Bundle, GateResult, ModelSource, Variant


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
    ladder: tuple[Variant, ...] = ()
    """The other variants in the bundle, cheap to costly."""
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
    given = precision_given(open_model(model, project.input_shapes), project.signature)
    calibrated = project.datasets.calibration
    for profile in profiles:  # what cannot be made for one of them is refused before anything is converted
        recipes, _ = recipes_for(project, profile, given, calibrated=bool(calibrated))
        check_variants(project, profile, recipes)
    options = compiling or CompileOptions()
    if options.several:  # asked for by name: refused before anything is converted, too
        for profile in profiles:
            require_compiler(profile, options)
    opened = opened_for(project, model, profiles, work, progress)
    for profile in profiles:  # and a missing compiler before anything is derived and scored in vain
        require_compiler(profile, options)
    with tempfile.TemporaryDirectory(prefix="edgeship-build-") as folder:
        site = BuildSite(
            project=project, out=out, work=work, scratch=Path(folder), progress=progress, compiling=options
        )
        targets = tuple(
            build_one(replace(site, scratch=site.scratch / profile.name), profile, inputs, len(profiles) == 1)
            for profile, inputs in zip(profiles, opened, strict=True)
        )
    return BuildReport(model=opened[0].source, seconds=time.monotonic() - started, targets=targets)


def build_one(site: BuildSite, profile: TargetProfile, inputs: Inputs, alone: bool) -> TargetBuild:
    """Build for one target; what its compiler or engine has against the model leaves the others be."""
    try:
        return build_target(site, profile, inputs)
    except EdgeshipError as error:
        of_model = error.reference in UNPROVEN or error.reference.endswith(AGAINST_MODEL)
        if alone or not of_model:
            raise
        return TargetBuild(
            target=profile.name, variants=(), failed=(), chosen=None, reason=error.message, bundle=None
        )


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
    made = make_variants(site, profile, inputs)
    built = TargetBuild(
        target=profile.name, variants=(), failed=made.failed, chosen=None, reason="", bundle=None
    )
    unproven: ToolError | None = None
    while True:
        chosen, reason = made.chosen(profile, project.goals)
        if unproven and chosen is None:
            raise unproven
        built = replace(built, variants=made.variants, chosen=chosen, reason=reason)
        if chosen is None:
            return built
        try:
            return finished(site, profile, inputs, built, chosen)
        except ToolError as error:
            if error.reference not in UNPROVEN:
                raise
            unproven = unproven or error
            refused = stopped(chosen, error)
            made = replace(made, variants=tuple(refused if v is chosen else v for v in made.variants))
            progress.note(f"{profile.name}: not {chosen.artifact.name}: {refused.gates[-1].reason}")


def finished(
    site: BuildSite, profile: TargetProfile, inputs: Inputs, built: TargetBuild, chosen: Variant
) -> TargetBuild:
    """Compile the chosen variant where the target has a compiler, weigh it, and write what the target takes."""
    project, out = site.project, site.out
    shipped = ship(chosen, profile, site.scratch / "compiled", site.compiling, site.progress)
    built = replace(built, compiled=shipped.result)
    weighed = weighed_of(shipped)
    gates = judge(weighed, chosen.scorecard, project.goals, project.accept)
    too_much = [gate for gate in gates if gate.verdict == "fail"]
    if too_much:  # the size of what ships is known only now
        return replace(built, chosen=None, reason=f"once compiled: {too_much[0].reason}")
    if shipped.result and shipped.result.segments:
        return replace(built, segments=keep_segments(project, inputs, shipped, out))
    if not profile.deployable:
        return replace(built, model_file=keep_model(project, inputs, shipped, out))
    others = [v for v in ladder(built.variants) if v is not chosen] if project.ladder else []
    beside = rungs(site, profile, others, shipped)
    site.progress.step(f"{profile.name}: bundling {shipped.variant.artifact.name}")
    parts = with_rungs(parts_of(site, inputs, built.variants, shipped), beside)
    sealed, parts = seal_ladder(site, with_answers(site, parts, inputs))
    return replace(
        built,
        bundle=sealed,
        ladder=parts.also,
        together=keep_together(project, inputs, shipped, out),
    )


def stopped(variant: Variant, error: ToolError) -> Variant:
    """Return the variant with the gate that it fails: the runtime of devices does not run it, or not as scored."""
    words = error.context.get("engine") or error.context.get("it said")
    reason = f"{error.message}: {words}" if words else error.message
    gate = GateResult(name="runtime", verdict="fail", limit=0.0, value=1.0, reason=reason)
    return replace(variant, gates=(*variant.gates, gate))


def parts_of(site: BuildSite, inputs: Inputs, variants: Sequence[Variant], shipped: Shipped) -> BundleParts:
    """Return what the bundle of the chosen variant, as it ships, is made of."""
    project = site.project
    return BundleParts(
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


def keep_model(project: Project, inputs: Inputs, shipped: Shipped, out: Path) -> Path:
    """Write the model of a target without Linux into `out`, named by its content, and return where."""
    artifact = shipped.variant.artifact
    name = f"{project.app_for(inputs.source.path)}-{shipped.profile.name}-{artifact.sha256[:12]}.tflite"
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(artifact.path.read_bytes())
    return out / name
