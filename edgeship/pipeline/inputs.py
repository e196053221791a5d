"""What every target starts from: the model as one float `.tflite`, and the data, opened and checked once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgeship.bundle.limits import check_body_limit
from edgeship.bundle.service import sides_entry
from edgeship.data.samples import Role
from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.pipeline.labels import check_fit, check_labels, class_names, has_boxes, labels_of
from edgeship.pipeline.preparation import check_declared, prepared_for, rules_of
from edgeship.pipeline.reading import ROLES, read_data, with_channels
from edgeship.pipeline.training_data import with_calibration, with_limit
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize import calibration as calibrating
from edgeship.registry import did_you_mean
from edgeship.score.labels import beyond
from edgeship.score.metrics import is_own
from edgeship.score.own import check_own
from edgeship.score.runs import CAME_QUANTIZED
from edgeship.score.task import pick_output
from edgeship.values import (
    Dataset,
    FloatModel,
    Goals,
    InputRule,
    ModelSource,
    PreparedSamples,
    Unavailable,
)

Use = Literal["build", "explain", "compress"]
"""What is done with inputs."""
CLASS_METRICS = ("auto", "top1", "top5", "auc")
"""Metrics whose labels are classes, where they can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The model and the data, opened and checked, ready for every target."""

    source: ModelSource
    float_model: FloatModel
    calibration: Dataset | None
    calibration_prepared: PreparedSamples | None
    evaluation: Dataset | None
    evaluation_prepared: PreparedSamples | None
    rules: tuple[InputRule, ...]
    """What samples and requests of each input mean, in the order of the model's signature."""
    train: Dataset | None = None
    """What is trained on, without the samples that evaluation data holds; read where something trains."""
    train_prepared: PreparedSamples | None = None
    labels: tuple[str, ...] = ()
    """Names of the classes, as far as anything tells them: the settings, the model's own metadata, the folders of
    evaluation images."""


def open_inputs(
    project: Project, model: Path, work: Path, progress: Progress, *, batch: int = 1, use: Use = "build"
) -> Inputs:
    """Read and check the model, its first axis fixed at `batch`, and its datasets once, for one `use`.

    Where something trains the training data, too, of which calibration samples are taken where none are given; where
    weights are changed or looked at, those of half precision are read as float32. Bad data is found before TensorFlow
    is started.
    """
    source = replace(open_model(model, project.input_shapes), widened=use != "build")
    training = use == "compress" or (
        use == "explain" and bool(project.datasets.train and not project.datasets.calibration)
    )
    held_out = use == "compress" and bool(project.datasets.train or project.datasets.calibration)
    if not project.datasets.evaluation and not held_out:
        check_gate_data(project.goals, None, None, use=use)
    check_own(project.goals, progress)
    labels = class_names(project, source, progress)
    roles: tuple[Role, ...] = (*ROLES, "train") if training else ROLES
    data = read_data(project, labels, source, work, progress, roles=roles)
    if not held_out:
        check_gate_data(project.goals, project.datasets.evaluation, data.get("evaluation"), use=use)
    float_model = to_float_tflite(
        source, work / "models", progress=progress, batch=batch, signature=project.signature
    )
    specs = float_model.signature.inputs
    check_declared(project, specs)
    data = with_channels(project, labels, float_model, data, work, progress)
    data = with_calibration(data, work / "data", progress) if training else data
    calibration, evaluation = data.get("calibration"), data.get("evaluation")
    boxes = has_boxes(project.goals, evaluation)
    check_float(float_model, project.goals)
    if not boxes:
        check_labels(labels, float_model, evaluation)
        check_output(float_model, evaluation, project.goals)
    if evaluation and evaluation.info.classes and not labels and not boxes:
        check_folders(float_model, evaluation, project.goals)
        order = ", ".join(f"{name} {number}" for number, name in enumerate(evaluation.info.classes))
        progress.note(f"classes are numbered by their folders' names ({order}); labels: says another order")
    for labelled in (evaluation, data.get("train")):
        check_label_range(float_model, labelled, project.goals)
        if use == "compress":  # it chooses by labels, whatever was asked for
            check_fit(float_model, labelled, project.goals)
            if not has_boxes(project.goals, labelled):
                check_output(float_model, labelled, with_limit(project).goals)
    rules = rules_of(project, float_model, data, progress)
    prepared = prepared_for(float_model, rules, data, work / "data", progress)
    if calibration:
        for note in calibrating.check(calibration, specs, evaluation, [rule.preprocess for rule in rules]):
            progress.note(note)
    return Inputs(
        source=source,
        float_model=float_model,
        calibration=calibration,
        calibration_prepared=prepared.get("calibration"),
        evaluation=evaluation,
        evaluation_prepared=prepared.get("evaluation"),
        train=data.get("train"),
        train_prepared=prepared.get("train"),
        rules=rules,
        labels=labels_of(labels, float_model, evaluation, boxes=boxes),
    )


