"""What quantizing a model for a target costs, layer by layer, and why: `explain_model(...)`."""

from __future__ import annotations

import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeship.data.subset import prepared_subset, subset
from edgeship.errors import InputError
from edgeship.pipeline.inputs import Inputs, opened_for
from edgeship.pipeline.layers import Bench, costs_of_layers
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize.choose import choose
from edgeship.quantize.recipes import RECIPES, row_of
from edgeship.tflite.engine import engine_for
from edgeship.tflite.reader import read_tflite
from edgeship.values import (
    Dataset,
    Figure,
    LayerCost,
    Metric,
    PreparedSamples,
    Recipe,
    Unavailable,
)

SAMPLES = 500
"""Evaluation samples that each file is run on: figures of layers beside each other need no more."""


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
    with tempfile.TemporaryDirectory(prefix="edgeship-explain-") as folder:
        bench = Bench(
            project=project, profile=here, inputs=inputs, recipe=recipe, calibration=calibration,
            data=data, prepared=prepared, folder=Path(folder), progress=progress,
        )  # fmt: skip
        typed = shlex.quote(str(model)), shlex.quote(next(iter(project.targets), profile.name))
        found = costs_of_layers(bench, typed, lambda: time.monotonic() - begun < 60 * minutes)
        if found is None:
            raise InputError(
                "explain-not-quantized",
                f"the model cannot be made {recipe.alias}: {bench.failed.get('all', 'no file came of it')}",
                hint=f"edgeship check {model} --target {profile.name}",
            )
    return Explanation(
        inputs=inputs,
        target=profile.name,
        typed=f"{typed[0]} --target {typed[1]}",
        other=other_precision(here),
        recipe=recipe.name,
        metric=found.metric,
        snr_db=found.snr_db,
        loses=found.loses,
        layers=tuple(sorted(found.layers, key=_order)),
        samples=found.samples,
        evaluation=" ".join(d.info.reference for d in (data or inputs.calibration,) if d is not None),
        seconds=time.monotonic() - begun,
    )


def _order(layer: LayerCost) -> tuple[float, float]:
    """Sort by what is given back: the metric first, where it tells more than noise, then decibels."""
    drop = 0.0 if isinstance(layer.back_drop, Unavailable) else layer.back_drop
    decibels = -1e9 if isinstance(layer.back_snr_db, Unavailable) else layer.back_snr_db
    return -decibels, -drop


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
