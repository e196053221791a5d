"""Task metrics against hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.score.metrics import METRICS, Unfit, automatic, check_metric

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
    assert value("auc", scores[:, None], labels) == pytest.approx(0.75)
    assert value("auc", np.stack([1 - scores, scores], axis=1), labels) == pytest.approx(0.75)
    assert value("auc", np.stack([-scores, scores], axis=1), labels) == pytest.approx(0.75), "logits too"


def test_auc_of_three_classes_is_the_mean_of_one_against_the_rest() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    perfect = np.eye(3)[labels]
    assert value("auc", perfect, labels) == 1.0
    assert value("auc", 1 - perfect, labels) == 0.0


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "words"),
    [
        ("top1", np.zeros((4, 1)), CLASSES, "is no list of class scores"),
        ("top1", SCORES, np.array([0.5, 1, 2, 0]), "not whole numbers"),
        ("top1", SCORES, np.eye(4), "are no class indices"),
        ("top5", SCORES, CLASSES, "top5 needs 5 classes or more, the model has 3"),
        ("mse", SCORES, CLASSES, "outputs [4, 3] and targets [4] differ in shape"),
        ("auc", SCORES, np.zeros(4, int), "all are class 0"),
        ("auc", SCORES, np.array([0, 1, 2, 7]), "label 7 is beyond the model's 3 outputs"),
        ("auc", np.zeros((3, 1)), np.array([0, 1, 2]), "auc of one output needs two classes"),
    ],
)
def test_what_does_not_fit_says_why(name: str, outputs: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(Unfit, match=words.replace("[", r"\[").replace("]", r"\]")):
        value(name, outputs, labels)


def test_auto() -> None:
    assert automatic(SCORES, CLASSES) == "top1"
    assert automatic(SCORES, CLASSES.astype(np.float32)) == "mse"
    assert automatic(np.zeros((4, 1)), CLASSES) == "mse"


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
