"""The task metric of detectors: mean average precision of every model on the same images with boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.score.average_precision import THRESHOLDS, Boxes, mean_average_precision
from edgeship.score.detections import Form, forms_of
from edgeship.score.metrics import Unfit
from edgeship.values import Figure, Unavailable

Array = NDArray[Any]
DETECTION = {"map": THRESHOLDS, "map50": (0.5,)}
"""Metric -> thresholds of intersection over union that it is the mean of."""
COLUMNS = 7
"""Of a true box: class (-1: none), the category's own id, x1, y1, x2, y2 in fractions of the image, crowd."""
TRIED = 50
"""Images by which one of several readings of the outputs is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The metric of every model, or why there is none, and how the outputs were read."""

    values: dict[str, Figure]
    about: str


def are_boxes(labels: Array) -> bool:
    """Return whether labels are boxes: `[n, most boxes of an image, 7]`, as `edgeship.data.coco` makes them."""
    if labels.ndim != 3 or labels.shape[2] != COLUMNS or not len(labels):
        return False
    classes, crowd = labels[..., 0], labels[..., 6]
    return bool(
        (classes == np.rint(classes)).all() and (classes >= -1).all() and np.isin(crowd, (0, 1)).all()
    )


def detect(
    name: str,
    models: Mapping[str, Sequence[Array]],
    reference: str,
    labels: Array,
    *,
    classes: int,
    size: tuple[int, int],
) -> Detected:
    """Return `map` or `map50` of every model, percent; `models`: the outputs of each, all of one form.

    `reference` is the model that tells what outputs mean; `classes` is how many categories the annotations have, `size`
    the model's input, height and width. Raises Unfit where labels are no boxes or outputs no detections.
    """
    if not are_boxes(labels):
        raise Unfit(
            f"{name} needs boxes: --eval FOLDER of images with a COCO annotations file (annotations.json, "
            "_annotations.coco.json or instances_*.json)"
        )
    shown = models[reference]
    forms = forms_of(shown, classes, size)
    chosen = (
        max(forms, key=lambda form: _value(form, shown, labels[:TRIED], (0.5,), 0))
        if len(forms) > 1
        else forms[0]
    )
    ids = _uses_ids(chosen, shown, labels, classes)
    values: dict[str, Figure] = {}
    for model, outputs in models.items():
        if not all(np.isfinite(output).all() for output in outputs):
            values[model] = Unavailable(reason="the model answers with NaN or infinity")
        elif [o.shape for o in outputs] != [o.shape for o in shown]:
            values[model] = Unavailable(reason="outputs differ in shape from the float model's")
        else:
            values[model] = _value(chosen, outputs, labels, DETECTION[name], ids)
    which = "" if len(forms) == 1 else f", of {len(forms)} readings the one that scores best"
    return Detected(values=values, about=f"outputs read as {chosen.name}{which}")


def _value(
    form: Form, outputs: Sequence[Array], labels: Array, thresholds: Sequence[float], ids: int
) -> float:
    found = [form.read(outputs, image) for image in range(len(labels))]
    return mean_average_precision(found, [true_boxes(rows, ids) for rows in labels], thresholds)


def true_boxes(rows: Array, ids: int) -> Boxes:
    """Return the boxes of one image; `ids`: classes are the categories' own ids, less 1, in place of their order."""
    held = rows[rows[:, 0] >= 0].astype(np.float64)
    classes = held[:, 1] - 1 if ids else held[:, 0]
    return Boxes(corners=held[:, 2:6], classes=classes.astype(np.int64), scores=held[:, 6])


def _uses_ids(form: Form, outputs: Sequence[Array], labels: Array, classes: int) -> int:
    """Return 1 where the model counts as COCO's ids do, which leave numbers out (90 for 80): classes beyond tell."""
    highest = max(
        (int(found.classes.max(initial=-1)) for k in range(len(labels)) if (found := form.read(outputs, k))),
        default=-1,
    )
    return int(highest >= classes)
