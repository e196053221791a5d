"""compress(): from a model and a budget to a ladder of candidates, one chosen with its reason, and the bundle."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.compile.backend import CompileOptions
from edgeship.compile.ship import require_compiler, ship
from edgeship.compress.plan import Planned
from edgeship.compress.search import Found, Way, search
from edgeship.errors import InputError
from edgeship.pipeline.build import keep_model, parts_of
from edgeship.pipeline.candidates import Workshop
from edgeship.pipeline.governing import check_candidates
from edgeship.pipeline.inputs import Inputs, opened_for, writable
from edgeship.pipeline.kept_bundle import kept_bundle
from edgeship.pipeline.kept_layers import kept_layers
from edgeship.pipeline.room import jobs_here
from edgeship.pipeline.rungs import rungs, with_rungs
from edgeship.pipeline.search_plan import check_plan, operations_of, plan_of
from edgeship.pipeline.site import BuildSite
from edgeship.pipeline.training_data import few_samples, held_out_of, with_limit
from edgeship.pipeline.weighing import brief, chosen_of, confirmed, costs_of, ladder_of, needless
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.tflite.engine import engine_for
from edgeship.tflite.reader import read_tflite
from edgeship.values import Bundle, Dataset, Goals, LayerCosts, Tried, Unavailable, Variant, told_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressReport:
    """What a search under a budget came to."""

    inputs: Inputs
    out: Path
    """The folder of results."""
    target: str
    goals: Goals
    prefer: str
    tried: tuple[Tried, ...]
    """Every candidate in the order of the plan; those of the ladder and the controls scored on evaluation data."""
    ladder: tuple[str, ...]
    """Digests of the candidates that no other beats, the chosen one among them."""
    chosen: Tried | None
    reason: str
    left: tuple[str, ...]
    """Names of the candidates there was no time for."""
    passed_over: tuple[str, ...]
    """Names of those that a short probe did not speak for."""
    held_out: Dataset | None
    """What candidates were chosen by."""
    labelled: bool
    """Whether by labels; else by agreement with the float model."""
    bundle: Bundle | None
    model_file: Path | None
    seconds: float
    layers: LayerCosts | Unavailable
    """What each layer loses by the plain recipe, on held-out data."""
    needless: tuple[str, ...] = ()
    """Names of those that would only take back what the plain recipe does not lose."""

    @property
    def exit_code(self) -> int:
        """0, or 3 where no candidate meets the goals."""
        return 0 if self.chosen is not None else 3


def compress(
    project: Project,
    model: Path,
    profile: TargetProfile,
    out: Path,
    work: Path,
    progress: Progress,
    compiling: CompileOptions | None = None,
) -> CompressReport:
    """Search for what meets the project's goals on one target, and write the ladder, the bundle and nothing else into
    `out`; `work` keeps what was made.

    Raises InputError or ToolError where nothing can go on.
    """
    begun = time.monotonic()
    writable(out, "the results", "name another folder with -o DIR")
    writable(work, "what was made", "set EDGESHIP_CACHE=DIR to a folder you may write")
    check_plan(project, profile)
    (inputs,) = opened_for(project, model, (profile,), work, progress, use="compress")
    if not inputs.float_model.is_float:
        raise InputError(
            "model-already-quantized",
            "the model came quantized: there is nothing left of the float weights to compress",
            context={"model": inputs.source.path},
            hint="hand over the model it was made of (.keras, .h5, SavedModel or float .tflite)",
        )
    options = compiling or CompileOptions()
    require_compiler(profile, options)
    file = read_tflite(inputs.float_model.path)
    here = engine_for(file, profile).profile
    held_out = held_out_of(
        inputs.train, inputs.train_prepared, inputs.calibration, inputs.calibration_prepared, work / "data"
    )
    if held_out is not None:
        project = with_limit(project)
        few_samples(held_out, progress)
    samples = inputs.train is not None or inputs.calibration is not None
    plan = plan_of(project, here, samples=samples, operations=operations_of(file))
    check_candidates(project, profile, plan, sure=True)
    with tempfile.TemporaryDirectory(prefix="edgeship-compress-") as folder:
        site = BuildSite(
            project=project,
            out=out,
            work=work,
            scratch=Path(folder),
            progress=progress,
            compiling=options,
        )
        shop = Workshop(
            site=site,
            profile=here,
            inputs=inputs,
            held_out=held_out,
            until=time.monotonic() + 60 * project.file.compress.minutes,
        )
        layers = kept_layers(shop, plan)
        report = judged(searched(project, plan, shop), shop, profile.name, layers)
        report = shipped_into(out, report, shop)
    return replace(report, seconds=time.monotonic() - begun)


def judged(
    found: Found[Tried], shop: Workshop, target: str, layers: LayerCosts | Unavailable
) -> CompressReport:
    """Return what a search came to: the ladder and the controls scored on evaluation data, one chosen before that, and
    nothing written yet."""
    project, held_out = shop.site.project, shop.held_out
    tried = named_apart(tuple(found.results.values()))
    chosen, reason = chosen_of(tried, project)
    rung_digests = {t.candidate.digest for t in ladder_of(tried)}
    tried = evaluated(tried, rung_digests, shop)
    digest = chosen.candidate.digest if chosen else ""
    chosen = next((t for t in tried if t.candidate.digest == digest), None)
    if chosen is not None and (why := confirmed(chosen, project.goals)):
        reason, chosen = f"{chosen.candidate.name} was chosen, and {why}", None
    return CompressReport(
        inputs=shop.inputs,
        out=shop.site.out,
        target=target,
        goals=project.goals,
        prefer=project.file.compress.prefer,
        tried=tried,
        ladder=tuple(t.candidate.digest for t in tried if t.candidate.digest in rung_digests),
        chosen=chosen,
        reason=reason,
        left=tuple(p.candidate.name for p in found.left),
        passed_over=tuple(p.candidate.name for p in found.passed_over),
        needless=tuple(p.candidate.name for p in found.needless),
        held_out=held_out.dataset if held_out else None,
        labelled=bool(held_out and held_out.labelled),
        bundle=None,
        model_file=None,
        seconds=0.0,
        layers=layers,
    )


def named_apart(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Return the candidates, no two of those that were made called alike."""
    names = iter(told_apart([t.variant for t in tried if t.variant is not None]))
    return tuple(replace(t, variant=next(names)) if t.variant is not None else t for t in tried)