def check_output(model: FloatModel, evaluation: Dataset | None, goals: Goals) -> None:
    """Raise InputError `output-unknown` where the output that labels are said to be for is not there.

    And `output-unclear` where a drop is limited and labels could be for none or for several outputs.
    """
    names = [spec.name for spec in model.signature.outputs]
    if goals.output is not None and goals.output not in names:
        raise InputError(
            "output-unknown",
            f"the model has no output '{goals.output}'",
            context={"key": "goals.accuracy.output", "outputs": ", ".join(names)},
            hint=f"goals: {{accuracy: {{output: {did_you_mean(goals.output, names) or names[0]}}}}} in edgeship.yaml",
        )
    if goals.max_drop is None or evaluation is None or evaluation.y_path is None or len(names) < 2:
        return
    if goals.output is None and is_own(goals.metric):
        return  # it gets all of them
    import numpy as np

    y = np.load(evaluation.y_path, mmap_mode="r")
    shapes = [(len(y), *spec.shape[1:]) for spec in model.signature.outputs]
    picked = pick_output(goals.metric, goals, names, shapes, y)
    if isinstance(picked, Unavailable) and all(size > 0 for shape in shapes for size in shape):
        raise InputError(
            "output-unclear",
            f"a drop of {goals.max_drop:g} at most was asked for: of which output?",
            context={"key": "goals.accuracy.output", "seen": picked.reason.partition(": name one")[0]},
            hint=f"name one in edgeship.yaml:  goals: {{accuracy: {{output: {names[0]}}}}}",
        )


def check_folders(model: FloatModel, evaluation: Dataset | None, goals: Goals) -> None:
    """Raise InputError `labels-missing` where folders would be numbered by the alphabet, and are not all there."""
    outputs = model.signature.outputs
    classes = outputs[0].shape[-1] if outputs[0].shape else -1
    if evaluation is None or goals.metric not in CLASS_METRICS or len(outputs) > 1 or classes < 2:
        return
    if evaluation.info.classes and len(evaluation.info.classes) != classes:
        raise InputError(
            "labels-missing",
            f"there are {len(evaluation.info.classes)} folders of classes and the model has {classes} outputs: "
            "which folder is which output?",
            context={
                "dataset": evaluation.info.reference,
                "folders": ", ".join(evaluation.info.classes),
                "key": "labels",
            },
            hint="name all classes in the order of the model's outputs:  labels: [a, b, ...] in edgeship.yaml, "
            "or --labels FILE with one a line",
        )


