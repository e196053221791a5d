"""What the variants of a ladder answer to the same samples, for a cascade to be judged by: `answers_of`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.bundle.parts import BundleParts
from edgeship.pipeline.inputs import Inputs
from edgeship.pipeline.site import BuildSite
from edgeship.score.cascade import FEWEST, Answers, read_answers
from edgeship.score.labels import beyond, classes_beside
from edgeship.score.runs import FLOAT, Ran, run_all
from edgeship.toolchain import WorkerLimits
from edgeship.values import Artifact, PreparedSamples, Variant

MOST = 2_000
"""Samples that are run: a share of 0.5 % is told from none by far fewer than whole test sets hold."""
METRICS = ("auto", "top1")
"""Metrics by which classes are what a model is for."""


def with_answers(site: BuildSite, parts: BundleParts, inputs: Inputs) -> BundleParts:
    """Return the parts with what every variant carried answers to the evaluation data (or, without labels, to the
    calibration samples); as they are where no cascade can come of it: one variant, no list of class scores, a model
    that keeps state, too few samples, or `governor: {cascade: off}`."""
    project = site.project
    artifacts = {v.artifact.digest: _runs_here(parts, v) for v in parts.carried}
    prepared = inputs.evaluation_prepared or inputs.calibration_prepared
    wanted = project.governor.cascade == "auto" and project.goals.metric in METRICS and not parts.keeps_state
    if len(artifacts) < 2 or prepared is None or not wanted:
        return parts
    if not all(_gives_classes(artifact) for artifact in artifacts.values()):
        return parts
    site.progress.step(
        f"{parts.profile.name}: asking {len(artifacts)} variants the same, for a cascade of two"
    )
    with tempfile.TemporaryDirectory(prefix="edgeship-answers-") as folder:
        few, picked = _few(prepared, Path(folder))
        ran = run_all(
            list(artifacts.values()), inputs.float_model, few, Path(folder), site.progress, WorkerLimits()
        )
        answers = _read(ran, artifacts, _labels(inputs, picked), inputs.evaluation is not None)
    return parts if answers is None else replace(parts, answers=answers)


def _runs_here(parts: BundleParts, variant: Variant) -> Artifact:
    """Return the file that answers for a variant on this machine: of a compiled one what it was compiled from."""
    shipped = parts.shipped_as(variant)
    return shipped.twin.artifact if shipped else variant.artifact


def _gives_classes(artifact: Artifact) -> bool:
    """Return whether the one output is one list of class scores, as the float model's is."""
    outputs = artifact.signature.outputs
    if len(outputs) != 1 or artifact.joined is not None:
        return False
    shape = outputs[0].shape
    return len(shape) >= 2 and shape[-1] >= 2 and all(size in (1, -1) for size in shape[:-1])


def _few(prepared: PreparedSamples, folder: Path) -> tuple[PreparedSamples, Any]:
    """Return at most MOST of the samples, evenly spread, and their numbers."""
    held = [np.load(path, mmap_mode="r") for path in prepared.paths]
    total = len(held[0])
    picked = np.linspace(0, total - 1, num=min(total, MOST)).astype(np.int64)
    if len(picked) == total:
        return prepared, picked
    paths = tuple(folder / f"samples.{k}.npy" for k in range(len(held)))
    for path, samples in zip(paths, held, strict=True):
        np.save(path, samples[picked])
    return replace(prepared, paths=paths), picked


def _labels(inputs: Inputs, picked: Any) -> Any:
    if inputs.evaluation is None or inputs.evaluation_prepared is None or inputs.evaluation.y_path is None:
        return None
    return np.load(inputs.evaluation.y_path)[picked]


def _read(ran: Ran, artifacts: dict[str, Artifact], labels: Any, evaluated: bool) -> Answers | None:
    """Return the answers as classes and margins; None where they are no classes beside these labels."""
    found = {}
    for digest, artifact in artifacts.items():
        if ran.counts.get(artifact.sha256) != 1:
            return None
        scores = np.load(ran.path(artifact.sha256))
        scores = scores.reshape(len(scores), -1)
        if len(scores) < FEWEST or not np.isfinite(scores).all():
            return None
        found[digest] = scores
    shape = next(iter(found.values())).shape
    if any(scores.shape != shape for scores in found.values()):
        return None
    classes = None if labels is None else classes_beside(shape, labels)
    if labels is not None and (classes is None or len(classes) != shape[0] or beyond(shape, labels).size):
        return None
    read = {digest: read_answers(scores) for digest, scores in found.items()}
    reference = None
    if ran.counts.get(FLOAT) == 1 and (told := np.load(ran.path(FLOAT))).size == shape[0] * shape[1]:
        reference = told.reshape(shape).argmax(axis=1)
    what = "evaluation data" if evaluated else "calibration data"
    return Answers(
        classes={digest: both[0] for digest, both in read.items()},
        margins={digest: both[1] for digest, both in read.items()},
        labels=classes,
        reference=reference,
        about=f"{shape[0]} samples of the {what}",
    )
