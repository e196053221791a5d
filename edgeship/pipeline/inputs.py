"""What every target starts from: the model as one float `.tflite`, and the data, opened and checked once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.dataset import load_dataset
from edgeship.model.preprocess import prepare
from edgeship.model.source import open_model
from edgeship.model.tflite import read_tflite
from edgeship.pipeline.several_inputs import check_several_inputs
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize import calibration as calibrating
from edgeship.values import Dataset, FloatModel, Goals, ModelSource, Preprocess, TensorSpec

CLASS_METRICS = ("auto", "top1", "top5")
"""Metrics whose labels are class indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The model and the data, opened and checked, ready for every target."""

    source: ModelSource
    float_model: FloatModel
    calibration: Dataset | None
    calibration_prepared: Path | None
    evaluation: Dataset | None
    evaluation_prepared: Path | None


def open_inputs(
    project: Project, model: Path, work: Path, progress: Progress, profiles: Sequence[TargetProfile] = ()
) -> Inputs:
    """Read and check the model and its datasets once. Bad data is found before TensorFlow is started."""
    source = open_model(model)
    if not project.datasets.evaluation:
        check_gate_data(project.goals, None, None)
    labels = project.read_labels()
    references = {
        "calibration": project.datasets.calibration,
        "evaluation": project.datasets.evaluation,
    }
    data = {
        role: load_dataset(
            reference,
            work / "data",
            role=role,  # type: ignore[arg-type]
            base=project.base,
            resize=project.preprocess.resize,
            progress=progress,
        )
        for role, reference in references.items()
        if reference
    }
    calibration, evaluation = data.get("calibration"), data.get("evaluation")
    check_gate_data(project.goals, project.datasets.evaluation, evaluation)
    float_model = to_float_tflite(source, work / "models", progress=progress)
    check_several_inputs(project, float_model, profiles)
    first = float_model.signature.inputs[0]
    check_labels(labels, float_model, evaluation)
    check_label_range(float_model, evaluation, project.goals)
    check_channels(project.preprocess, first)
    held = read_tflite(float_model.path)
    prepared = {
        role: prepare(dataset, project.preprocess, first, work / "data", progress=progress, model=held)
        for role, dataset in data.items()
    }
    if calibration:
        for note in calibrating.check(calibration, first, evaluation, project.preprocess):
            progress.note(note)
    return Inputs(
        source=source,
        float_model=float_model,
        calibration=calibration,
        calibration_prepared=prepared.get("calibration"),
        evaluation=evaluation,
        evaluation_prepared=prepared.get("evaluation"),
    )


def labels_of(project: Project, inputs: Inputs) -> tuple[str, ...]:
    """Return the class names: as set, else the folder names of an image dataset."""
    named = project.read_labels()
    if named:
        return named
    return next((d.info.classes for d in (inputs.evaluation, inputs.calibration) if d and d.info.classes), ())


def check_labels(labels: Sequence[str], model: FloatModel, evaluation: Dataset | None) -> None:
    """Raise InputError `labels-count` unless there are as many labels as the model has outputs."""
    shape = model.signature.outputs[0].shape
    if labels and len(model.signature.outputs) == 1 and shape and shape[-1] not in (-1, len(labels)):
        raise InputError(
            "labels-count",
            f"there are {len(labels)} labels, and the model has {shape[-1]} outputs",
            context={"key": "labels", "output": list(shape), "evaluation": bool(evaluation)},
            hint="give one label an output, in the order the model was trained with",
        )


def check_label_range(model: FloatModel, evaluation: Dataset | None, goals: Goals) -> None:
    """Raise InputError `labels-range` where a label is no class of the model: metric and drop would both be 0."""
    shape = model.signature.outputs[0].shape
    if evaluation is None or evaluation.y_path is None or goals.metric not in CLASS_METRICS:
        return
    import numpy as np

    y = np.load(evaluation.y_path, mmap_mode="r")
    classes = shape[-1] if shape else -1
    if len(model.signature.outputs) > 1 or classes < 2 or y.ndim != 1 or y.dtype.kind not in "iu":
        return
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if outside.size:
        first = int(outside[0])
        raise InputError(
            "labels-range",
            f"{outside.size} of {len(y)} labels are no class of the model, the first is sample {first}",
            context={
                "dataset": evaluation.info.reference,
                "label": int(y[first]),
                "wanted": f"0 to {classes - 1}, the model's {classes} outputs",
            },
            hint="number classes from 0 in the order of the model's outputs",
        )


def check_gate_data(goals: Goals, reference: str | None, evaluation: Dataset | None) -> None:
    """Raise InputError `gate-without-data` where accuracy shall hold and nothing could ever tell."""
    if goals.max_drop is None or (evaluation is not None and evaluation.y_path is not None):
        return
    raise InputError(
        "gate-without-data",
        f"a drop of {goals.max_drop:g} points at most was asked for, and "
        + (
            "the evaluation data has no labels"
            if reference
            else "there is no evaluation data to measure it on"
        ),
        context={"key": "goals.accuracy.max_drop (--max-drop)", "evaluation": reference or "(none)"},
        hint="give labelled data with --eval DATA.npz (x and y), or leave --max-drop out",
    )


def check_channels(preprocess: Preprocess, wanted: TensorSpec) -> None:
    """Raise InputError `preprocess-channels` where mean or std fits no channel of the model's input."""
    channels = wanted.shape[-1] if wanted.shape else 1
    for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if channels > 0 and len(values) not in (1, channels):
            raise InputError(
                "preprocess-channels",
                f"preprocess.{key} has {len(values)} values, the model's input has {channels} channels",
                context={"key": f"preprocess.{key}", "value": list(values), "input": list(wanted.shape)},
                hint=f"give one value, or {channels}",
            )


def writable(folder: Path, what: str, hint: str) -> None:
    """Raise InputError `cannot-write` unless `folder` can be written, or made, once there is something to write."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) and os.statvfs(nearest).f_blocks != 0:
        return
    why = f"{nearest} may not be written" if nearest.is_dir() else f"{nearest} is a file"
    raise InputError(
        "cannot-write",
        f"{what} cannot be written into {folder}: {why}",
        context={"folder": folder.absolute()},
        hint=hint,
    )
