"""Mean average precision: by hand, and beside what COCO's own evaluation (pycocotools 2.0.11) gives."""

from __future__ import annotations

import numpy as np
import pytest

from edgeship.score.average_precision import Boxes, mean_average_precision, overlaps


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    held = np.array(rows, float).reshape(-1, 6)
    return Boxes(corners=held[:, :4], classes=held[:, 4].astype(int), scores=held[:, 5])


def scene(seed: int, images: int = 25, classes: int = 4) -> tuple[list[Boxes], list[Boxes]]:
    """Return detections and true boxes, some of them crowds: true ones moved, doubled, missed and of other classes."""
    random = np.random.Generator(np.random.PCG64(seed))
    found, true = [], []
    for _ in range(images):
        count = int(random.random() * 6)
        low = random.random((count, 2)) * 0.6
        corners = np.concatenate([low, low + 0.05 + 0.3 * random.random((count, 2))], axis=1)
        kinds = (random.random(count) * classes).astype(int)
        crowd = (random.random(count) < 0.15).astype(float)
        true.append(Boxes(corners=corners, classes=kinds, scores=crowd))
        again = np.concatenate([corners, corners, corners[: count // 2]])
        moved = again + 0.06 * (random.random(again.shape) - 0.5)
        wrong = random.random(len(again)) < 0.15
        guessed = np.where(wrong, 0, np.concatenate([kinds, kinds, kinds[: count // 2]]))
        found.append(Boxes(corners=moved, classes=guessed, scores=random.random(len(again))))
    return found, true


def test_by_hand() -> None:
    true = [boxes((0, 0, 1, 1, 0, 0)), boxes((0, 0, 1, 1, 0, 0))]
    assert mean_average_precision(true, true) == pytest.approx(100.0)
    half = [boxes((0, 0, 1, 1, 0, 0.9)), boxes()]
    assert mean_average_precision(half, true) == pytest.approx(100 * 51 / 101), (
        "recall up to 0.5: 51 of 101 points"
    )
    wrong_first = [boxes((0.5, 0.5, 0.6, 0.6, 0, 0.99), (0, 0, 1, 1, 0, 0.9)), boxes((0, 0, 1, 1, 0, 0.8))]
    assert mean_average_precision(wrong_first, true) == pytest.approx(100 * 2 / 3)
    narrow = [boxes((0, 0, 0.72, 1, 0, 1)), boxes((0, 0, 0.72, 1, 0, 1))]
    assert mean_average_precision(narrow, true) == pytest.approx(50.0), "0.50 to 0.70 of ten thresholds"
    assert mean_average_precision(narrow, true, (0.5,)) == pytest.approx(100.0)
    assert mean_average_precision([boxes()] * 2, true) == 0.0
    assert mean_average_precision(true, [boxes()] * 2) == 0.0


def test_crowds_are_neither_missed_nor_found() -> None:
    true = [boxes((0, 0, 0.2, 0.2, 0, 0), (0.5, 0.5, 1, 1, 0, 1))]
    found = [boxes((0.5, 0.5, 0.7, 0.7, 0, 0.99), (0.7, 0.7, 0.9, 0.9, 0, 0.98), (0, 0, 0.2, 0.2, 0, 0.5))]
    assert mean_average_precision(found, true) == pytest.approx(100.0)
    inside = overlaps(np.array([[0.5, 0.5, 0.7, 0.7]]), np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([True]))
    assert inside == pytest.approx(np.ones((1, 1)))


@pytest.mark.parametrize(
    ("seed", "all_thresholds", "half"),
    [
        # COCOeval(iouType="bbox") on images of 1000 x 1000 pixels: stats[0] and stats[1]
        (1, 0.2827790418, 0.677644849),
        (2, 0.2923304208, 0.6442496415),
        (3, 0.2555040191, 0.6762995756),
    ],
)
def test_as_coco_evaluates(seed: int, all_thresholds: float, half: float) -> None:
    found, true = scene(seed)
    assert mean_average_precision(found, true) == pytest.approx(100 * all_thresholds, abs=1e-6)
    assert mean_average_precision(found, true, (0.5,)) == pytest.approx(100 * half, abs=1e-6)
