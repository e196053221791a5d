"""One float `.tflite` + recipes -> artifacts, all in one worker process, so that recipes do not multiply its
start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeship.data.named import as_said
from edgeship.digest import sha256_file, sha256_json
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.progress import Progress
from edgeship.quantize.exceptions import OTHERS, others_of
from edgeship.quantize.recipes import RECIPES, io_type, recipe_of, row_of, without_ranges
from edgeship.quantize.recurrent import IntegerForm, derive_fused, needs_tensorflow
from edgeship.quantize.settings import settings
from edgeship.quantize.versions import equivalent_release, per_channel_dense
from edgeship.tflite.weights import PLACES
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import Artifact, FloatModel, PreparedSamples, Recipe

if TYPE_CHECKING:
    from edgeship.profile import TargetProfile

WORKER = "edgeship.quantize.worker:derive"
JOINED = ".joined.tflite"
"""Ends the name of a file that answers as the float model does, beside the one whose outputs are parts of those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """What came of a set of recipes: the files, and why others could not be made."""

    artifacts: tuple[Artifact, ...]
    failed: tuple[tuple[str, str], ...]
    """(recipe, reason), in the order asked for."""


def derive(
    float_model: FloatModel,
    recipe: Recipe,
    calibration: PreparedSamples | None,
    out: Path,
    *,
    profile: TargetProfile,
    progress: Progress | None = None,
) -> Artifact:
    """Return the artifact of one recipe, written into folder `out`. Raises what `derive_all` raises, and
    ToolError `quantization-failed`.
    """
    made = derive_all(float_model, (recipe,), calibration, out, profile=profile, progress=progress)
    if made.failed:
        others = without_ranges(profile.precision.accepts)
        raise ToolError(
            "quantization-failed",
            f"{recipe.name} could not be derived: {made.failed[0][1]}",
            context={"model": float_model.source.path, "recipe": recipe.name},
            hint="try another --recipe"
            + (f"; {' and '.join(others)} ask least of a model" if others else ""),
        )
    return made.artifacts[0]


