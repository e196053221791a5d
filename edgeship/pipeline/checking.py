"""What will become of a model on a target: the compiler's part, and the gates that a build would apply to it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.compile.check import check_model, check_unquantized
from edgeship.compile.report import CheckReport, Finding, ordered
from edgeship.digest import sha256_bytes
from edgeship.errors import InputError
from edgeship.model.closing import resized
from edgeship.model.convert import to_float_tflite
from edgeship.pipeline.twin import int8_twin
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.quantize import contract
from edgeship.quantize.dense import as_runtime_reads
from edgeship.quantize.recipes import RECIPES, recipe_of
from edgeship.quantize.recurrent import needs_tensorflow
from edgeship.tflite.engine import engine_for
from edgeship.tflite.normalise import normalised
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, GateResult, ModelSource, Precision, Recipe


def check_target(
    source: ModelSource,
    profile: TargetProfile,
    work: Path,
    progress: Progress,
    *,
    accepted: Sequence[str] = (),
    signature: str | None = None,
) -> CheckReport:
    """Return the report of a model on a target; what a build would refuse fails here, too.

    A quantized `.tflite` is judged as it is; any other model is converted to a float one first, kept under `work`, and
    judged by the form that the target takes. `accepted` are the flaws that the user ships all the same, `signature`
    the entry point of a SavedModel. Raises what `to_float_tflite` and `check_model` raise.
    """
    path = source.path
    held = precision_of(read_tflite(path)) if source.kind == "tflite" else None
    if held is not None and not is_float(held):
        return _as_given(source, held, profile, progress, accepted)
    converted = to_float_tflite(
        source, work, batch=profile.batch.fixed, progress=progress, signature=signature
    )
    if profile.compiler.backend == "none":
        report = check_model(converted.path, profile, shown_as=path)
        return _judged(report, _gates(converted.path, RECIPES["fp32"], profile))
    return _of_integers(converted, path, profile, progress)


def _of_integers(model: FloatModel, path: Path, profile: TargetProfile, progress: Progress) -> CheckReport:
    """Judge a float model by its int8 twin, which is made as a build makes it."""
    told_by_twin = profile.compiler.backend == "vela" or needs_tensorflow(model.path)
    report = None if told_by_twin else check_model(model.path, profile, shown_as=path)
    try:
        with int8_twin(model, profile, progress) as twin:
            report = report or check_model(twin, profile, shown_as=path)
            return _judged(report, _gates(twin, RECIPES["int8"], profile))
    except InputError as error:
        if error.reference != "check-needs-int8":
            raise
        report = report or check_unquantized(model.path, profile, error.message, shown_as=path)
        return _refused(report, error.message, error.hint or "")


def _as_given(
    source: ModelSource,
    held: Precision,
    profile: TargetProfile,
    progress: Progress,
    accepted: Sequence[str],
) -> CheckReport:
    """Judge a model that came quantized in the form in which a build ships it: sizes closed, one scale where a runtime
    reads no more."""
    path = source.path
    recipe = recipe_of(held)
    with tempfile.TemporaryDirectory(prefix="edgeship-check-") as folder:
        shipped = Path(folder) / path.name
        given = path.read_bytes()
        whole = resized(given, source, progress) if source.shapes else given
        content, _ = as_runtime_reads(normalised(whole), profile)
        shipped.write_bytes(content)
        report = replace(
            check_model(shipped, profile, accepted=accepted), model=str(path), sha256=sha256_bytes(given)
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
    said = "; ".join(f"{gate.name}: {gate.reason}" for gate in stopped)
    return _refused(report, said, "edgeship inspect MODEL shows all of it")


def _refused(report: CheckReport, why: str, fix: str) -> CheckReport:
    """Return the report of a model that the accelerator would take and a build would not."""
    finding = Finding(
        code="build-refuses", severity="error", message=f"edgeship build would refuse it: {why}", fix=fix
    )
    return replace(report, verdict="fail", findings=ordered((*report.findings, finding)))
