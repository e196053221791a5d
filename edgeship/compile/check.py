"""`check_model`: what will happen to a model on a target, in under a second and without the vendor's compiler."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeship.compile import costs
from edgeship.compile.as_it_is import check_as_it_is
from edgeship.compile.assume import as_int8, is_float, stays_float
from edgeship.compile.edgetpu import check as edgetpu
from edgeship.compile.edgetpu.advice import FIX
from edgeship.compile.edgetpu.predict import predict
from edgeship.compile.edgetpu.view import Settings
from edgeship.compile.lint import how_to_quantize, lint
from edgeship.compile.report import CheckReport, Finding, Placed, Verdict, ordered
from edgeship.errors import InputError
from edgeship.profile import TargetProfile
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.tails import float_tail
from edgeship.values import Unavailable


def check_model(
    path: Path,
    profile: TargetProfile,
    *,
    shown_as: Path | None = None,
    vela: tuple[str, ...] | None = None,
    accepted: Sequence[str] = (),
) -> CheckReport:
    """Return what will become of the `.tflite` at `path` on a target.

    Edge TPU: predicted by rules. Ethos-U: Vela itself is asked (`vela`: the argument list that starts it, None: the
    one of the toolchain). Targets without a compiler: all of it is the runtime's, on the CPU or offered to a GPU.
    `accepted`: flaws that the user ships all the same (`edgeship.tflite.flaws.CODES`). `shown_as`: the user's own
    model, from which `path` was converted to float; it is judged as int8 would be. For Ethos-U `path` is then its int8
    twin. Raises InputError where the file is no `.tflite`; ToolError where Vela is needed and missing.
    """
    model = read_tflite(path)
    if not model.main.operators:
        raise InputError("model-empty-graph", "the model has no operations", context={"file": path})
    if shown_as is not None:
        return _converted(model, profile, shown_as, vela)
    backend = profile.compiler.backend
    if backend == "edgetpu":
        return _edgetpu(model, profile, accepted=accepted)
    if backend == "vela":
        from edgeship.compile.vela_check import check_with_vela

        return check_with_vela(model, profile, vela)
    return check_as_it_is(model, profile, accepted)


def _converted(
    model: TfliteFile, profile: TargetProfile, shown_as: Path, vela: tuple[str, ...] | None
) -> CheckReport:
    """Judge a float model as it would be after quantization to int8."""
    if profile.compiler.backend == "vela":
        return _twin(model, profile, shown_as, vela)
    if profile.compiler.backend != "edgetpu":
        report = check_as_it_is(model, profile)
        left = tuple(f for f in report.findings if f.code != "not-quantized")  # who builds it quantizes it
        return replace(report, model=str(shown_as), findings=left)
    report = _edgetpu(as_int8(model), profile, stays_float(model))
    message = "this is what quantizing it to int8 should give; what that computes only samples tell"
    assumed = _assumed(message, shown_as, profile, report.verdict == "fail")
    return replace(report, model=str(shown_as), findings=ordered((*report.findings, assumed)))


def _twin(
    model: TfliteFile, profile: TargetProfile, shown_as: Path, vela: tuple[str, ...] | None
) -> CheckReport:
    """Ask Vela about the int8 twin of a float model. Raises InputError `check-needs-int8` where it is float itself."""
    from edgeship.compile.vela_check import check_with_vela

    if is_float(model):
        raise InputError(
            "check-needs-int8",
            "Vela can only be asked about a quantized model, and this one is float",
            context={"model": shown_as, "target": profile.name},
            hint=f"edgeship build {shlex.quote(str(shown_as))} --target {profile.name} --calibration DATA",
        )
    left = _left_in_float(model)
    report = check_with_vela(model, profile, vela)
    message = (
        "Vela was asked about its int8 form, made with made-up samples; what that computes only yours tell"
    )
    assumed = _assumed(message, shown_as, profile, bool(left))
    found = ordered((*report.findings, *left, assumed))
    return replace(report, model=str(shown_as), findings=found, verdict="fail" if left else report.verdict)


def _assumed(message: str, shown_as: Path, profile: TargetProfile, wrong: bool) -> Finding:
    """Say that a float model was judged by what it would be; `wrong`: something is in the way of that."""
    rest = f"{shlex.quote(str(shown_as))} --target {profile.name} --calibration DATA"
    return Finding(
        code="assumed-int8",
        severity="note",
        message=f"the model is float: {message}",
        fix=f"first what is wrong, then: edgeship build {rest}"
        if wrong
        else f"edgeship check {rest} proves it",
    )


def _left_in_float(model: TfliteFile) -> tuple[Finding, ...]:
    """Say what quantizing left in float: `edgeship build` refuses that for a target that takes integers only."""
    tensors = model.main.tensors
    tails = [tail for output in model.main.outputs if (tail := float_tail(model, output))]
    joining = {i for tail in tails for i in tail.operators}
    left = [
        o
        for o in model.main.operators
        if o.op != "DEQUANTIZE"
        and o.index not in joining
        and any(tensors[i].dtype == "float32" for i in o.outputs if i >= 0)
    ]
    if not left:
        return ()
    names = ", ".join(dict.fromkeys(o.op for o in left))
    return (
        Finding(
            code="stays-float",
            severity="error",
            message=f"quantizing leaves {names} in float: no int8 form is known here",
            fix=FIX["stays-float"],
            operations=tuple(o.index for o in left),
        ),
    )


def _edgetpu(
    model: TfliteFile,
    profile: TargetProfile,
    in_float: frozenset[int] = frozenset(),
    accepted: Sequence[str] = (),
) -> CheckReport:
    settings = edgetpu.settings_of(profile.compiler.min_runtime_version, profile.compiler.options)
    prediction = predict(model, settings, in_float)
    room = profile.memory.accelerator_kb * 1024 if profile.memory.accelerator_kb else None
    found = ordered(
        (
            *lint(model, accepted),
            *edgetpu.findings(model, prediction, room),
            *_after_int8(model, settings),
        )
    )
    return CheckReport(
        model=str(model.path),
        sha256=model.sha256,
        target=profile.name,
        basis="predicted",
        tool="rules of coral.ai's operation table; edgetpu_compiler 16.0 semantics",
        accelerator="Edge TPU",
        verdict=_verdict(prediction.operations, found),
        operations=prediction.operations,
        findings=found,
        cuts=edgetpu.cuts(model, prediction),
        subgraphs=len(prediction.kept),
        parameter_bytes=float(costs.constant_bytes(model.main, prediction.mapped)),
        accelerator_bytes=float(room) if room else Unavailable(reason="the target does not say"),
    )


def _after_int8(model: TfliteFile, settings: Settings) -> tuple[Finding, ...]:
    """Say what quantization would bring, where the model is float."""
    if not is_float(model):
        return ()
    mapped = len(predict(as_int8(model), settings, stays_float(model)).mapped)
    return (
        Finding(
            code="after-int8",
            severity="note",
            message=f"quantized to int8, {mapped} of {len(model.main.operators)} operations would run on the Edge TPU",
            fix=how_to_quantize(model),
        ),
    )


BLOCKING = frozenset({
    "dynamic-shape", "bad-scale", "bias-overflow", "already-compiled", "flex-operation", "operation-version",
    "control-flow", "stays-float",
})  # fmt: skip
"""Findings of severity error that end the compilation, whatever is mapped."""


def _verdict(operations: tuple[Placed, ...], found: tuple[Finding, ...]) -> Verdict:
    mapped = sum(o.placement == "accelerator" for o in operations)
    if mapped == 0 or any(f.severity == "error" and f.code in BLOCKING for f in found):
        return "fail"
    return "pass" if mapped == len(operations) else "partial"
