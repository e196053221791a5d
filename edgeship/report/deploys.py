"""What is shown of deployments: text for people, and the documents `edgeship.deploy/1` and `edgeship.deploys/1`.

Apart from what is shown of builds: a deployment of a finished bundle needs nothing of what makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeship.report.figures import duration, figure, size
from edgeship.report.table import table
from edgeship.values import DeployReport, RungReport, Unavailable, as_json

SEVERITY = (0, 1, 3, 4, 5)
"""Exit codes from good to bad: the worst host decides for all."""


def deploy_document(report: DeployReport) -> dict[str, Any]:
    """Return the `edgeship.deploy/1` document."""
    document = as_json(report)
    before = report.release if report.state == "unchanged" else report.from_release
    document["from"] = before or {"unavailable": "nothing was deployed before"}
    del document["from_release"]
    document["hint"] = report.hint or {"unavailable": "nothing to do"}
    document["gates"] = [as_json(gate) for gate in report.gates]
    if report.ladder == ():
        del document["ladder"]  # a release with one variant
    elif not isinstance(report.ladder, Unavailable):
        document["ladder"] = [as_json(rung) for rung in report.ladder]
    document["serving"] = report.serving or {"unavailable": f"the release is {report.state}"}
    return {"schema": "edgeship.deploy/1", **document}


def deploys_document(reports: Sequence[DeployReport]) -> dict[str, Any]:
    """Return one host's `edgeship.deploy/1`, or `edgeship.deploys/1` around several."""
    if len(reports) == 1:
        return deploy_document(reports[0])
    return {
        "schema": "edgeship.deploys/1",
        "exit_code": deploys_exit_code(reports),
        "hosts": [deploy_document(report) for report in reports],
    }


def deploys_exit_code(reports: Sequence[DeployReport]) -> int:
    """Return the worst host's exit code: degraded, then unknown, reverted, failed, good."""
    return max((r.exit_code for r in reports), key=SEVERITY.index, default=0)


def worst_golden(report: DeployReport) -> str:
    """Return what the golden vectors said, in words."""
    golden = report.golden
    if isinstance(golden, Unavailable):
        return golden.reason
    agreed = f"{golden.vectors - golden.failed}/{golden.vectors} agree"
    said = f"{agreed}; worst: {golden.worst}" if golden.worst else f"{agreed}, to the bit"
    return said + (f"; those of {', '.join(golden.also)} hold, too" if golden.also else "")


def deploy_text(report: DeployReport, *, verbose: bool = False, page: str | None = None) -> str:
    """Return what one device said: state, reason, golden vectors, where it serves (and its page), what to type next."""
    lines = [f"{report.host}: {report.state} - {report.reason}"]
    if verbose:
        lines += [f"    {s.name:<12} {duration(s.seconds):>8}  {s.detail}" for s in report.steps]
    lines.append(f"  release {report.release[:12]} of {report.app} for {report.target}")
    if report.state not in ("unchanged", "failed", "planned"):
        lines.append(f"  golden vectors: {worst_golden(report)}")
    lines += _measured(report)
    if report.serving:
        lines.append(f"  serving: {report.serving}")
    if page:
        lines.append(f"  page: {page}")
    lines.append(f"  {size(report.bytes_sent)} sent, {duration(report.seconds)}")
    if report.hint:
        lines.append(f"hint: {report.hint}")
    lines += _more([report])
    # further lines of what a device said are indented: none of them can pass for a line of ours
    return "\n".join(line.replace("\n", "\n    ") for line in lines)


def _measured(report: DeployReport) -> list[str]:
    """Return what ran on the device and how fast, where it was proved there."""
    if isinstance(report.engine, Unavailable):
        return []
    engine, latency = report.engine, report.latency_ms
    line = (
        f"  ran on {engine.name} {engine.version}, delegate {engine.delegate} (took part: {engine.delegated})"
    )
    if not isinstance(latency, Unavailable):
        line += f", p50 {figure(latency.p50, 3)} ms, p95 {figure(latency.p95, 3)} ms"
    return [line, *(f"  {gate.name}: {gate.reason}" for gate in report.gates), *_ladder(report)]


def _ladder(report: DeployReport) -> list[str]:
    """Return what the device measured of each variant that may serve there."""
    if isinstance(report.ladder, Unavailable):
        return [f"  variants: not timed on the device: {report.ladder.reason}"]
    rows = [
        [rung.variant, figure(rung.latency_ms.p50, 3), figure(rung.latency_ms.p95, 3), str(rung.threads),
         _use(rung)]
        for rung in report.ladder
    ]  # fmt: skip
    if not rows:
        return []
    shown = table(["variant", "p50 ms", "p95 ms", "threads", "used here"], rows, right=(1, 2, 3))
    return ["  " + line for line in shown.splitlines()]


def _use(rung: RungReport) -> str:
    """Return whether, and for what, the device uses a variant."""
    if rung.used:
        return f"in {rung.within} only" if rung.within else "yes"
    return f"no: {rung.reason}"


def deploys_table(reports: Sequence[DeployReport]) -> str:
    """Return one row a host."""
    rows = [
        [r.host, r.state, r.release[:12], size(r.bytes_sent), duration(r.seconds), r.reason] for r in reports
    ]
    shown = table(["host", "state", "release", "sent", "time", "reason"], rows, right=(3, 4))
    return "\n".join([shown, *_more(reports)])


def _more(reports: Sequence[DeployReport]) -> list[str]:
    """Return where to read of the references that the reasons of devices that failed begin with."""
    words = dict.fromkeys(r.reason.partition(":")[0] for r in reports if r.exit_code)
    if not words:
        return []
    from edgeship.references import where_to_read  # only who fails reads pages

    return [line for word in words if (line := where_to_read(word))]
