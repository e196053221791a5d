"""compress(): from a model and a budget to a ladder of candidates, one chosen with its reason, and the bundle."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeship.bundle.make import make_bundle
from edgeship.bundle.parts import BundleParts
from edgeship.compile.backend import CompileOptions
from edgeship.compile.ship import require_compiler, ship
from edgeship.compress.plan import Planned, planned
from edgeship.compress.search import Found, Way, search
from edgeship.errors import InputError
from edgeship.pareto import front
from edgeship.pipeline.build import keep_model
from edgeship.pipeline.candidates import Workshop
from edgeship.pipeline.inputs import Inputs, opened_for, writable
from edgeship.pipeline.plan import recipes_for
from edgeship.pipeline.room import jobs_here
from edgeship.pipeline.site import BuildSite
from edgeship.pipeline.training_data import held_out_of
from edgeship.pipeline.variants import judged
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize.recipes import RECIPES
from edgeship.score.measure import score
from edgeship.tflite.engine import engine_for
from edgeship.tflite.reader import read_tflite
from edgeship.values import Bundle, Figure, Goals, Tried, Unavailable, Variant

LATENCY_STEP = 1.1
"""Two latencies nearer than this ratio are one: medians of the same file differ by some percent."""
PREFERENCES = {"download": 1, "file": 2, "latency": 3, "accuracy": 0}
"""What is preferred -> its place among the costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressReport:
    """What a search under a budget came to."""

    inputs: Inputs
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
    held_out: str | None
    """What candidates were chosen by."""
    labelled: bool
    """Whether by labels; else by agreement with the float model."""
    bundle: Bundle | None
    model_file: Path | None
    seconds: float

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
    (inputs,) = opened_for(project, model, (profile,), work, progress, training=True)
    if not inputs.float_model.is_float:
        raise InputError(
            "model-already-quantized",
            "the model came quantized: there is nothing left of the float weights to compress",
            context={"model": inputs.source.path},
            hint="hand over the model it was made of (.keras, .h5, SavedModel or float .tflite)",
        )
    options = compiling or CompileOptions()
    require_compiler(profile, options)
    here = engine_for(read_tflite(inputs.float_model.path), profile).profile
    held_out = held_out_of(
        inputs.train, inputs.train_prepared, inputs.calibration, inputs.calibration_prepared, work / "data"
    )
    project = with_limits(project, labelled=bool(held_out and held_out.labelled))
    plan = plan_of(project, here, inputs)
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
            seconds=60 * project.file.compress.minutes,
        )
        found = searched(project, plan, shop, begun)
        tried = tuple(found.results.values())
        ladder = ladder_of(tried)
        chosen, reason = chosen_of(tried, project)
        rungs = {t.candidate.digest for t in ladder} | ({chosen.candidate.digest} if chosen else set())
        tried = evaluated(tried, rungs, site, inputs)
        chosen = next((t for t in tried if chosen and t.candidate == chosen.candidate), None)
        report = CompressReport(
            inputs=inputs,
            target=profile.name,
            goals=project.goals,
            prefer=project.file.compress.prefer,
            tried=tried,
            ladder=tuple(t.candidate.digest for t in tried if t.candidate.digest in rungs),
            chosen=chosen,
            reason=reason,
            left=tuple(p.candidate.name for p in found.left),
            passed_over=tuple(p.candidate.name for p in found.passed_over),
            held_out=held_out.dataset.info.reference if held_out else None,
            labelled=bool(held_out and held_out.labelled),
            bundle=None,
            model_file=None,
            seconds=0.0,
        )
        report = shipped_into(out, report, site, here)
    return replace(report, seconds=time.monotonic() - begun)


def with_limits(project: Project, *, labelled: bool) -> Project:
    """Return the project with a limit on accuracy where labels can tell and none is set."""
    if project.goals.max_drop is not None or not labelled:
        return project
    return replace(project, goals=replace(project.goals, max_drop=project.file.compress.max_drop))


def plan_of(project: Project, profile: TargetProfile, inputs: Inputs) -> tuple[Planned, ...]:
    """Return what to try for a target. Raises what `planned` and `recipes_for` raise."""
    recipes, left_out = recipes_for(project, profile, None, calibrated=inputs.calibration is not None)
    names = [recipe.name for recipe in recipes]
    if not project.recipes:  # what only a download gains by is tried here, too, where the target runs it
        accepted = [RECIPES.resolve(name) for name in profile.precision.accepts]
        names += [n for n in accepted if n.endswith("_wi4_ai8") and n not in names and not left_out]
    samples = inputs.train is not None or inputs.calibration is not None
    settings = project.file.compress
    return planned(settings.methods, names, samples=samples, seed=settings.seed)


def searched(project: Project, plan: Sequence[Planned], shop: Workshop, begun: float) -> Found[Tried]:
    """Search the plan in what is left of the minutes, telling the best so far and what is left."""
    settings = project.file.compress
    jobs = settings.jobs or jobs_here(shop.inputs.float_model.path.stat().st_size)

    def tell(results: Sequence[Tried], left: int) -> None:
        best, _ = chosen_of(results, project)
        last = results[-1]
        said = last.failed or brief(last)
        shop.site.progress.note(f"{last.candidate.name}: {said}")
        ahead = f"best so far {best.candidate.name}, " if best else ""
        minutes = max(0.0, settings.minutes - (time.monotonic() - begun) / 60)
        shop.site.progress.step(f"{ahead}{left} left to try, {minutes:.0f} minutes left")

    way = Way(make=shop.make, costs=costs_of, clock=time.monotonic, known=shop.known, tell=tell)
    left = 60 * settings.minutes - (time.monotonic() - begun)
    return search(plan, way, seconds=left, jobs=jobs)