def check_label_range(model: FloatModel, evaluation: Dataset | None, goals: Goals) -> None:
    """Raise InputError `labels-range` where a label is no class of the model: metric and drop would both be 0."""
    if evaluation is None or evaluation.y_path is None or goals.metric not in CLASS_METRICS:
        return
    import numpy as np

    y = np.load(evaluation.y_path, mmap_mode="r")
    outputs = model.signature.outputs
    named = [k for k, spec in enumerate(outputs) if spec.name == goals.output]
    if len(outputs) > 1 and not named:
        return  # the labels choose the output, and scoring says where they fit none
    shape = outputs[named[0] if named else 0].shape
    held = (len(y), *(shape[1:] if len(shape) > 1 else shape))
    if any(size < 1 for size in held):
        return
    outside = beyond(held, y)
    if outside.size:
        first = np.unravel_index(int(outside[0]), y.shape)
        raise InputError(
            "labels-range",
            f"{outside.size} of {y.size} labels are no class of the model, the first is sample {first[0]}",
            context={
                "dataset": evaluation.info.reference,
                "label": f"{y[first]:g}",
                "wanted": f"0 to {held[-1] - 1}, the model's {held[-1]} outputs",
            },
            hint="number classes from 0 in the order of the model's outputs",
        )


def check_float(model: FloatModel, goals: Goals) -> None:
    """Raise InputError `gate-without-data` where a drop is limited and there is nothing it could be a drop from."""
    if goals.max_drop is None or model.is_float:
        return
    raise InputError(
        "gate-without-data",
        f"a drop of {goals.max_drop:g} at most was asked for, and {CAME_QUANTIZED}",
        context={"key": "goals.accuracy.max_drop (--max-drop)", "model": model.source.path},
        hint="build from the model it was made of (.keras, .h5, SavedModel or float .tflite), or leave max_drop out: "
        "the report then shows what this file scores, and no drop",
    )


def check_gate_data(
    goals: Goals, reference: str | None, evaluation: Dataset | None, *, use: Use = "build"
) -> None:
    """Raise InputError `gate-without-data` where accuracy shall hold and nothing could ever tell."""
    if goals.max_drop is None or (evaluation is not None and evaluation.y_path is not None):
        return
    raise InputError(
        "gate-without-data",
        f"a drop of {goals.max_drop:g} at most was asked for, and "
        + (
            "the evaluation data has no labels"
            if reference
            else "there is no evaluation data to measure it on"
        ),
        context={"key": "goals.accuracy.max_drop (--max-drop)", "evaluation": reference or "(none)"},
        hint="give samples with --train DATA.npz (x, and y where there are labels), or leave --max-drop out"
        if use == "compress"
        else "give labelled data with --eval DATA.npz (x and y), or leave --max-drop out",
    )


def writable(folder: Path, what: str, hint: str) -> None:
    """Raise InputError `cannot-write` unless `folder` can be written, or made, once there is something to write."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.access(p, os.F_OK))
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) and os.statvfs(nearest).f_blocks != 0:
        return
    why = f"{nearest} may not be written" if nearest.is_dir() else f"{nearest} is a file"
    raise InputError(
        "cannot-write",
        f"{what} cannot be written into {folder}: {why}",
        context={"folder": folder.absolute()},
        hint=hint,
    )


def opened_for(
    project: Project,
    model: Path,
    profiles: Sequence[TargetProfile],
    work: Path,
    progress: Progress,
    *,
    use: Use = "build",
) -> tuple[Inputs, ...]:
    """Return for each profile what it starts from, opened once for each batch that they want.

    Raises what `open_inputs` raises, and what a limit that is set keeps out, before an hour is spent on it.
    """
    batches = dict.fromkeys(profile.batch.fixed for profile in profiles)
    opened = {batch: open_inputs(project, model, work, progress, batch=batch, use=use) for batch in batches}
    if project.service.limits.body_bytes and any(profile.deployable for profile in profiles):
        for inputs in opened.values():
            check_one_request(project, inputs)
    return tuple(opened[profile.batch.fixed] for profile in profiles)


def check_one_request(project: Project, inputs: Inputs) -> None:
    """Raise InputError `body-limit` where the limit that is set keeps out a request of one batch."""
    data = inputs.evaluation or inputs.calibration
    entry = sides_entry(inputs.float_model.signature, data.info if data else None, inputs.rules)
    check_body_limit(project.service.limits, entry)
