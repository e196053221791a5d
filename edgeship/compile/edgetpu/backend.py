"""The Edge TPU as a compiler backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeship.compile import costs
from edgeship.compile.backend import CompileOptions, CompileResult, Part, left_uncompiled
from edgeship.compile.edgetpu.blockers import blockers
from edgeship.compile.edgetpu.driver import Compilation, Compiled, Wanted, compile_models
from edgeship.compile.edgetpu.lower import lowerings
from edgeship.compile.edgetpu.package import packages_of
from edgeship.compile.edgetpu.places import find_place
from edgeship.compile.edgetpu.predict import predict
from edgeship.compile.lint import lint
from edgeship.compile.running import LocalRunner
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.values import Artifact, Unavailable, as_json

HOPELESS = frozenset(
    {"dynamic-shape", "bad-scale", "bias-overflow", "already-compiled", "flex-operation", "control-flow"}
)
"""Findings after which starting the compiler is a waste: it would fail, or compute wrong numbers."""


class EdgeTpu:
    """Google's edgetpu_compiler, wherever the user has it."""

    name = "edgetpu"

    def require(self, options: CompileOptions) -> None:
        """Raise ToolError `edgetpu-compiler-missing`, InputError `bad-compiler-place`, or `edgetpu-unsuitable` for a
        model that shall be compiled together with the one to be built. A build host or image is asked for it."""
        find_place(options.place, LocalRunner(options.environment), options.environment).require()
        for other in options.together:
            require_suitable(read_tflite(other), "coral")

    def accepts(self, artifact: Artifact, profile: TargetProfile) -> tuple[str, ...]:
        """Return why the compiler would fail or map nothing, as far as the file shows it."""
        return reasons_against(read_tflite(artifact.path))

    def compile(
        self,
        artifact: Artifact,
        profile: TargetProfile,
        out: Path,
        options: CompileOptions,
        progress: Progress,
    ) -> CompileResult:
        """Compile with the user's compiler; see `CompilerBackend`."""
        model = read_tflite(artifact.path)
        require_suitable(model, profile.name, made_as=artifact.name, accepted=options.accepted)
        for other in options.together:
            require_suitable(read_tflite(other), profile.name)
        wanted = Wanted(
            runtime=profile.compiler.min_runtime_version,
            segments=options.segments,
            options=profile.compiler.options,
            timeout_s=options.timeout_s,
        )
        try:
            place = find_place(options.place, LocalRunner(options.environment), options.environment)
            made = compile_models([artifact.path, *options.together], out, wanted, place, progress=progress)
        except ToolError as error:
            what = "there is no edgetpu_compiler"
            return left_uncompiled(error, artifact, options, what, len(model.main.operators))
        return _result(artifact, model, made)


def require_suitable(
    model: TfliteFile, target: str, *, made_as: str = "", accepted: Sequence[str] = ()
) -> None:
    """Raise InputError `edgetpu-unsuitable` for a model that starting the compiler on is a waste.

    `made_as`: the name of a variant made on the way, whose file is gone when the error is read.
    """
    if against := reasons_against(model, accepted):
        what = {"variant": made_as} if made_as else {"file": model.path}
        raise InputError(
            "edgetpu-unsuitable",
            "this model cannot be compiled for the Edge TPU: " + "; ".join(against),
            context={**what, "target": target},
            hint=f"edgeship check {'MODEL' if made_as else model.path} --target {target}",
        )


def reasons_against(model: TfliteFile, accepted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what would make the compiler fail or map nothing, as far as the file shows it."""
    lowerable = frozenset(i for change in lowerings(model) for i in change.operations)
    findings = (*lint(model, accepted), *blockers(model, lowered=lowerable))
    reasons = [f.message for f in findings if f.severity == "error" and f.code in HOPELESS]
    if not reasons and not predict(model).mapped:
        quantization = [f.message for f in findings if f.code == "not-quantized"]
        reasons = quantization or ["no operation would be mapped to the Edge TPU"]
    return tuple(reasons)


def _result(artifact: Artifact, model: TfliteFile, made: Compilation) -> CompileResult:
    compiled, log = made.models[0], made.log
    total = len(model.main.operators)
    # Of a co-compilation, the blocks come in the order of the models; those of a pipeline are all this one's.
    blocks = log.models[:1] if len(made.models) > 1 else log.models
    said = [m.mapped for m in blocks]
    mapped = (
        sum(n for n in said if n is not None)
        if any(n is not None for n in said)
        else total - len(compiled.cpu_operations)
    )
    tools = {"edgetpu_compiler": log.version or "unknown"}
    return CompileResult(
        artifacts=tuple(_artifact(artifact, path, tools) for path in compiled.files),
        compiled=True,
        reason=f"{mapped} of {total} operations on the Edge TPU",
        mapped=mapped,
        total=total,
        subgraphs=float(sum(m.subgraphs for m in blocks if m.subgraphs is not None))
        if any(m.subgraphs is not None for m in blocks)
        else Unavailable(reason="the compiler's log does not say"),
        estimates={
            "parameter_bytes_on_chip": float(sum(p.cached_bytes for p in compiled.packages)),
            "parameter_bytes_streamed": float(sum(p.streamed_bytes for p in compiled.packages)),
            "parameter_bytes_before": float(costs.constant_bytes(model.main, range(total))),
            "min_runtime_version": float(max(p.min_runtime_version for p in compiled.packages)),
            "latency_ms": Unavailable(reason="the compiler does not estimate it: measure on the device"),
        },
        log={
            "compiler": log.version or "unknown",
            "where": made.place,
            "arguments": list(made.arguments),
            "tries": made.tries,
            "models": [as_json(m) for m in log.models],
            "lowered": [as_json(c) for c in compiled.lowered],
            "cpu_operations": list(compiled.cpu_operations),
            "caching_tokens": sorted(f"{t:016x}" for p in compiled.packages for t in p.caching_tokens),
        },
        tools=tools,
        segments=_parts(compiled) if len(compiled.files) > 1 else (),
        together=tuple(part for other in made.models[1:] for part in _parts(other)),
    )


def _parts(compiled: Compiled) -> tuple[Part, ...]:
    """Return what each file of one compiled model holds."""
    parts = []
    for path in compiled.files:
        packages = packages_of(read_tflite(path))
        parts.append(
            Part(
                source=compiled.source,
                path=path,
                bytes=path.stat().st_size,
                sha256=sha256_file(path),
                parameter_bytes_on_chip=sum(p.cached_bytes for p in packages),
                parameter_bytes_streamed=sum(p.streamed_bytes for p in packages),
                min_runtime_version=max(p.min_runtime_version for p in packages),
                caching_tokens=tuple(sorted(f"{t:016x}" for p in packages for t in p.caching_tokens)),
            )
        )
    return tuple(parts)


def _artifact(artifact: Artifact, path: Path, tools: dict[str, str]) -> Artifact:
    return replace(
        artifact,
        path=path,
        bytes=path.stat().st_size,
        sha256=sha256_file(path),
        signature=read_tflite(path).signature,
        tools={**artifact.tools, **tools},
    )
