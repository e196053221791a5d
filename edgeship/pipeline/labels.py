"""What the classes of a model are called, and whether there are as many names as classes."""

from __future__ import annotations

from collections.abc import Sequence

from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.project.labels import without_numbers
from edgeship.score.labels import fitting
from edgeship.score.metrics import is_own
from edgeship.score.task import NUMBERS, is_detection
from edgeship.tflite.entry import read_entry
from edgeship.tflite.metadata import metadata_of
from edgeship.values import Dataset, FloatModel, Goals, ModelSource


def has_boxes(goals: Goals, dataset: Dataset | None) -> bool:
    """Return whether a dataset's labels are boxes: of all outputs together, and no classes of one."""
    if dataset is None or dataset.y_path is None:
        return False
    import numpy as np

    return is_detection(goals.metric, np.load(dataset.y_path, mmap_mode="r"))


def check_fit(model: FloatModel, dataset: Dataset | None, goals: Goals) -> None:
    """Raise InputError `labels-unfit` where labels can be of the model's only output, or the named one, in no way:
    neither its classes nor its numbers. Nothing that is chosen by them could be."""
    outputs = [o for o in model.signature.outputs if goals.output in (None, o.name)]
    if dataset is None or dataset.y_path is None or len(outputs) != 1 or is_own(goals.metric):
        return
    import numpy as np

    y = np.load(dataset.y_path, mmap_mode="r")
    shape = (len(y), *outputs[0].shape[1:])
    if is_detection(goals.metric, y) or any(size < 1 for size in shape):
        return
    if fitting([shape], y, numbers=goals.metric in NUMBERS):
        return
    places, width = list(shape[1:-1]), list(shape[1:])
    raise InputError(
        "labels-unfit",
        "labels are neither classes nor numbers of the model's output",
        context={
            "dataset": dataset.info.reference,
            "labels": f"{y.dtype} {list(y.shape[1:])} a sample, the first {y.reshape(-1)[0]:g}",
            "wanted": f"whole numbers {places} a sample for classes, or {width} for one-hot rows or numbers",
        },
        hint="numpy.savez('data.npz', x=x)   without labels: training needs none, and agreement with the model chooses",
    )


def labels_of(
    labels: Sequence[str], model: FloatModel, evaluation: Dataset | None, *, boxes: bool
) -> tuple[str, ...]:
    """Return the class names: `labels`, else the names of the evaluation images' folders, where there is one a class.

    Folders of calibration images say nothing: they may be days or cameras. With `boxes`, names are of what a box
    holds, and labels only of an output that has a value for each.
    """
    outputs = model.signature.outputs
    names = tuple(labels) or (evaluation.info.classes if evaluation else ())
    if boxes:
        return names if any(spec.shape and spec.shape[-1] == len(names) for spec in outputs) else ()
    classes = outputs[0].shape[-1] if len(outputs) == 1 and outputs[0].shape else -1
    return names if labels or classes < 2 or len(names) == classes else ()


def class_names(project: Project, source: ModelSource, progress: Progress) -> tuple[str, ...]:
    """Return the class names that are set, else those of a `.tflite`'s own metadata where it has one a class.

    Numbers that only count them are left out; each of the two is told in one line.
    """
    written = project.written_labels()
    if written:
        names = without_numbers(written)
        if names != written:
            progress.note(f"labels: the numbers before the names are left out: {_listed(names)}")
        return names
    if source.kind != "tflite":
        return ()
    file = read_entry(source.path, project.signature)
    own = tuple(line.strip() for line in (metadata_of(file) or {}).get("labels") or () if line.strip())
    outputs = file.signature.outputs
    if len(outputs) != 1 or not own or outputs[0].shape[-1:] != (len(own),):
        return ()
    names = without_numbers(own)
    progress.note(f"labels: the {len(names)} of the model's own metadata: {_listed(names)}")
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
