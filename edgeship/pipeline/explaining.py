"""What quantizing a model for a target costs, layer by layer, and why: `explain_model(...)`."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgeship.compress.causes import causes_of, has_share, loses, shown
from edgeship.compress.mixed import PLUMBING
from edgeship.data.subset import prepared_subset, subset
from edgeship.errors import InputError
from edgeship.pipeline.files import artifact_of
from edgeship.pipeline.inputs import Inputs, opened_for
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize.by_layer import Asked, derive_variants
from edgeship.quantize.choose import choose
from edgeship.quantize.derive import one_scale_operations
from edgeship.quantize.evidence import evidence_of
from edgeship.quantize.recipes import RECIPES, row_of
from edgeship.score.closeness import closeness
from edgeship.tflite.engine import engine_for
from edgeship.tflite.file import Operator
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Dataset,
    Evidence,
    Figure,
    LayerCost,
    Metric,
    PreparedSamples,
    Recipe,
    Unavailable,
)

SAMPLES = 500
"""Evaluation samples that each file is run on: figures of layers beside each other need no more."""
TOGETHER = 6
"""Operations whose files are made and run at a time, between two looks at the clock."""
NOT_LOOKED = "there was no time for it: --minutes gives more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What quantizing costs as a whole and in every operation."""

    inputs: Inputs
    target: str
    typed: str
    """Model and target as they are typed behind a command: `m.keras --target coral`."""
    other: str
    """The precision that a layer may have beside the recipe on the target: float, int16x8, or "" for none."""
    recipe: str
    metric: Metric
    """Of the whole model quantized."""
    snr_db: Figure
    loses: bool
    """Whether it loses enough to look for causes."""
    layers: tuple[LayerCost, ...]
    """Those that give back most first."""
    samples: int
    evaluation: str
    seconds: float


