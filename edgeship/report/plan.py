"""What people and scripts see of a deployment that was only planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeship.deploy import PlannedStep
from edgeship.report.figures import size
from edgeship.values import as_json


def step_lines(host: str, steps: Sequence[PlannedStep]) -> list[str]:
    """Return one line a step: what it does and the paths it writes."""
    lines = []
    for step in steps:
        writes = f" (writes {', '.join(step.writes)})" if step.writes else ""
        lines.append(f"{host}: {step.name}: {step.text}{writes}")
    return lines


def plan_text(plans: Mapping[str, Sequence[PlannedStep]], *, brief: bool) -> str:
    """Return the plan of each host: its steps, every command and every file below each; `brief`: only their number."""
    lines: list[str] = []
    for host, steps in plans.items():
        for line, step in zip(step_lines(host, steps), steps, strict=True):
            lines.append(f"{len([each for each in lines if each[0] != ' ']) + 1}. {line}")
            if not brief:
                lines += _detail(step)
    if not brief:
        return "\n".join(lines)
    first = next(iter(plans.values()), ())
    commands = sum(len(step.commands) for step in first)
    files = [file for step in first for file in step.files]
    total = size(sum(file.bytes or 0 for file in files))
    return "\n".join(
        [
            *lines,
            f"{commands} commands and {len(files)} files ({total}) on each device; without --quiet every one is shown",
        ]
    )


def _detail(step: PlannedStep) -> list[str]:
    """Return a step's commands with what they read, and its files with size and digest."""
    lines = []
    for command in step.commands:
        lines.append("   $ " + command.line.replace("\n", "\n     "))
        lines.append(f"     reads: {command.stdin}")
    for file in step.files:
        told = "" if file.bytes is None else f"  {file.bytes} bytes"
        lines.append(f"     file: {file.path}{told}  sha256 {file.sha256}")
    return lines


def plan_document(plans: Mapping[str, Sequence[PlannedStep]]) -> dict[str, Any]:
    """Return the `edgeship.plan/1` document of a deployment: all of it."""
    return {
        "schema": "edgeship.plan/1",
        "steps": [line for host, steps in plans.items() for line in step_lines(host, steps)],
        "hosts": [{"host": host, "steps": [_step(step) for step in steps]} for host, steps in plans.items()],
    }


def _step(step: PlannedStep) -> dict[str, Any]:
    document: dict[str, Any] = as_json(step)
    for file in document["files"]:
        if file["bytes"] is None:
            file["bytes"] = {"unavailable": "the manifest names every size but its own"}
    return document
