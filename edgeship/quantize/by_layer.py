"""One recipe with some operations left out, or alone, many times over: `derive_variants(...)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.quantize.derive import WORKER, job_of
from edgeship.quantize.exceptions import alone, mixed
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import FloatModel, PreparedSamples, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One file that is wanted."""

    name: str
    how: Literal["all", "alone", "with"]
    """The whole recipe, some operations alone of it, or all but those, which get another precision."""
    operations: tuple[int, ...] = ()
    precision: str = "float"
    """Of the operations where all others are `with` the recipe: float, int8, int4 or int16x8."""


def derive_variants(
    float_model: FloatModel,
    recipe: Recipe,
    calibration: PreparedSamples,
    asked: Sequence[Asked],
    out: Path,
    *,
    profile: TargetProfile,
    progress: Progress,
    limits: WorkerLimits | None = None,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Return (name -> file, name -> why it could not be made); the calibration samples are run once for all.

    Inputs and outputs stay as the recipe has them on the target; of operations alone they are float.
    """
    out.mkdir(parents=True, exist_ok=True)
    graph = read_tflite(float_model.path).main
    jobs = []
    for one in asked:
        job = {
            **job_of(recipe, out, profile),
            "recipe": one.name,
            "apart": "no",
        }
        if one.how == "alone":
            job["settings"] = alone(job["settings"], graph, one.operations)
        elif one.how == "with":
            wanted = dict.fromkeys(one.operations, one.precision)
            job["settings"] = mixed(job["settings"], graph, wanted, job["mixed_with"])
        jobs.append(
            {**job, "out": str(out / f"{one.name}.tflite"), "joined": str(out / f"{one.name}.joined")}
        )
    payload = {
        "model": str(float_model.path),
        "calibration": [str(path) for path in calibration.paths],
        "jobs": jobs,
    }
    failed = dict(
        run_worker(WORKER, payload, limits=limits or WorkerLimits(), progress=progress).value["failed"]
    )
    return {one.name: out / f"{one.name}.tflite" for one in asked if one.name not in failed}, failed
