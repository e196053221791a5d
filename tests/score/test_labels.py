"""What labels are read as beside outputs of many shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeship.score.labels import are_two, beyond, classes_beside, fitting, is_one_hot

CLASSES = np.array([1, 0, 2])
MASK = np.arange(3 * 4 * 5).reshape(3, 4, 5) % 2


@pytest.mark.parametrize(
    ("shape", "labels", "wanted"),
    [
        ((3, 4), CLASSES, [1, 0, 2]),
        ((3, 1, 1, 4), CLASSES, [1, 0, 2]),
        ((3, 4), CLASSES.astype(np.float32), [1, 0, 2]),
        ((3, 4), np.eye(4)[CLASSES], [1, 0, 2]),
        ((3, 4), np.eye(4, dtype=bool)[CLASSES], [1, 0, 2]),
        ((3, 4, 5, 2), MASK, MASK.ravel().tolist()),
        ((3, 4, 5, 2), MASK[..., None], MASK.ravel().tolist()),
        ((3, 4, 5, 2), np.eye(2)[MASK], MASK.ravel().tolist()),
        ((3, 4), CLASSES + 0.5, None),
        ((3, 4), np.full((3, 4), 0.25), None),
        ((3, 4), np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), None),
        ((3, 1), CLASSES, None),
        ((3,), CLASSES, None),
        ((3, 4, 5), MASK, None),
    ],
)
def test_classes(shape: tuple[int, ...], labels: np.ndarray, wanted: list[int] | None) -> None:
    found = classes_beside(shape, labels)
    assert (None if found is None else found.tolist()) == wanted


@given(arrays(np.int64, (6,), elements=st.integers(0, 4)))
def test_one_hot_rows_say_the_same_as_indices(labels: np.ndarray) -> None:
    rows = np.eye(5, dtype=np.float32)[labels]
    assert is_one_hot((6, 5), rows) and not is_one_hot((6, 5), labels)
    np.testing.assert_array_equal(classes_beside((6, 5), rows), classes_beside((6, 5), labels))


def test_two_classes_of_one_number() -> None:
    assert are_two((4, 1), np.array([0, 1, 1, 0])) and are_two((4,), np.array([0.0, 1.0, 1.0, 0.0]))
    assert are_two((4, 1), np.array([-1, 1, 1, -1]))
    assert not are_two((4, 1), np.array([0, 2, 1, 0])) and not are_two((4, 1), np.zeros(4, int))
    assert not are_two((4, 2), np.array([0, 1, 1, 0]))


def test_labels_beyond_the_classes() -> None:
    assert beyond((3, 2), CLASSES).tolist() == [2]
    assert beyond((3, 3), CLASSES).size == 0 and beyond((3, 1), CLASSES).size == 0


@pytest.mark.parametrize(
    ("shapes", "labels", "wanted"),
    [
        ([(3, 10), (3, 2)], CLASSES, [0]),
        ([(3, 2), (3, 10)], CLASSES, [1]),
        ([(3, 4), (3, 10)], CLASSES, [0, 1]),
        ([(3, 10), (3, 1)], CLASSES, [0]),
        ([(3, 2), (3, 1)], CLASSES, [1]),
        ([(3, 2), (3, 1)], np.array([0, 1, 1]), [0, 1]),
        ([(3, 2), (3, 4)], np.zeros((3, 4)) + 0.5, [1]),
        ([(3, 2), (3, 3)], np.eye(3), [1]),
        ([(3, 2), (3, 7, 4)], np.zeros((3, 5, 4)), []),
    ],
)
def test_which_of_several_outputs_labels_fit(
    shapes: list[tuple[int, ...]], labels: np.ndarray, wanted: list[int]
) -> None:
    assert fitting(shapes, labels) == wanted


def test_numbers_are_matched_by_shape_alone() -> None:
    assert fitting([(3, 10), (3, 1)], CLASSES, numbers=True) == [1]
