"""Ethos-U as a compiler backend, through Arm's Vela."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.compile.backend import CompileOptions, CompileResult, left_uncompiled
from edgeship.compile.lint import FLOATS, how_to_quantize
from edgeship.compile.vela_tool import NPU_OP, VelaRun, run_vela
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain.environments import require
from edgeship.values import Artifact, as_json


class Vela:
    """Arm's ethos-u-vela, in an environment of its own."""

    name = "vela"

    def require(self, options: CompileOptions) -> None:
        """Raise ToolError `tool-missing`."""
        require("vela", options.environment)

    def accepts(self, artifact: Artifact, profile: TargetProfile) -> tuple[str, ...]:
        """Return why Vela could put nothing on the NPU."""
        return reasons_against(read_tflite(artifact.path))

    def compile(
        self,
        artifact: Artifact,
        profile: TargetProfile,
        out: Path,
        options: CompileOptions,
        progress: Progress,
    ) -> CompileResult:
        """Compile with Vela; see `CompilerBackend`. Raises ToolError `vela-nothing-mapped` too."""
        model = read_tflite(artifact.path)
        if against := reasons_against(model):
            raise InputError(
                "vela-unsuitable",
                "this model has nothing for the NPU: " + "; ".join(against),
                context={"variant": artifact.name, "target": profile.name},
                hint=how_to_quantize(model),
            )
        try:
            tool = require("vela", options.environment)
        except ToolError as error:
            what = "Vela is not installed"
            return left_uncompiled(error, artifact, options, what, len(model.main.operators))
        progress.step(f"compiling for {profile.title} with Vela {tool.version}")
        with run_vela(
            artifact.path, profile.compiler.options, tool.command, timeout_s=options.timeout_s
        ) as made:
            if not made.npu_blocks:
                raise nothing_mapped(artifact.path, made)
            out.mkdir(parents=True, exist_ok=True)
            target = out / f"{artifact.path.stem}_vela.tflite"
            target.write_bytes(made.file.read_bytes())
            _same_signature(model, made.model, artifact.path)
            tools = {"ethos-u-vela": tool.version}
            return CompileResult(
                artifacts=(_artifact(artifact, target, made.model, tools),),
                compiled=True,
                reason=_reason(model, made),
                mapped=len(model.main.operators) - cpu_count(made.model),
                total=len(model.main.operators),
                subgraphs=float(made.npu_blocks),
                estimates=made.estimates,
                log=_log(made),
                tools=tools,
            )


def reasons_against(model: TfliteFile) -> tuple[str, ...]:
    """Return why Vela would leave everything to the CPU, as far as the file shows it."""
    graph = model.main
    if any(o.custom and o.op == NPU_OP for o in graph.operators):
        return ("it came out of Vela already",)
    floats = [
        o.op
        for o in graph.operators
        if any(graph.tensors[i].dtype in FLOATS for i in (*o.inputs, *o.outputs) if i >= 0)
        and o.op not in ("QUANTIZE", "DEQUANTIZE")
    ]
    if len(floats) == len([o for o in graph.operators if o.op not in ("QUANTIZE", "DEQUANTIZE")]):
        return (
            f"all its {len(floats)} operations work on float tensors; the NPU computes in int8 and int16",
        )
    return ()


def cpu_count(compiled: TfliteFile) -> int:
    """Return how many operations a file from Vela leaves to the CPU."""
    return sum(not (o.custom and o.op == NPU_OP) for o in compiled.main.operators)


def nothing_mapped(path: Path, made: VelaRun) -> ToolError:
    """Return the error for a compilation that put nothing on the NPU, which Vela calls a success."""
    first = next((f"{layer}: {why}" for layer, why in made.refusals.items()), "Vela gives no reason")
    return ToolError(
        "vela-nothing-mapped",
        "Vela put no operation on the NPU: the model would run on the CPU alone",
        context={"file": path.name, "operations": cpu_count(made.model), "first": first},
        hint="the NPU takes int8 and int16 models: edgeship build FLOAT_MODEL --target T --calibration DATA",
    )


def _same_signature(before: TfliteFile, after: TfliteFile, path: Path) -> None:
    """Check that names aside, what goes in and comes out is what it was."""

    def seen(model: TfliteFile) -> list[tuple[str, tuple[int, ...]]]:
        tensors = model.main.tensors
        return [(tensors[i].dtype, tensors[i].shape) for i in (*model.main.inputs, *model.main.outputs)]

    if sorted(seen(before)) != sorted(seen(after)):
        raise ToolError(
            "vela-io-changed",
            "the compiled model's inputs or outputs differ from the original's",
            context={"file": path.name, "before": seen(before), "after": seen(after)},
        )


def _reason(model: TfliteFile, made: VelaRun) -> str:
    left = cpu_count(made.model)
    total = len(model.main.operators)
    return f"{total - left} of {total} operations on the NPU" + (f", {left} on the CPU" if left else "")


def _log(made: VelaRun) -> dict[str, Any]:
    return {
        "npu_operators": made.npu_operators
        if made.npu_operators is not None
        else {"unavailable": "not printed"},
        "cpu_operators": made.cpu_operators
        if made.cpu_operators is not None
        else {"unavailable": "not printed"},
        "estimates": as_json(made.estimates),
        "configuration": made.configuration,
        "refusals": made.refusals,
        "warnings": list(made.warnings),
    }


def _artifact(artifact: Artifact, path: Path, compiled: TfliteFile, tools: dict[str, str]) -> Artifact:
    return replace(
        artifact,
        path=path,
        bytes=path.stat().st_size,
        sha256=sha256_file(path),
        signature=compiled.signature,
        tools={**artifact.tools, **tools},
    )