def explain_model(
    project: Project, model: Path, profile: TargetProfile, work: Path, progress: Progress, *, minutes: float
) -> Explanation:
    """Return what quantizing `model` for a target costs, layer by layer, looking at suspicious ones first.

    Raises InputError `model-already-quantized`, `explain-without-data`, `explain-float-target`, and what
    `opened_for` raises.
    """
    begun = time.monotonic()
    (inputs,) = opened_for(project, model, (profile,), work, progress, use="explain")
    here = engine_for(read_tflite(inputs.float_model.path), profile).profile
    recipe = recipe_to_explain(project, here, inputs)
    calibration = inputs.calibration_prepared
    data, prepared = few(inputs, work / "data")
    if calibration is None or prepared is None:
        raise InputError(
            "explain-without-data",
            f"what {recipe.alias} costs only samples tell",
            context={"wanted": "calibration samples for the ranges, and labelled evaluation data"},
            hint=f"edgeship explain {model} --target {profile.name} --calibration DATA.npz --eval DATA.npz",
        )
    evidence = evidence_of(
        inputs.float_model.path, calibration, prepared, one_scale_operations(recipe, here), progress
    )
    graph = read_tflite(inputs.float_model.path).main
    operators = [op for op in graph.operators if op.op not in PLUMBING and op.outputs]
    operators.sort(key=lambda op: -suspicion(evidence.get(op.index)))
    with tempfile.TemporaryDirectory(prefix="edgeship-explain-") as folder:
        bench = Bench(
            project=project, profile=here, inputs=inputs, recipe=recipe, calibration=calibration,
            data=data, prepared=prepared, folder=Path(folder), progress=progress,
        )  # fmt: skip
        whole = bench.run([Asked(name="all", how="all")]).get("all")
        if whole is None:
            raise InputError(
                "explain-not-quantized",
                f"the model cannot be made {recipe.alias}: {bench.failed.get('all', 'no file came of it')}",
                hint=f"edgeship check {model} --target {profile.name}",
            )
        costs = looked_at(bench, operators, whole, lambda: time.monotonic() - begun < 60 * minutes)
    typed = shlex.quote(str(model)), shlex.quote(next(iter(project.targets), profile.name))
    lost = loses(whole[0].drop, whole[1])
    layers = []
    for op in operators:
        figures = costs.get(op.index) or _not_looked()
        found = causes_of(evidence[op.index], *typed) if op.index in evidence else ()
        share = lost and has_share(figures["alone_snr_db"], figures["back_snr_db"], whole[1])
        layers.append(
            LayerCost(
                index=op.index,
                op=op.op,
                layer=layer_of(graph, op),
                causes=shown(found, costs=share),
                **figures,
            )
        )
    return Explanation(
        inputs=inputs,
        target=profile.name,
        typed=f"{typed[0]} --target {typed[1]}",
        other=other_precision(here),
        recipe=recipe.name,
        metric=whole[0],
        snr_db=whole[1],
        loses=lost,
        layers=tuple(sorted(layers, key=_order)),
        samples=len(np.load(prepared.paths[0], mmap_mode="r")),
        evaluation=" ".join(d.info.reference for d in (data or inputs.calibration,) if d is not None),
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where files with some operations quantized are made and run."""

    project: Project
    profile: TargetProfile
    inputs: Inputs
    recipe: Recipe
    calibration: PreparedSamples
    data: Dataset | None
    prepared: PreparedSamples
    folder: Path
    progress: Progress
    failed: dict[str, str] = field(default_factory=dict)
    """Why a file could not be made, by its name."""

    def run(self, asked: Sequence[Asked]) -> dict[str, tuple[Metric, Figure]]:
        """Return (metric, signal over noise) of every file that could be made, by its name."""
        model = self.inputs.float_model
        made, failed = derive_variants(
            model,
            self.recipe,
            self.calibration,
            asked,
            self.folder,
            profile=self.profile,
            progress=self.progress,
        )
        self.failed.update(failed)
        artifacts = {
            name: artifact_of(name, path, self.recipe.name, model.source.sha256)
            for name, path in made.items()
        }
        if not artifacts:
            return {}
        figures = closeness(
            list(artifacts.values()), model, self.data, self.prepared, self.project.goals, self.progress
        )
        for path in made.values():
            path.unlink(missing_ok=True)
        return {name: figures[artifact.sha256] for name, artifact in artifacts.items()}


def looked_at(
    bench: Bench, operators: Sequence[Operator], whole: tuple[Metric, Figure], goes_on: Callable[[], bool]
) -> dict[int, dict[str, Figure]]:
    """Return the four figures of each operation that there was time for, by its index."""
    costs: dict[int, dict[str, Figure]] = {}
    for start in range(0, len(operators), TOGETHER):
        if start and not goes_on():
            break
        some = operators[start : start + TOGETHER]
        bench.progress.advance(start, len(operators), "operations looked at")
        hows: tuple[Literal["alone", "with"], ...] = ("alone", "with")
        asked = [
            Asked(name=f"{how}-{op.index}", how=how, operations=(op.index,)) for op in some for how in hows
        ]
        found = bench.run(asked)
        for op in some:
            costs[op.index] = _figures(
                found.get(f"alone-{op.index}"),
                found.get(f"with-{op.index}"),
                whole,
                bench.failed,
                op.index,
            )
    return costs


def _figures(
    alone: tuple[Metric, Figure] | None,
    left: tuple[Metric, Figure] | None,
    whole: tuple[Metric, Figure],
    failed: Mapping[str, str],
    index: int,
) -> dict[str, Figure]:
    no_alone = Unavailable(reason=failed.get(f"alone-{index}", "it could not be made"))
    no_left = Unavailable(reason=failed.get(f"with-{index}", "it could not be made"))
    return {
        "alone_drop": alone[0].drop if alone else no_alone,
        "alone_snr_db": alone[1] if alone else no_alone,
        "back_drop": _less(whole[0].drop, left[0].drop) if left else no_left,
        "back_snr_db": _less(left[1], whole[1]) if left else no_left,
    }


def _less(one: Figure, other: Figure) -> Figure:
    if isinstance(one, Unavailable):
        return one
    return other if isinstance(other, Unavailable) else one - other


def _not_looked() -> dict[str, Figure]:
    none = Unavailable(reason=NOT_LOOKED)
    return {"alone_drop": none, "alone_snr_db": none, "back_drop": none, "back_snr_db": none}


def _order(layer: LayerCost) -> tuple[float, float]:
    """Sort by what is given back: the metric first, where it tells more than noise, then decibels."""
    drop = 0.0 if isinstance(layer.back_drop, Unavailable) else layer.back_drop
    decibels = -1e9 if isinstance(layer.back_snr_db, Unavailable) else layer.back_snr_db
    return -decibels, -drop


def suspicion(evidence: Evidence | None) -> float:
    """Return how likely an operation is to lose, to look at those first."""
    if evidence is None:
        return 0.0
    unequal = evidence.channels if evidence.per_tensor else 1.0
    return max(evidence.outlier, unequal, evidence.parts, evidence.beyond, 1000 * evidence.clipped)


def recipe_to_explain(project: Project, profile: TargetProfile, inputs: Inputs) -> Recipe:
    """Return the recipe whose loss is explained: the one asked for, else the first of integers that a target takes."""
    if not inputs.float_model.is_float:
        raise InputError(
            "model-already-quantized",
            "the model came quantized: what its layers were in float is not known",
            context={"model": inputs.source.path},
            hint="hand over the model it was made of (.keras, .h5, SavedModel or float .tflite)",
        )
    wanted = [*choose(profile, project.recipes), *(RECIPES[name] for name in profile.precision.accepts)]
    found = next((recipe for recipe in wanted if row_of(recipe.name).kind == "static"), None)
    if found is None:
        raise InputError(
            "explain-float-target",
            f"{profile.name} takes no integer model: nothing is lost by quantizing",
            context={"it takes": ", ".join(profile.precision.accepts)},
            hint="edgeship target list",
        )
    return found


def other_precision(profile: TargetProfile) -> str:
    """Return what a target runs beside int8: float, else int16x8, else nothing."""
    accepted = [RECIPES[name] for name in profile.precision.accepts]
    if any(recipe.precision.activations == "float32" for recipe in accepted):
        return "float"
    return "int16x8" if any(recipe.alias == "int16x8" for recipe in accepted) else ""


def few(inputs: Inputs, work: Path) -> tuple[Dataset | None, PreparedSamples | None]:
    """Return evaluation samples to run on, a part of them where there are many; without any, calibration samples."""
    data, prepared = inputs.evaluation, inputs.evaluation_prepared
    if data is None or prepared is None:
        return None, inputs.calibration_prepared
    if data.info.count <= SAMPLES:
        return data, prepared
    rows = np.sort(np.random.default_rng(0).permutation(data.info.count)[:SAMPLES])
    return subset(data, rows, work, f"{SAMPLES} samples of it"), prepared_subset(prepared, rows, work)
