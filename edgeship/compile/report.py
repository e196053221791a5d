"""What a check says about a model and a target: frozen values, filled by the rules, shown by text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeship.values import Figure, as_json

Placement = Literal["accelerator", "cpu"]
Confidence = Literal["high", "medium", "low"]
Severity = Literal["error", "warning", "note"]
Verdict = Literal["pass", "partial", "fail"]
Basis = Literal["predicted", "compiler", "not-needed"]

ORDER: tuple[Confidence, ...] = ("low", "medium", "high")
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def weakest(*confidences: Confidence) -> Confidence:
    """Return the least of several confidences."""
    return min(confidences, key=ORDER.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where one operation will run, and why."""

    index: int
    op: str
    layer: str
    """Name of its first output tensor: what people find in their own model."""
    placement: Placement
    status: str
    """The compiler's own words, exactly."""
    reason: str
    """Ours: what about this operation leads to that status; empty where there is nothing to say."""
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know or change. `fix` is the smallest change that removes it."""

    code: str
    severity: Severity
    message: str
    fix: str
    operations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where the accelerator's part of the graph ends before the graph does.

    `operations` are the ones that stay on the CPU for a reason of their own and take work from the accelerator that
    it would have; `stranded` would have run there, and run on the CPU only because of them. `tensors` cross over.
    """

    operations: tuple[int, ...]
    stranded: tuple[int, ...]
    tensors: tuple[str, ...]
    tensor_bytes: int
    stranded_macs: int
    """Multiply-accumulates an inference that the stranded operations cost the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What will happen to a model on a target.

    `basis` says whose word it is: `predicted` from rules, the `compiler`'s own, or `not-needed` where the target
    has no accelerator. `parameter_bytes` is what the accelerator must hold or stream; Unavailable where not known.
    """

    model: str
    sha256: str
    target: str
    basis: Basis
    tool: str
    accelerator: str
    verdict: Verdict
    operations: tuple[Placed, ...]
    findings: tuple[Finding, ...]
    cuts: tuple[Cut, ...]
    subgraphs: int
    parameter_bytes: Figure
    accelerator_bytes: Figure
    proven: bool = True
    """False where the verdict rests on an int8 form that was not made with the user's samples: a build may refuse it
    for what it computes."""

    @property
    def mapped(self) -> int:
        """Number of operations on the accelerator."""
        return sum(o.placement == "accelerator" for o in self.operations)

    @property
    def exit_code(self) -> int:
        """0, or 3 where the target cannot use the model as it is (docs/cli.md: a gate said no)."""
        return 3 if self.verdict == "fail" else 0

    def document(self) -> dict[str, Any]:
        """Return the `edgeship.check/1` document."""
        return {
            "schema": "edgeship.check/1",
            "model": self.model,
            "sha256": self.sha256,
            "target": self.target,
            "verdict": self.verdict,
            "proven": self.proven,
            "basis": self.basis,
            "tool": self.tool,
            "operations": [as_json(o) for o in self.operations],
            "summary": {
                "total": len(self.operations),
                "accelerator": self.mapped,
                "cpu": len(self.operations) - self.mapped,
                "subgraphs": self.subgraphs,
                "parameter_bytes": as_json(self.parameter_bytes),
                "accelerator_bytes": as_json(self.accelerator_bytes),
            },
            "cuts": [as_json(c) for c in self.cuts],
            "advice": [as_json(f) for f in self.findings],
        }


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings with the worst first, otherwise in the order they were found."""
    return tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))


def check_document(reports: Sequence[CheckReport]) -> dict[str, Any]:
    """Return one target's `edgeship.check/1`, or `edgeship.checks/1` around several."""
    if len(reports) == 1:
        return reports[0].document()
    return {"schema": "edgeship.checks/1", "targets": [report.document() for report in reports]}
