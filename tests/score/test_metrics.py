"""Task metrics against hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.score.metrics import METRICS, Unfit, automatic, check_metric, cut_of, two_classes

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], np.float32)
CLASSES = np.array([1, 0, 1, 2])


def value(name: str, outputs: np.ndarray, labels: np.ndarray) -> float:
    return METRICS[name].compute(outputs, labels)


def test_top1_counts_in_percent() -> None:
    assert value("top1", SCORES, CLASSES) == 50.0
    assert value("top1", SCORES.reshape(4, 1, 1, 3), CLASSES.astype(np.float32)) == 50.0


def test_top5() -> None:
    outputs = np.eye(6)[[0, 1, 2]] + np.linspace(0.5, 0, 6)
    assert value("top5", outputs, np.array([0, 4, 5])) == pytest.approx(200 / 3)


def test_mse_and_mae() -> None:
    outputs, targets = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 1.0, 1.0])
    assert value("mse", outputs, targets) == pytest.approx(10 / 3)
    assert value("mae", outputs, targets) == pytest.approx(4 / 3)


def test_auc_of_two_classes_from_one_or_two_outputs() -> None:
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert value("auc", scores[:, None], labels) == pytest.approx(75.0)
    assert value("auc", np.stack([1 - scores, scores], axis=1), labels) == pytest.approx(75.0)
    assert value("auc", np.stack([-scores, scores], axis=1), labels) == pytest.approx(75.0), "logits too"


def test_auc_of_three_classes_is_the_mean_of_one_against_the_rest() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    perfect = np.eye(3)[labels]
    assert value("auc", perfect, labels) == 100.0
    assert value("auc", perfect, perfect) == 100.0, "one-hot labels too"
    assert value("auc", 1 - perfect, labels) == 0.0


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "words"),
    [
        ("top1", np.zeros((4, 1)), CLASSES, "is no list of class scores"),
        ("top1", SCORES, np.array([0.5, 1, 2, 0]), "not whole numbers"),
        ("top1", SCORES, np.eye(4), "labels of shape [4, 4] are no class indices"),
        ("top5", SCORES, CLASSES, "top5 needs 5 classes or more, the model has 3"),
        ("top1", SCORES, np.ones((4, 3)), "no one-hot rows"),
        ("top1", SCORES, np.array([0, 1, 2, 7]), "label 7 is beyond the model's 3 outputs"),
        ("auc", SCORES, np.ones((4, 3)), "needs both 0 and 1"),
        ("auc", SCORES, np.full((4, 3), 0.5), "needs them to be 0 or 1"),
        ("mse", SCORES, CLASSES, "outputs [4, 3] and targets [4] differ in shape"),
        ("auc", SCORES, np.zeros(4, int), "all are class 0"),
        ("auc", SCORES, np.array([0, 1, 2, 7]), "label 7 is beyond the model's 3 outputs"),
        (
            "auc",
            np.zeros((3, 1)),
            np.array([0, 1, 2]),
            "needs labels of two classes, these hold 3 values",
        ),
    ],
)
def test_what_does_not_fit_says_why(name: str, outputs: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(Unfit, match=words.replace("[", r"\[").replace("]", r"\]")):
        value(name, outputs, labels)


def test_auc_of_several_labels_a_sample_is_the_mean_over_outputs() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
    scores = np.array([[0.9, 0.1, 0.2], [0.1, 0.9, 0.3], [0.8, 0.5, 0.4]])
    assert value("auc", scores, labels) == pytest.approx((100 + 50) / 2), (
        "a label that never changes tells nothing"
    )


def test_top1_of_every_pixel() -> None:
    labels = np.array([[[0, 1], [2, 1]]])
    outputs = np.eye(3)[[[[0, 1], [1, 1]]]]
    assert value("top1", outputs, labels) == value("top1", outputs, labels[..., None]) == 75.0
    assert value("top1", outputs, np.eye(3)[labels]) == 75.0


def test_two_classes_of_one_number() -> None:
    probabilities, labels = np.array([[0.2], [0.7], [0.5]]), np.array([0, 1, 1])
    assert cut_of(probabilities) == 0.5 and cut_of(np.array([[-2.0], [0.5]])) == 0.0
    assert value("top1", two_classes(probabilities, 0.5), labels) == pytest.approx(200 / 3)
    assert value("top1", two_classes(probabilities[:, 0], 0.0), labels) == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("outputs", "labels", "wanted"),
    [
        (SCORES, CLASSES, "top1"),
        (SCORES, CLASSES.astype(np.float32), "top1"),
        (SCORES, np.eye(3)[CLASSES], "top1"),
        (np.zeros((4, 5, 6, 3)), np.zeros((4, 5, 6), int), "top1"),
        (np.zeros((4, 1)), np.array([0, 1, 1, 0]), "auc"),
        (np.zeros((4, 1)), np.array([0.0, 1.0, 1.0, 0.0]), "auc"),
        (np.zeros((4, 1)), CLASSES, "mse"),
        (np.zeros((4, 1)), np.zeros(4), "mse"),
        (SCORES, SCORES, "mse"),
        (SCORES, np.ones((4, 3)), "mse"),
    ],
)
def test_auto(outputs: np.ndarray, labels: np.ndarray, wanted: str) -> None:
    name, why = automatic(outputs, labels)
    assert name == wanted and why.startswith("labels ")


def test_names() -> None:
    assert check_metric("accuracy") == "top1"
    assert check_metric("auto") == "auto"
    assert check_metric("my.module:Class.method") == "my.module:Class.method"
    with pytest.raises(InputError) as caught:
        check_metric("top2")
    assert "hint: did you mean 'top" in caught.value.render()
    with pytest.raises(InputError) as caught:
        check_metric("my module:f")
    assert "error: metric-own-form" in caught.value.render()
