"""Metric and signal over noise of many files beside the float model's, without their latency: `closeness(...)`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeship.progress import Progress
from edgeship.score.runs import FLOAT, Ran, run_all
from edgeship.score.task import task_of
from edgeship.toolchain import WorkerLimits
from edgeship.values import Artifact, Dataset, Figure, FloatModel, Goals, Metric, PreparedSamples, Unavailable

MOST_DB = 120.0
"""Shown of outputs that are the same."""


def closeness(
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    evaluation: Dataset | None,
    prepared: PreparedSamples,
    goals: Goals,
    progress: Progress,
) -> Mapping[str, tuple[Metric, Figure]]:
    """Return (metric, signal over noise in decibels) of each artifact, by its digest.

    Signal is the variance of the float model's outputs, noise the mean square of what differs; the worst output counts.
    """
    limits = WorkerLimits(seconds=3600.0)
    with tempfile.TemporaryDirectory(prefix="edgeship-closeness-") as folder:
        ran = run_all(artifacts, float_model, prepared, Path(folder), progress, limits)
        task = task_of(goals, artifacts, float_model, ran, evaluation, progress, limits)
        return {
            artifact.sha256: (metric, _snr(ran, artifact.sha256))
            for artifact, metric in zip(artifacts, task.metrics, strict=True)
        }


def _snr(ran: Ran, name: str) -> Figure:
    import numpy as np

    for model in (name, FLOAT):
        if model not in ran.counts:
            return Unavailable(reason=ran.failed.get(model, "it was not run"))
    worst = MOST_DB
    for k in range(ran.counts[FLOAT]):
        mine, theirs = (np.load(ran.path(model, k)).astype(np.float64) for model in (name, FLOAT))
        if mine.shape != theirs.shape:
            return Unavailable(reason="outputs differ in shape from the float model's")
        noise, signal = float(((mine - theirs) ** 2).mean()), float(theirs.var())
        if not math.isfinite(noise):
            return Unavailable(reason="the model answers with NaN or infinity")
        if noise > 0:
            worst = min(worst, 10 * math.log10(max(signal, 1e-30) / noise))
    return worst
