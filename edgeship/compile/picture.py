"""A check as text for people: the verdict, a picture of where the graph is cut, and what to change."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from edgeship.compile.report import CheckReport, Placed
from edgeship.values import Unavailable

WIDTH = 96
MARK = {"error": "error", "warning": "warning", "note": "note"}
VERDICT = {
    "pass": "everything runs on the accelerator",
    "partial": "a part runs on the accelerator, the rest on the CPU",
    "fail": "this model cannot be used on the accelerator as it is",
}


def picture(report: CheckReport) -> str:
    """Return the whole report as text of at most 96 columns, the same on a terminal and in a pipe."""
    parts = ["\n".join(_head(report)), "\n".join(_graph(report))]
    if any(o.placement == "cpu" for o in report.operations) and report.basis != "not-needed":
        parts.append(status_table(report.operations))
    if report.findings:
        parts.append("\n".join(_findings(report)))
    return "\n\n".join(parts)


def _head(report: CheckReport) -> list[str]:
    total, mapped = len(report.operations), report.mapped
    unproven = "" if report.proven or report.verdict == "fail" else ", not proven"
    if report.basis == "not-needed":
        line = (
            f"all operations run on the CPU{unproven}"
            if report.verdict == "pass"
            else "this model cannot run there as it is"
        )
        return [f"{report.model} on {report.target}: {line}", f"operations {total}"]
    word = {"predicted": "predicted, not compiled", "compiler": f"as {report.tool} says"}[report.basis]
    lines = [
        f"{report.model} on {report.target}: {report.verdict}{unproven} ({word})",
        f"{mapped} of {total} operations on the {report.accelerator}: {VERDICT[report.verdict]}",
    ]
    unsure = Counter(o.confidence for o in report.operations)
    if report.basis == "predicted" and unsure["low"] + unsure["medium"]:
        lines.append(f"confidence: high {unsure['high']}, medium {unsure['medium']}, low {unsure['low']}")
    if not isinstance(report.parameter_bytes, Unavailable):
        room = report.accelerator_bytes
        of = "" if isinstance(room, Unavailable) else f" of {size(room)} on the accelerator"
        lines.append(f"parameters about {size(report.parameter_bytes)}{of}")
    return lines


def _graph(report: CheckReport) -> list[str]:
    """Return boxes for the accelerator's part and the CPU's, with what ends the first between them."""
    on = [o for o in report.operations if o.placement == "accelerator"]
    off = [o for o in report.operations if o.placement == "cpu"]
    if report.basis == "not-needed":
        return box("CPU", report.operations)
    if not on:
        return ["  input", "    |", *box("CPU", off), "    |", "  output"]
    before = [o for o in off if o.index < on[0].index]
    after = [o for o in off if o.index >= on[0].index]
    lines = ["  input", "    |"]
    if before:
        lines += [*box("CPU", before), "    |"]
    lines += [*box(report.accelerator, on), "    |"]
    for cut in report.cuts if after else ():
        lines += _cut(report, cut.operations, cut.tensors, cut.tensor_bytes)
        if cut.stranded:
            behind = (
                f"{len(cut.stranded)} operations behind it could run on the {report.accelerator} and do not: "
            )
            lines += _wrap(
                f"{behind}{cut.stranded_macs / 1e6:.1f} million multiply-accumulates on the CPU", "    |    "
            )
            lines.append("    |")
    if after:
        lines += [*box("CPU", after), "    |"]
    return [*lines, "  output"]


def _cut(report: CheckReport, culprits: Sequence[int], tensors: Sequence[str], total: int) -> list[str]:
    lines = []
    if tensors:
        shown = ", ".join(tensors[:3]) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
        lines += _wrap(f"{size(total)} cross over: {shown}", "    |  ")
    for index in culprits[:3]:
        operation = report.operations[index]
        lines += _wrap(
            f"cut by {index} {operation.op} {operation.layer}: {operation.reason or operation.status}",
            "  ==X==  ",
        )
    if len(culprits) > 3:
        lines.append(f"  ==X==  and {len(culprits) - 3} more")
    return [*lines, "    |"]


def box(title: str, operations: Sequence[Placed]) -> list[str]:
    """Return a frame with a title, the range of indices and the operations counted by kind."""
    counts = Counter(o.op for o in operations)
    text = ", ".join(f"{op} x{n}" if n > 1 else op for op, n in counts.most_common())
    first, last = operations[0].index, operations[-1].index
    label = f"{title}: {len(operations)} operation{'s' if len(operations) > 1 else ''} ({first}..{last})"
    body = textwrap.wrap(text, WIDTH - 8)[:4]
    width = max(len(line) for line in (label, *body)) + 2
    rule = "  +" + "-" * width + "+"
    return [rule, f"  | {label:<{width - 1}}|", *(f"  | {line:<{width - 1}}|" for line in body), rule]


def status_table(operations: Sequence[Placed]) -> str:
    """Return lines `OPERATOR  COUNT  STATUS`, counted the way the compiler's log does."""
    counts = Counter((o.op, o.status) for o in operations)
    width = max(len(op) for op, _ in counts) + 2
    lines = [f"{'Operator':<{width}}{'Count':<7}Status"]
    lines += [f"{op:<{width}}{n:<7}{words}" for (op, words), n in counts.items()]
    return "\n".join(lines)


def _findings(report: CheckReport) -> list[str]:
    lines = []
    for finding in report.findings:
        where = _ranges(finding.operations)
        lines += _wrap(f"{MARK[finding.severity]}: {finding.code}{where}", "")
        lines += _wrap(finding.message, "  ")
        lines += _wrap(f"fix: {finding.fix}", "  ")
    return lines


def _ranges(operations: Sequence[int]) -> str:
    if not operations:
        return ""
    shown = ", ".join(map(str, operations[:6])) + (", ..." if len(operations) > 6 else "")
    return f" (operation{'s' if len(operations) > 1 else ''} {shown})"


def _wrap(text: str, prefix: str) -> list[str]:
    rest = " " * len(prefix) if "=" in prefix else prefix
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=prefix,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,  # --target coral-dev-board stays what one can copy
    )


def size(count: float) -> str:
    """Return bytes as people read them: B, KiB or MiB."""
    if count < 1024:
        return f"{count:.0f} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f} MiB"