def brief(tried: Tried) -> str:
    """Return a candidate in a few words: what it loses, its download, its latency."""
    assert tried.variant is not None and tried.contents is not None
    metric = tried.variant.scorecard.metric
    agreed = tried.variant.scorecard.agreement.argmax
    parts = [f"{tried.contents.download / 1000:.1f} kB to download"]
    if not isinstance(metric.value, Unavailable):
        parts.insert(0, f"{metric.name} {metric.value:.2f}")
    elif not isinstance(agreed, Unavailable):
        parts.insert(0, f"{agreed:.1%} as the float model")
    return ", ".join(parts)


def costs_of(tried: Tried) -> tuple[float, ...] | None:
    """Return (loss, download, bytes, latency) of a candidate, less is better; None where it was not made.

    The loss is the drop on held-out labels, else what is not as the float model says; latencies that are one are one.
    """
    if tried.variant is None or tried.contents is None:
        return None
    p50 = _known(tried.variant.scorecard.latency_ms.p50)
    latency = math.inf if p50 == math.inf or p50 <= 0 else float(round(math.log(p50, LATENCY_STEP)))
    return (
        round(loss_of(tried.variant), 6),
        float(tried.contents.download),
        float(tried.variant.artifact.bytes),
        latency,
    )


def loss_of(variant: Variant) -> float:
    """Return what a variant loses on held-out data: the metric's drop, else 100 times the share of other classes, else
    100 times what the cosine lacks."""
    card = variant.scorecard
    if not isinstance(card.metric.drop, Unavailable):
        return card.metric.drop
    for figure in (card.agreement.argmax, card.agreement.cosine):
        if not isinstance(figure, Unavailable):
            return 100 * (1 - figure)
    return math.inf


def ladder_of(tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Return the admitted candidates that no other beats in accuracy, download, file and latency."""
    useful = [(t, costs) for t in tried if t.admitted and not t.control and (costs := costs_of(t)) is not None]
    return tuple(t for t, _ in front(useful, lambda pair: pair[1]))


def chosen_of(tried: Sequence[Tried], project: Project) -> tuple[Tried | None, str]:
    """Return the candidate to ship and why, or None and the nearest one with what it lacks."""
    prefer = project.file.compress.prefer
    ladder = ladder_of(tried)
    made = [t for t in tried if t.variant is not None and not t.control]
    if not made:
        why = next((t.failed for t in tried if t.failed), "there was no time for any")
        return None, f"no candidate could be made: {why}"
    place = PREFERENCES[prefer]

    def order(t: Tried) -> tuple[float, ...]:
        costs = costs_of(t) or ()
        return costs[place], *costs

    if ladder:
        best = min(ladder, key=order)
        plain = [t for t in made if not t.candidate.steps and t.candidate.recipe == best.candidate.recipe]
        words = f"{best.candidate.name}: {PREFERRED[prefer]} of {len(made)} that were tried within the goals"
        if plain and plain[0] is not best and plain[0].contents and best.contents:
            words += f"; {beside(best, plain[0])}"
        return best, words
    nearest = min(made, key=lambda t: (_missed(t), order(t)))
    assert nearest.variant is not None
    lacks = "; ".join(gate.reason for gate in nearest.variant.gates if gate.stops)
    return None, f"no candidate meets the goals; nearest: {nearest.candidate.name}, {brief(nearest)}: {lacks}"


PREFERRED = {
    "download": "the smallest download",
    "file": "the smallest file",
    "latency": "the quickest",
    "accuracy": "the most accurate",
}


def beside(best: Tried, plain: Tried) -> str:
    """Return in words how a candidate compares with the plain recipe that it ends in."""
    assert best.contents and plain.contents and best.variant and plain.variant
    share = plain.contents.download / best.contents.download
    smaller = plain.variant.artifact.bytes / best.variant.artifact.bytes
    lost = loss_of(best.variant) - loss_of(plain.variant)
    size = f" and its file {smaller:.2f} times" if smaller > 1.01 else ""
    return (
        f"its download is {share:.2f} times smaller{size} than that of plain {plain.candidate.recipe}, at "
        f"{abs(lost):.2f} points {'less' if lost > 0 else 'more'} on held-out data"
    )


def _missed(tried: Tried) -> float:
    """Return by what share the worst limit is missed."""
    assert tried.variant is not None
    worst = 0.0
    for gate in tried.variant.gates:
        if gate.stops:
            value, limit = _known(gate.value), _known(gate.limit)
            worst = max(worst, (value - limit) / max(abs(limit), 1e-9))
    return worst


def evaluated(tried: Sequence[Tried], rungs: set[str], site: BuildSite, inputs: Inputs) -> tuple[Tried, ...]:
    """Return the candidates, those of the ladder, the controls and the plain recipes with a scorecard on evaluation
    data. Nothing is chosen by it."""
    if inputs.evaluation is None or inputs.evaluation_prepared is None:
        return tuple(tried)
    shown = [
        t
        for t in tried
        if t.variant and (t.candidate.digest in rungs or t.control or not t.candidate.steps)
    ]
    cards = evaluation_cards(shown, site, inputs)
    return tuple(replace(t, evaluated=cards.get(t.candidate.digest)) for t in tried)


def evaluation_cards(shown: Sequence[Tried], site: BuildSite, inputs: Inputs) -> dict[str, object]:
    raise NotImplementedError


def shipped_into(out: Path, report: CompressReport, site: BuildSite, profile: TargetProfile) -> CompressReport:
    """Write the files of the ladder and, of a chosen candidate, the bundle into `out`."""
    raise NotImplementedError


def _known(figure: Figure) -> float:
    return math.inf if isinstance(figure, Unavailable) or figure != figure else figure