def searched(project: Project, plan: Sequence[Planned], shop: Workshop) -> Found[Tried]:
    """Search the plan in what is left of the minutes, telling the best so far and what is left."""
    settings = project.file.compress
    jobs = settings.jobs or jobs_here(shop.inputs.float_model.path.stat().st_size)

    def tell(results: Sequence[Tried], left: int) -> None:
        best, _ = chosen_of(results, project)
        last = results[-1]
        said = last.failed or brief(last)
        shop.site.progress.note(f"{last.candidate.name}: {said}")
        ahead = f"best so far {best.candidate.name}, " if best else ""
        seconds = max(0.0, shop.until - time.monotonic())
        time_left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
        shop.site.progress.step(f"{ahead}{left} left to try, {time_left} left")

    way = Way(
        make=shop.make,
        costs=costs_of,
        clock=time.monotonic,
        known=shop.known,
        tell=tell,
        needless=lambda planned, results: needless(planned, results, project),
        stop=shop.stopped.set,
    )
    return search(plan, way, seconds=shop.until - time.monotonic(), jobs=jobs)


def evaluated(tried: Sequence[Tried], rungs: set[str], shop: Workshop) -> tuple[Tried, ...]:
    """Return the candidates, those of the ladder, the controls and the plain recipes with a scorecard on evaluation
    data. Nothing is chosen by it."""
    shown = {
        t.candidate.digest
        for t in tried
        if t.variant and (t.candidate.digest in rungs or t.control or not t.candidate.steps)
    }
    return tuple(
        replace(t, evaluated=shop.evaluated(t.variant.artifact))
        if t.variant and t.candidate.digest in shown
        else t
        for t in tried
    )


def shipped_into(out: Path, report: CompressReport, shop: Workshop) -> CompressReport:
    """Write the files of the ladder and, of a chosen candidate, the bundle into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for tried in report.tried:
        if tried.candidate.digest in report.ladder and tried.variant is not None:
            shutil.copyfile(tried.variant.artifact.path, out / file_of(tried))
    if report.chosen is None or report.chosen.variant is None:
        return report
    site, inputs, profile = shop.site, report.inputs, shop.profile
    chosen = _shown(report.chosen)
    others = [_shown(t) for t in report.tried if t.candidate.digest in report.ladder and t != report.chosen]
    shipped = ship(chosen, profile, site.scratch / "compiled", site.compiling, site.progress)
    if not profile.deployable:
        return replace(report, model_file=keep_model(site.project, inputs, shipped, out))
    every = (chosen, *others)
    parts = parts_of(site, inputs, every, shipped)
    carried = with_rungs(parts, rungs(site, profile, others, shipped))
    return replace(report, bundle=kept_bundle(site, carried, inputs))


def file_of(tried: Tried) -> str:
    """Return the name of a candidate's file in the folder of results."""
    return f"{tried.variant.artifact.name if tried.variant else tried.candidate.name}.tflite"


def _shown(tried: Tried) -> Variant:
    """Return a candidate's variant as bundles tell of it: with its figures on evaluation data where there is some."""
    assert tried.variant is not None
    return replace(tried.variant, scorecard=tried.evaluated or tried.variant.scorecard)
