"""A check for Ethos-U targets: Vela itself is asked, in a process of its own; it takes well under a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from edgeship.compile import costs
from edgeship.compile.lint import how_to_quantize, lint
from edgeship.compile.report import CheckReport, Cut, Finding, Placed, Verdict, ordered
from edgeship.compile.vela import cpu_count, reasons_against
from edgeship.compile.vela_tool import NPU_OP, VelaRun, run_vela
from edgeship.errors import ToolError
from edgeship.profile import TargetProfile
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.layer_names import layer_name
from edgeship.tflite.soundness import producer_of
from edgeship.toolchain.environments import require
from edgeship.values import Unavailable

NPU = "Runs on the Ethos-U NPU"
CPU = "Left to the CPU by Vela"
TIMEOUT_S = 300.0


def check_with_vela(
    model: TfliteFile, profile: TargetProfile, command: tuple[str, ...] | None = None
) -> CheckReport:
    """Return what Vela makes of a model; that it fails on it is a verdict as well, beside those of other targets.

    Raises ToolError `tool-missing`.
    """
    against = reasons_against(model)
    if against:
        fix = how_to_quantize(model)
        found = [
            Finding(code="nothing-for-npu", severity="error", message=why, fix=fix, operations=())
            for why in against
        ]
        return _all_on_cpu(model, profile, against[0], found)
    tool = None if command else require("vela")
    name = f"Vela {tool.version if tool else 'of the caller'}"
    arguments = command or (tool.command if tool else ())
    try:
        with run_vela(model.path, profile.compiler.options, arguments, timeout_s=TIMEOUT_S) as made:
            return _report(model, profile, made, name)
    except ToolError as error:
        if not error.reference.startswith("vela-"):
            raise
        last = str(error.context.get("last words", "")).strip().rpartition("\n")[2]
        said = Finding(
            code=error.reference,
            severity="error",
            message=f"{error.message}: {last}" if last and last not in error.message else error.message,
            fix=error.hint or "",
        )
        return replace(_all_on_cpu(model, profile, error.message, (said,)), tool=name)


def _report(model: TfliteFile, profile: TargetProfile, made: VelaRun, tool: str) -> CheckReport:
    graph = model.main
    left = Counter(
        (o.op, _layer(made.model, o.outputs))
        for o in made.model.main.operators
        if not (o.custom and o.op == NPU_OP)
    )
    placed = []
    for operator in graph.operators:
        layer = _layer(model, operator.outputs)
        stays = made.npu_blocks == 0 or left[(operator.op, layer)] > 0
        placed.append(
            Placed(
                index=operator.index,
                op=operator.op,
                layer=layer,
                placement="cpu" if stays else "accelerator",
                status=CPU if stays else NPU,
                reason=made.refusals.get(layer, "") if stays else "",
                confidence="high",
            )
        )
    on_cpu = tuple(o.index for o in placed if o.placement == "cpu")
    verdict: Verdict = "fail" if not made.npu_blocks else ("partial" if cpu_count(made.model) else "pass")
    return CheckReport(
        model=str(model.path),
        sha256=model.sha256,
        target=profile.name,
        basis="compiler",
        tool=tool,
        accelerator="Ethos-U",
        verdict=verdict,
        operations=tuple(placed),
        findings=ordered((*_settled(lint(model)), *_advice(placed), *_memory(made, profile))),
        cuts=_cuts(model, on_cpu),
        subgraphs=made.npu_blocks,
        parameter_bytes=made.estimates["weights_bytes"],
        accelerator_bytes=Unavailable(reason="weights stay in flash or DRAM and are read from there"),
    )


def _settled(found: Iterable[Finding]) -> list[Finding]:
    """Take open sizes for a note: Vela compiled the model all the same, having worked them out."""
    return [replace(f, severity="note") if f.code == "dynamic-shape" else f for f in found]


def _advice(placed: list[Placed]) -> list[Finding]:
    groups: dict[tuple[str, str], list[int]] = {}
    layers = {operation.index: operation.layer for operation in placed}
    for operation in placed:
        if operation.placement == "cpu":
            groups.setdefault((operation.op, operation.reason), []).append(operation.index)
    return [
        Finding(
            code="left-to-cpu",
            severity="warning",
            message=_left(op, len(found), layers[found[0]]) + (f": {reason}" if reason else ""),
            fix="see its constraints in Vela's SUPPORTED_OPS.md; replace it, or leave it to the CPU knowingly",
            operations=tuple(found),
        )
        for (op, reason), found in groups.items()
    ]


def _left(op: str, count: int, layer: str) -> str:
    place = layer_name([layer]) or layer
    if count == 1:
        return f"{op} at '{place}' stays on the CPU"
    return f"{count} {op}, the first at '{place}', stay on the CPU"


def _memory(made: VelaRun, profile: TargetProfile) -> list[Finding]:
    sram, room = made.estimates["sram_kib"], profile.memory.accelerator_kb
    if room is None or isinstance(sram, Unavailable) or sram <= room:
        return []
    return [
        Finding(
            code="accelerator-memory",
            severity="error",
            message=f"one inference takes {sram:.1f} KiB of SRAM, {room:,} KiB are there",
            fix="add --optimise Size to the target's compiler.options, or use a smaller input",
        )
    ]


def _cuts(model: TfliteFile, on_cpu: tuple[int, ...]) -> tuple[Cut, ...]:
    if not on_cpu or len(on_cpu) == len(model.main.operators):
        return ()
    graph, made_by = model.main, producer_of(model.main)
    crossing = [
        i
        for o in on_cpu
        for i in graph.operators[o].inputs
        if i in made_by and made_by[i].index not in on_cpu
    ]
    tensors = [graph.tensors[i] for i in dict.fromkeys(crossing)]
    return (
        Cut(
            operations=on_cpu,
            stranded=(),
            tensors=tuple(f"{t.dtype} {list(t.shape)}" for t in tensors),
            tensor_bytes=sum(costs.bytes_of(t) for t in tensors),
            stranded_macs=0,
        ),
    )


def _all_on_cpu(
    model: TfliteFile, profile: TargetProfile, reason: str, found: Iterable[Finding] = ()
) -> CheckReport:
    """Return the report of a model that Vela was not asked about: `reason` keeps all of it off the NPU."""
    return CheckReport(
        model=str(model.path),
        sha256=model.sha256,
        target=profile.name,
        basis="predicted",
        tool="none: Vela was not started",
        accelerator="Ethos-U",
        verdict="fail",
        operations=tuple(
            Placed(
                index=o.index,
                op=o.op,
                layer=_layer(model, o.outputs),
                placement="cpu",
                status=CPU,
                reason=reason,
                confidence="high",
            )
            for o in model.main.operators
        ),
        findings=ordered((*found, *lint(model))),
        cuts=(),
        subgraphs=0,
        parameter_bytes=0.0,
        accelerator_bytes=Unavailable(reason="nothing would be on it"),
    )


def _layer(model: TfliteFile, outputs: tuple[int, ...]) -> str:
    return model.main.tensors[outputs[0]].name.split(";")[0] if outputs and outputs[0] >= 0 else ""
