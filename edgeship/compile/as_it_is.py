"""A check for targets without a compiler: the runtime takes the file as it is, on the CPU or with a delegate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeship.compile import costs
from edgeship.compile.lint import lint
from edgeship.compile.report import CheckReport, Finding, Placed, Placement, ordered
from edgeship.profile import TargetProfile
from edgeship.tflite.engine import COMPILED, EngineChoice, engine_for, refusal
from edgeship.tflite.file import TfliteFile
from edgeship.values import Unavailable

WRONG_THERE = frozenset({"bad-scale", "bias-overflow", "compiled-elsewhere", "engine-refuses"})
HARMLESS = frozenset({"not-quantized", "float-inside", "float-io", "dynamic-shape"})
"""Findings that are no defect where nothing is compiled: float tensors and open sizes."""


def check_as_it_is(model: TfliteFile, profile: TargetProfile, accepted: Sequence[str] = ()) -> CheckReport:
    """Return what a target's runtime makes of a model.

    On a GPU what is taken is decided by LiteRT when it loads the model, so a placement there is a guess of low
    confidence; the proof before a release serves fails where the GPU took no part.
    """
    choice = engine_for(model, profile)
    profile = choice.profile
    found = [replace(f, severity="note") if f.code in HARMLESS else f for f in lint(model, accepted)]
    if "int8" not in profile.precision.accepts:
        found = [f for f in found if f.code != "not-quantized"]  # float is what such a target takes
    found += [*_compiled(model), *_engine(model, choice)]
    failed = any(f.severity == "error" and f.code in WRONG_THERE for f in found)
    gpu = profile.runtime.delegate == "gpu"
    placement: Placement = "accelerator" if gpu and not failed else "cpu"
    operations = tuple(range(len(model.main.operators)))
    return CheckReport(
        model=str(model.path),
        sha256=model.sha256,
        target=profile.name,
        basis="predicted" if gpu else "not-needed",
        tool="none: the target has no compiler",
        accelerator="GPU" if gpu else "none",
        verdict="fail" if failed else "pass",
        operations=_placed(model, profile, placement),
        findings=ordered(found),
        cuts=(),
        subgraphs=int(placement == "accelerator"),
        parameter_bytes=float(costs.constant_bytes(model.main, operations)),
        accelerator_bytes=Unavailable(reason="the target has no accelerator with a memory of its own"),
    )


def _placed(model: TfliteFile, profile: TargetProfile, placement: Placement) -> tuple[Placed, ...]:
    runtime = profile.runtime
    with_delegate = "" if runtime.delegate in ("none", "gpu") else f" with {runtime.delegate}"
    on_cpu = f"Runs on the CPU, {runtime.engine} {runtime.version}{with_delegate}"
    return tuple(
        Placed(
            index=o.index,
            op=o.op,
            layer=model.main.tensors[o.outputs[0]].name.split(";")[0]
            if o.outputs and o.outputs[0] >= 0
            else "",
            placement=placement,
            status="Offered to the GPU" if placement == "accelerator" else on_cpu,
            reason=f"{runtime.engine} {runtime.version} decides when it loads the model"
            if placement == "accelerator"
            else "",
            confidence="low" if placement == "accelerator" else ("medium" if o.custom else "high"),
        )
        for o in model.main.operators
    )


def _engine(model: TfliteFile, choice: EngineChoice) -> Iterator[Finding]:
    """Yield one finding where the engine that the target prefers does not run the model."""
    runtime = choice.profile.runtime
    if choice.reason:
        yield Finding(
            code="another-engine",
            severity="note",
            message=f"runs with {runtime.engine} {runtime.version}: {choice.reason}",
            fix="nothing to do: the bundle carries that engine",
        )
    elif refused := refusal(model, runtime.engine):
        yield Finding(
            code="engine-refuses",
            severity="error",
            message=f"{runtime.engine} {runtime.version} refuses {refused}, and the target has no other engine",
            fix="build for a CPU target of the same machine, or save the model with keras (Keras 3), which makes loops",
        )


def _compiled(model: TfliteFile) -> Iterator[Finding]:
    """Yield one finding where a model was compiled for an accelerator."""
    compiled = [o for o in model.main.operators if o.custom and o.op in COMPILED]
    if compiled:
        yield Finding(
            code="compiled-elsewhere",
            severity="error",
            message=f"the model was compiled for {COMPILED[compiled[0].op]}, which this target does not have "
            f"({compiled[0].op})",
            fix="give the .tflite from before compiling",
            operations=tuple(o.index for o in compiled),
        )
