"""Every form of a detector's outputs gives the same boxes back, and what cannot be read is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeship.score.detection import are_boxes, detect
from edgeship.score.detections import forms_of
from edgeship.score.metrics import Unfit
from edgeship.values import Unavailable

Array = np.ndarray[Any, Any]
IMAGES, PLACES, CLASSES, SIZE = 6, 40, 3, (320, 640)
RANDOM = np.random.default_rng(4)


def made() -> tuple[Array, Array, Array]:
    """Return corners `[n, places, 4]` in fractions, scores `[n, places, classes]`, and the labels that fit them."""
    cells = np.stack(np.meshgrid(np.arange(8), np.arange(5)), axis=-1).reshape(-1, 2) / [8, 5]
    size = 0.06 + 0.06 * RANDOM.random((IMAGES, PLACES, 2))
    corners = np.concatenate([np.broadcast_to(cells, size.shape), cells + size], axis=-1)
    kinds = RANDOM.integers(0, CLASSES, (IMAGES, PLACES))
    seen = RANDOM.random((IMAGES, PLACES)) < 0.3
    scores = (
        np.where(seen, 0.6 + 0.3 * RANDOM.random((IMAGES, PLACES)), 0.0005)[..., None]
        * np.eye(CLASSES)[kinds]
    )
    labels = np.full((IMAGES, PLACES, 7), -1.0)
    labels[..., 6] = 0
    for image in range(IMAGES):
        rows = np.flatnonzero(seen[image])
        held = [kinds[image, rows][:, None], kinds[image, rows][:, None] + 1, corners[image, rows]]
        labels[image, : len(rows), :6] = np.concatenate(held, axis=1)
    return corners, scores, labels


CORNERS, SCORES, LABELS = made()
CENTRES = np.concatenate(
    [(CORNERS[..., :2] + CORNERS[..., 2:]) / 2, CORNERS[..., 2:] - CORNERS[..., :2]], axis=-1
)
PIXELS = CENTRES * [640, 320, 640, 320]
SURE = SCORES.max(axis=2, keepdims=True)
V8 = np.concatenate([PIXELS, SCORES], axis=2)
V5 = np.concatenate([CENTRES, SURE, SCORES / SURE], axis=2)
LOGITS = np.log(np.clip(SCORES, 1e-7, None) / (1 - SCORES))
V10 = np.concatenate([CORNERS, SURE, SCORES.argmax(axis=2)[..., None]], axis=2)
BACKGROUND = np.concatenate([1 - SURE, SCORES], axis=2)
RANKED = np.argsort(-SURE[..., 0], axis=1)
POST = [
    np.take_along_axis(CORNERS[..., [1, 0, 3, 2]], RANKED[..., None], 1),
    np.take_along_axis(SCORES.argmax(axis=2), RANKED, 1).astype(float),
    np.take_along_axis(SURE[..., 0], RANKED, 1),
    (SURE[..., 0] > 0.5).sum(axis=1).astype(float),
]


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        pytest.param([V8], "box and classes", id="v8, pixels"),
        pytest.param([V8.transpose(0, 2, 1)], "box and classes, channels first", id="v8, as exported"),
        pytest.param([V8[:, None]], "box and classes", id="an axis of one"),
        pytest.param([np.concatenate([CENTRES, SCORES], 2)], "box and classes", id="v8, fractions"),
        pytest.param([np.concatenate([PIXELS, LOGITS], 2)], "box and classes", id="logits"),
        pytest.param([V5], "box, sure and classes", id="v5"),
        pytest.param([V10], "corners, score and class", id="v10"),
        pytest.param([PIXELS, SCORES], "centres and sizes beside scores", id="two outputs"),
        pytest.param([SCORES, CORNERS], "corners x, y beside scores", id="scores first"),
        pytest.param([CORNERS[..., [1, 0, 3, 2]], BACKGROUND], "corners y, x beside scores", id="background"),
        pytest.param(POST, "finished detections", id="postprocessed"),
        pytest.param(
            [POST[0], POST[2], POST[1], POST[3][:, None]], "finished detections", id="another order"
        ),
        pytest.param(POST[:3], "finished detections", id="without a count"),
    ],
)
def test_forms_give_the_boxes_back(outputs: list[Array], name: str) -> None:
    lost = [np.zeros_like(o) for o in outputs]
    found = detect("map", {"float": outputs, "int8": lost}, "float", LABELS, classes=CLASSES, size=SIZE)
    assert found.values["float"] == pytest.approx(100.0)
    assert found.values["int8"] == 0.0
    assert found.about.startswith(f"outputs read as {name}")


def test_map50_takes_boxes_that_are_only_near() -> None:
    moved = V8 + np.array([8.0, 3, 0, 0, 0, 0, 0])
    found = {
        name: detect(
            name, {"float": [V8], "int8": [moved]}, "float", LABELS, classes=CLASSES, size=SIZE
        ).values
        for name in ("map", "map50")
    }
    assert found["map50"]["int8"] > found["map"]["int8"] > 0  # type: ignore[operator]
    assert found["map50"]["float"] == found["map"]["float"] == pytest.approx(100.0)


def test_overlapping_boxes_of_one_class_are_one() -> None:
    twice = np.concatenate([V8, V8 * [1, 1, 1, 1, 0.9, 0.9, 0.9]], axis=1)
    found = detect("map", {"float": [twice]}, "float", LABELS, classes=CLASSES, size=SIZE)
    assert found.values["float"] == pytest.approx(100.0)


def test_classes_that_count_as_the_categories_ids() -> None:
    """A model of COCO's 90 numbers beside 80 categories: classes beyond the categories are ids less 1."""
    labels = LABELS.copy()
    spread = np.array([1, 40, 90])
    labels[..., 1] = np.where(labels[..., 0] >= 0, spread[labels[..., 0].astype(int)], -1)
    outputs = [POST[0], spread[POST[1].astype(int)] - 1.0, POST[2], POST[3]]
    found = detect("map", {"float": outputs}, "float", labels, classes=CLASSES, size=SIZE)
    assert found.values["float"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param([RANDOM.normal(size=(2, 10, 9))], id="another number of columns"),
        pytest.param(
            [RANDOM.normal(size=(2, 10, 4)), RANDOM.normal(size=(2, 10, 3))], id="offsets from anchors"
        ),
        pytest.param([RANDOM.normal(size=(2, 5, 5, 24))] * 3, id="raw heads"),
        pytest.param([RANDOM.normal(size=(2, 10))], id="a classifier"),
    ],
)
def test_what_cannot_be_read_is_told(outputs: list[Array]) -> None:
    with pytest.raises(Unfit, match=r"not read as detections of 3 classes: known are"):
        forms_of(outputs, CLASSES, SIZE)


def test_labels_that_are_no_boxes_are_told() -> None:
    assert are_boxes(LABELS)
    assert not are_boxes(np.zeros((4, 2))) and not are_boxes(np.full((4, 2, 7), 0.5))
    with pytest.raises(Unfit, match="COCO annotations file"):
        detect("map", {"float": [V8]}, "float", np.zeros(6), classes=CLASSES, size=SIZE)
    bad = {"float": [V8], "nan": [V8 * np.nan], "other": [V8[:, :5]]}
    values = detect("map", bad, "float", LABELS, classes=CLASSES, size=SIZE).values
    assert isinstance(values["nan"], Unavailable) and isinstance(values["other"], Unavailable)
