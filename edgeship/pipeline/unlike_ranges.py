"""What samples show of a model's outputs before anything is built: joins of unlike ranges, as `check` tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeship.compile.report import CheckReport, Finding, ordered
from edgeship.pipeline.inputs import open_inputs
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.toolchain import run_worker

LOOK = "edgeship.quantize.unlike_parts:look"
EIGHT_BITS = frozenset({"int8", "static_wi8_ai8"})


def with_ranges(
    reports: Sequence[CheckReport],
    project: Project,
    model: Path,
    profiles: tuple[TargetProfile, ...],
    work: Path,
    progress: Progress,
) -> list[CheckReport]:
    """Return the reports, one a profile, with what the project's samples show. Raises as `unlike_ranges`."""
    shown = unlike_ranges(project, model, profiles, work, progress)
    return [
        replace(report, findings=ordered((*report.findings, *shown.get(profile.name, ()))))
        for report, profile in zip(reports, profiles, strict=True)
    ]


def unlike_ranges(
    project: Project, model: Path, profiles: tuple[TargetProfile, ...], work: Path, progress: Progress
) -> dict[str, tuple[Finding, ...]]:
    """Return by target what the project's calibration samples show, and what a build will do about it.

    Nothing for a model that came quantized: its own scales tell. Raises what `open_inputs` raises.
    """
    inputs = open_inputs(project, model, work, progress)
    if inputs.calibration_prepared is None or not inputs.float_model.is_float:
        return {}
    samples = inputs.calibration_prepared.paths
    payload = {"model": str(inputs.float_model.path), "samples": [str(path) for path in samples]}
    found = run_worker(LOOK, payload, progress=progress).value["found"]
    return {
        profile.name: tuple(
            Finding(
                code="unlike-ranges",
                severity="warning",
                message="in int8, " + one["float" if profile.deployable else "outputs"],
                fix="nothing: edgeship build does this; outputs of their own for boxes and scores keep all in int8",
                operations=tuple(one["operations"]),
            )
            for one in found
        )
        for profile in profiles
        if EIGHT_BITS & set(profile.precision.wants)
    }
