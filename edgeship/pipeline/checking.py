"""What will become of a model on a target: the compiler's part, and the gates that a build applies to it.

With samples, goals or recipes of the project's own, `check` goes a build's way up to the choice between variants, by
the same functions; without, it judges what types and shapes tell.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.compile.backend import CompileOptions
from edgeship.compile.check import check_model
from edgeship.compile.report import CheckReport, Finding, ordered
from edgeship.errors import InputError
from edgeship.model.closing import resized
from edgeship.model.convert import check_boundary, to_float_tflite
from edgeship.model.source import open_model
from edgeship.pipeline.inputs import Inputs, opened_for
from edgeship.pipeline.plan import given_entry, precision_given
from edgeship.pipeline.site import BuildSite
from edgeship.pipeline.twin import int8_twin
from edgeship.pipeline.unlike_ranges import unlike_ranges
from edgeship.pipeline.variants import make_variants
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize import contract
from edgeship.quantize.choose import choose
from edgeship.quantize.dense import as_runtime_reads
from edgeship.quantize.recipes import RECIPES, recipe_of
from edgeship.quantize.recurrent import needs_tensorflow
from edgeship.score.warn import warnings
from edgeship.tflite.engine import engine_for
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.normalise import normalised
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, GateResult, ModelSource, Recipe

NEEDS_INT8 = ("nothing-for-npu", "not-quantized", "after-int8", "assumed-int8")
"""Findings that tell people to quantize: in vain where it cannot be done."""
LOOK = "edgeship build with the same options shows every variant"
SHOW = "edgeship inspect MODEL shows all of it"


def check_targets(
    project: Project, model: Path, profiles: Sequence[TargetProfile], cache: Path, progress: Progress
) -> list[CheckReport]:
    """Return a report a target; what a build of the same project would refuse fails here, too.

    `cache` keeps what may be used again. Raises what `opened_for` raises for what the project says, and what
    `to_float_tflite` and `check_model` raise.
    """
    source = open_model(model, project.input_shapes)
    given = precision_given(source, project.signature)
    for profile in profiles:
        choose(profile, project.recipes, given)
    if not _says_more(project) and all(_types_tell(profile) for profile in profiles):
        return [_by_types(project, source, profile, cache, progress) for profile in profiles]
    opened = opened_for(project, model, profiles, cache, progress)
    shown = unlike_ranges(opened[0], profiles, progress)
    with tempfile.TemporaryDirectory(prefix="edgeship-check-") as folder:
        site = BuildSite(
            project=project,
            out=cache,
            work=cache,
            scratch=Path(folder),
            progress=progress,
            compiling=CompileOptions(accepted=project.accept),
        )
        return [
            _with(
                _as_built(replace(site, scratch=site.scratch / profile.name), profile, inputs),
                shown.get(profile.name, ()),
            )
            for profile, inputs in zip(profiles, opened, strict=True)
        ]


def _says_more(project: Project) -> bool:
    """Return whether a project says anything that decides between variants: samples, goals or recipes."""
    data = project.datasets.calibration or project.datasets.evaluation
    return bool(data or project.recipes or project.goals.limited)


def _types_tell(profile: TargetProfile) -> bool:
    """Return whether no variant has to be made where nothing is given: the float model is the target's last resort,
    or all that it wants needs samples."""
    wanted = choose(profile)
    as_it_is = RECIPES["fp32"] in wanted or all(recipe.needs_calibration for recipe in wanted)
    return profile.batch.fixed == 1 and as_it_is


def _as_built(site: BuildSite, profile: TargetProfile, inputs: Inputs) -> CheckReport:
    """Judge the variants that a build makes, and the one that it would choose."""
    source, model = inputs.source, inputs.float_model
    entry = given_entry(source, site.project.signature)
    wanted = choose(profile, site.project.recipes, precision_of(entry) if entry else None)
    if inputs.calibration is None and model.is_float and all(r.needs_calibration for r in wanted):
        return _by_types(site.project, source, profile, site.work, site.progress)
    here = engine_for(read_tflite(model.path), profile).profile
    made = make_variants(site, here, inputs)
    chosen, reason = made.chosen(here, site.project.goals)
    if entry is not None:
        report = _as_given(source, entry, profile, site.progress, site.project.accept)
    elif profile.compiler.backend == "none":
        report = check_model(model.path, profile, shown_as=source.path)
    else:
        looked_at = chosen or next(iter(made.variants), None)
        file = looked_at.artifact.path if looked_at else model.path
        report = replace(check_model(file, profile, accepted=site.project.accept), model=str(source.path))
    if report.verdict == "fail" and (chosen or entry):
        return report  # the compiler, or what the file is, ends it before there is a choice
    if chosen is None:
        return _refused(report, "; ".join((reason, *(f"{name}: {why}" for name, why in made.failed))), LOOK)
    told = [
        *(
            Finding(code="not-made", severity="note", message=f"there is no {name}: {why}", fix=LOOK)
            for name, why in made.failed
        ),
        Finding(code="choice", severity="note", message=f"edgeship build chooses {reason}", fix=LOOK),
        *(
            Finding(code="accuracy", severity="warning", message=words, fix=LOOK)
            for words in warnings(chosen, made.variants)
        ),
    ]
    return _with(report, told)


def _by_types(
    project: Project, source: ModelSource, profile: TargetProfile, cache: Path, progress: Progress
) -> CheckReport:
    """Judge a model by what needs no samples.

    A quantized `.tflite` is judged as it is; any other model is converted to a float one first, and judged by the form
    that the target takes.
    """
    path, entry = source.path, given_entry(source, project.signature)
    if entry is not None:
        return _as_given(source, entry, profile, progress, project.accept)
    model = to_float_tflite(
        source,
        cache / "models",
        progress=progress,
        batch=profile.batch.fixed,
        signature=project.signature,
    )
    recipes = choose(profile, project.recipes)
    if all(recipe.needs_calibration for recipe in recipes):
        return _of_integers(model, path, profile, progress)
    report = check_model(model.path, profile, shown_as=path)
    report = _judged(report, _gates(model.path, RECIPES["fp32"], profile))
    left = [recipe.alias for recipe in recipes if recipe.needs_calibration]
    if not left or report.verdict == "fail":
        return report
    command = f"edgeship check {shlex.quote(str(path))} --target {profile.name} --calibration DATA"
    note = Finding(
        code="not-proven",
        severity="note",
        message=f"{', '.join(left)} was not judged: what it computes only samples tell",
        fix=f"{command} does it",
    )
    return _with(report, (note,))


def _of_integers(model: FloatModel, path: Path, profile: TargetProfile, progress: Progress) -> CheckReport:
    """Judge a float model by its int8 twin, which is made as a build makes it, but for the samples."""
    told_by_twin = profile.compiler.backend == "vela" or needs_tensorflow(model.path)
    report = None if told_by_twin else check_model(model.path, profile, shown_as=path)
    try:
        with int8_twin(model, profile, progress) as twin:
            report = report or check_model(twin, profile, shown_as=path)
            return replace(_judged(report, _gates(twin, RECIPES["int8"], profile)), proven=False)
    except InputError as error:
        if error.reference != "check-needs-int8":
            raise
        report = report or replace(check_model(model.path, profile), model=str(path))
        left = tuple(f for f in report.findings if f.code not in NEEDS_INT8)
        return _refused(replace(report, findings=left), error.message, error.hint or SHOW)


def _as_given(
    source: ModelSource,
    entry: TfliteFile,
    profile: TargetProfile,
    progress: Progress,
    accepted: Sequence[str],
) -> CheckReport:
    """Judge a model that came quantized in the form in which a build ships it: sizes closed, one scale where a runtime
    reads no more."""
    path = source.path
    recipe = recipe_of(precision_of(entry))
    with tempfile.TemporaryDirectory(prefix="edgeship-check-") as folder:
        shipped = Path(folder) / path.name
        whole = resized(entry.content, source, progress) if source.shapes else entry.content
        content, _ = as_runtime_reads(normalised(whole), profile)
        shipped.write_bytes(content)
        check_boundary(read_tflite(shipped), source)
        report = replace(
            check_model(shipped, profile, accepted=accepted), model=str(path), sha256=entry.sha256
        )
        return _judged(report, _gates(shipped, recipe, profile, given=True, accepted=accepted))


def _gates(path: Path, recipe: Recipe, profile: TargetProfile, **how: Any) -> tuple[GateResult, ...]:
    """Return the verdicts on a file by the engine that a build takes for it."""
    if profile.runtime.alternatives:
        profile = engine_for(read_tflite(path), profile).profile
    return contract.check(path, recipe, profile, **how)


def _judged(report: CheckReport, gates: Sequence[GateResult]) -> CheckReport:
    stopped = [gate for gate in gates if gate.verdict == "fail"]
    if report.verdict == "fail" or not stopped:
        return report
    return _refused(report, "; ".join(f"{gate.name}: {gate.reason}" for gate in stopped), SHOW)


def _refused(report: CheckReport, why: str, fix: str) -> CheckReport:
    """Return the report of a model that the accelerator would take and a build would not."""
    message = f"edgeship build would refuse it: {why}"
    finding = Finding(code="build-refuses", severity="error", message=message, fix=fix)
    return replace(_with(report, (finding,)), verdict="fail")


def _with(report: CheckReport, findings: Sequence[Finding]) -> CheckReport:
    return replace(report, findings=ordered((*report.findings, *findings)))