def derive_all(
    float_model: FloatModel,
    recipes: Sequence[Recipe],
    calibration: PreparedSamples | None,
    out: Path,
    *,
    profile: TargetProfile,
    progress: Progress | None = None,
    limits: WorkerLimits | None = None,
) -> Derivation:
    """Return the artifacts of `recipes`, written as `<recipe>.tflite` into folder `out`.

    `calibration` holds samples in model units; recipes that need none are still better
    with them, because biases are corrected. The same inputs give the same bytes. A
    recipe that fails is a reason in the result, and a tool that dies is asked for each recipe alone, so one
    cannot take the others with it. Raises InputError `calibration-missing`,
    `model-already-quantized`.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not float_model.is_float:
        return Derivation(artifacts=(_as_given(float_model, recipes, out, profile, progress),), failed=())
    needing = [recipe for recipe in recipes if recipe.needs_calibration]
    if needing:
        _check_calibration(float_model, needing[0], calibration, profile)
    jobs = [job_of(recipe, out, profile) for recipe in recipes]
    used = calibration if any(job["correct_biases"] for job in jobs) else None
    payload = {
        "model": str(float_model.path),
        "calibration": [str(path) for path in used.paths] if used else None,
        "jobs": jobs,
    }
    fused = _fused(float_model, recipes, used, out, profile=profile, limits=limits, progress=progress)
    payload["jobs"] = [job for job in jobs if job["recipe"] not in fused]
    failed, told, tools, seen = (
        _run(payload, limits or WorkerLimits(), progress) if payload["jobs"] else ({}, {}, {}, True)
    )
    for name, (why, versions) in fused.items():
        failed |= {name: why} if why else {}
        tools |= versions
    artifacts = tuple(
        _artifact(
            out / f"{recipe.name}.tflite",
            recipe.name,
            float_model,
            used.sha256 if used and seen and row_of(recipe.name).corrects_biases else None,
            tools,
            told.get(recipe.name),
        )
        for recipe in recipes
        if recipe.name not in failed
    )
    reasons = tuple((recipe.name, failed[recipe.name]) for recipe in recipes if recipe.name in failed)
    return Derivation(artifacts=artifacts, failed=reasons)


def order_of(recipes: Sequence[Recipe], profile: TargetProfile) -> str:
    """Return a digest of what `derive_all` is to make of a float model: targets that differ in nothing it depends on
    have one."""
    return sha256_json([job_of(recipe, Path(), profile) for recipe in recipes])


def one_scale_operations(recipe: Recipe, profile: TargetProfile) -> tuple[str, ...]:
    """Return the operations whose weights get one scale in all under a recipe on a target, not one a channel."""
    if profile.precision.granularity != "per_channel":
        return tuple(PLACES)
    return () if _dense(recipe, profile) else ("FULLY_CONNECTED",)


def _fused(
    float_model: FloatModel,
    recipes: Sequence[Recipe],
    samples: PreparedSamples | None,
    out: Path,
    *,
    profile: TargetProfile,
    limits: WorkerLimits | None,
    progress: Progress | None,
) -> dict[str, tuple[str | None, dict[str, str]]]:
    """Make the int8 recipes of a model that only TensorFlow's quantizer has an int8 form of; return recipe -> (why it
    failed, or None; versions of tools)."""
    mine = [recipe for recipe in recipes if row_of(recipe.name).is_int8]
    if samples is None or not mine or not needs_tensorflow(float_model.path):
        return {}
    return {
        recipe.name: derive_fused(
            float_model.path,
            samples,
            out / f"{recipe.name}.tflite",
            form=IntegerForm(
                io=io_type(recipe, profile.precision.io),
                per_channel=profile.precision.granularity == "per_channel",
                per_channel_dense=_dense(recipe, profile),
            ),
            limits=limits or WorkerLimits(),
            progress=progress,
        )
        for recipe in mine
    }


def _run(
    payload: dict[str, Any], limits: WorkerLimits, progress: Progress | None
) -> tuple[dict[str, str], dict[str, Any], dict[str, str], bool]:
    """Return (recipe -> reason for failure, recipe -> notes and warnings, versions of tools, whether the calibration
    samples were run); jobs are run one by one where all at once crashes.
    """
    try:
        value = run_worker(WORKER, payload, limits=limits, progress=progress).value
    except InputError:
        raise
    except EdgeshipError as error:
        if len(payload["jobs"]) == 1:
            return {payload["jobs"][0]["recipe"]: error.message}, {}, {}, False
        failed: dict[str, str] = {}
        told: dict[str, Any] = {}
        tools: dict[str, str] = {}
        seen = False
        for job in payload["jobs"]:
            why, words, versions, ran = _run({**payload, "jobs": [job]}, limits, progress)
            failed |= why
            told |= words
            tools |= versions
            seen |= ran
        return failed, told, tools, seen
    return (
        dict(value["failed"]),
        dict(value["told"]),
        dict(value["tools"]),
        payload["calibration"] is not None and not value["unseen"],
    )


def job_of(recipe: Recipe, out: Path, profile: TargetProfile) -> dict[str, Any]:
    """Return what the worker needs to know of one recipe for one target."""
    row = row_of(recipe.name)
    per_channel = profile.precision.granularity == "per_channel"
    dense = {alias: _dense(RECIPES[alias], profile) for alias in OTHERS}
    return {
        "recipe": recipe.name,
        "ranges": row.ranges,
        "others": without_ranges(profile.precision.accepts),
        "correct_biases": row.corrects_biases,
        "apart": "no" if row.activation_bits != 8 else "float" if profile.deployable else "outputs",
        "out": str(out / f"{recipe.name}.tflite"),
        "joined": str(out / f"{recipe.name}{JOINED}"),
        "settings": settings(
            row,
            per_channel=per_channel,
            per_channel_dense=_dense(recipe, profile),
            io=io_type(recipe, profile.precision.io),
        ),
        "mixed_with": others_of(per_channel=per_channel, dense=dense) if row.kind == "static" else {},
    }


def _dense(recipe: Recipe, profile: TargetProfile) -> bool:
    """Return whether FULLY_CONNECTED may have a scale per channel on a target."""
    available = equivalent_release(profile.runtime.engine, profile.runtime.version)
    # edgetpu_compiler's last release is of 2021, when no converter made per-channel FULLY_CONNECTED.
    return profile.compiler.backend == "none" and per_channel_dense(row_of(recipe.name).kind, available)


def _check_calibration(
    float_model: FloatModel, recipe: Recipe, calibration: PreparedSamples | None, profile: TargetProfile
) -> None:
    if calibration is None:
        others = without_ranges(profile.precision.accepts)
        raise InputError(
            "calibration-missing",
            f"{recipe.name} ({recipe.alias}) needs calibration samples, a hundred or more",
            context={"model": float_model.source.path, "key": "calibration"},
            hint=f"--calibration samples.npz ({_arrays(float_model)})"
            + (f", or --recipe {others[0]}, which needs none" if others else ""),
        )


def _arrays(float_model: FloatModel) -> str:
    """Return what samples of a model are called."""
    names = [as_said(spec.name) for spec in float_model.signature.inputs]
    return "an array x" if len(names) == 1 else f"arrays {', '.join(names)}"


def _as_given(
    float_model: FloatModel,
    recipes: Sequence[Recipe],
    out: Path,
    profile: TargetProfile,
    progress: Progress | None,
) -> Artifact:
    """Return a model that came quantized as its own only artifact, in a form that the target's runtime reads."""
    from edgeship.quantize.dense import as_runtime_reads
    from edgeship.tflite.precision import precision_of
    from edgeship.tflite.reader import read_tflite

    own = recipe_of(precision_of(read_tflite(float_model.path)))
    others = [recipe.name for recipe in recipes if recipe.name != own.name]
    if others:
        raise InputError(
            "model-already-quantized",
            f"the model came quantized as {own.name}: {others[0]} cannot be derived from it",
            context={"model": float_model.source.path, "asked": ", ".join(others)},
            hint="hand over the float model (.keras, .h5, SavedModel, float .tflite), or leave --recipe out",
        )
    path = out / f"{own.name}.tflite"
    content, changed = as_runtime_reads(float_model.path.read_bytes(), profile)
    if changed and progress:
        layers = f"{changed} dense layers" if changed > 1 else "a dense layer"
        progress.note(
            f"{profile.name}: {layers} came with a scale per channel, which {profile.runtime.engine} "
            f"{profile.runtime.version} cannot read: one scale for each, coarser for small channels; the float "
            "model, or converter._experimental_disable_per_channel_quantization_for_dense_layers = True, keeps more"
        )
    path.write_bytes(content)
    return _artifact(path, own.name, float_model, None, {})


def _artifact(
    path: Path,
    recipe: str,
    float_model: FloatModel,
    calibration: str | None,
    tools: dict[str, str],
    told: dict[str, list[str]] | None = None,
) -> Artifact:
    from edgeship.tflite.precision import precision_of
    from edgeship.tflite.reader import read_tflite

    held = read_tflite(path)
    joined = path.with_name(recipe + JOINED)
    return Artifact(
        path=path,
        recipe=recipe,
        bytes=held.size,
        sha256=sha256_file(path),
        signature=held.signature,
        precision=precision_of(held),
        model_sha256=float_model.source.sha256,
        calibration_sha256=calibration,
        tools={**float_model.tools, **tools},
        notes=tuple(told["notes"]) if told else (),
        warnings=tuple(told["warnings"]) if told else (),
        joined=joined if joined.exists() else None,
    )
