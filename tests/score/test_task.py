"""Which metric a score is, of which output, and what its drop counts: tiny models that lose accuracy in known ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.progress import Silent
from edgeship.score.gates import judge
from edgeship.score.measure import score
from edgeship.score.own import check_own
from edgeship.tflite.reader import read_tflite
from edgeship.values import FloatModel, Goals, PreparedSamples, Scorecard, Unavailable


def fed(path: Path) -> PreparedSamples:
    return PreparedSamples(paths=(path,), sha256="c" * 64)


LIMITED = Goals(max_drop=1.0)


@pytest.fixture(scope="module")
def decided(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Samples of `decider` and their classes."""
    x, y = tiny.decisions(60)
    path = tmp_path_factory.mktemp("decided") / "x.npy"
    np.save(path, x)
    return path, y


@pytest.fixture
def verdict_of(make_artifact: Any, make_model: Any, evaluation_of: Any, tmp_path: Path) -> Any:
    """Return a function: the scorecard of one model beside another, and the verdict of the gate on its drop."""

    def run(good: Path, bad: Path, x: Path, y: Any, goals: Goals = LIMITED) -> tuple[Scorecard, Any]:
        model = replace(make_model(good), signature=read_tflite(good).signature)
        artifact = make_artifact(bad)
        (card,) = score([artifact], model, evaluation_of(x, y, tmp_path), fed(x), goals)
        return card, judge(artifact, card, goals)[0]

    return run


@pytest.mark.parametrize("form", ["indices", "whole numbers", "one-hot"])
def test_a_collapse_stops_whatever_form_class_labels_have(
    form: str, verdict_of: Any, decided: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    x, y = decided
    labels = {"indices": y, "whole numbers": y.astype(np.float32), "one-hot": np.eye(2)[y]}[form]
    good, bad = tiny.decider(tmp_path / "good.tflite"), tiny.decider(tmp_path / "bad.tflite")
    bad = tiny.edited(good, tmp_path / "bad.tflite", _without_weights)
    card, gate = verdict_of(good, bad, x, labels)
    assert (card.metric.name, card.metric.float_value, card.metric.drop_unit) == ("top1", 100.0, "points")
    assert card.metric.drop == pytest.approx(100 * np.mean(y == 1))
    assert gate.verdict == "fail"


def _without_weights(model: Any) -> None:
    tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"dense_w")
    data = model.buffers[tensor.buffer].data
    model.buffers[tensor.buffer].data = np.zeros(len(data), np.uint8)


def test_a_collapse_of_one_sigmoid_stops(
    verdict_of: Any, decided: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    x, y = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1)
    bad = tiny.edited(good, tmp_path / "bad.tflite", _without_weights)
    card, gate = verdict_of(good, bad, x, y)
    assert (card.metric.name, card.metric.float_value, card.metric.value) == ("auc", 100.0, 50.0)
    assert gate.verdict == "fail" and gate.reason.startswith(
        "auc drop 50 points is over the limit of 1 points"
    )
    assert isinstance(card.agreement.cosine, Unavailable), "a cosine of single numbers is their sign"
    assert card.agreement.argmax == pytest.approx(np.mean(y == 0)), "0.5 is not above 0.5"


@pytest.mark.parametrize("logits", [False, True])
def test_decisions_of_one_number_are_compared_at_its_threshold(
    logits: bool, verdict_of: Any, decided: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    """Ranks stay when everything moves to one side: auc does not see it, agreement and top1 do."""
    x, y = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1, logits=logits)
    bad = tiny.decider(tmp_path / "bad.tflite", outputs=1, shift=15.0, logits=logits)
    card, _ = verdict_of(good, bad, x, y)
    assert isinstance(card.metric.drop, float) and card.metric.drop < 10
    assert isinstance(card.agreement.argmax, float) and card.agreement.argmax < 0.7
    card, gate = verdict_of(good, bad, x, y, Goals(metric="top1", max_drop=1.0))
    assert card.metric.float_value == 100.0 and gate.verdict == "fail"
    assert card.metric.about == f"class 1 above {'0' if logits else '0.5'}"


def test_errors_drop_in_percent_of_the_float_models(
    verdict_of: Any, decided: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    """An error of 0.02 that becomes 0.03 is no drop of 0.01 points: nothing would ever be over a limit of 1."""
    x, y = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1)
    bad = tiny.decider(tmp_path / "bad.tflite", outputs=1, shift=1.0)
    card, gate = verdict_of(good, bad, x, y, Goals(metric="mse", max_drop=1.0))
    value, was = card.metric.value, card.metric.float_value
    assert isinstance(value, float) and isinstance(was, float) and 0 < value - was < 0.2
    assert card.metric.drop == pytest.approx(100 * (value - was) / was)
    assert gate.verdict == "fail"
    assert "mse drop in percent of the float model's mse" in gate.reason and gate.reason.endswith(
        "limit of 1 %"
    )


def test_of_an_error_of_zero_nothing_is_a_percentage(
    verdict_of: Any, decided: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    x, _ = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1, logits=True)
    exact = (4 * np.load(x)[:, :2].astype(np.float32)).sum(axis=1)
    same, gate = verdict_of(good, good, x, exact, Goals(metric="mse", max_drop=1.0))
    assert same.metric.drop == 0.0 and gate.verdict == "pass"
    off = tiny.decider(tmp_path / "off.tflite", outputs=1, logits=True, shift=1.0)
    zero = tiny.edited(good, tmp_path / "zero.tflite", _without_weights)
    card, gate = verdict_of(zero, off, x, np.zeros(len(exact)), Goals(metric="mse", max_drop=1.0))
    assert card.metric.float_value == 0.0 and isinstance(card.metric.drop, Unavailable)
    assert gate.verdict == "no-data" and gate.stops


def test_the_output_that_fits_the_labels_is_scored(
    verdict_of: Any, tiny: ModuleType, samples: Path, float_model: FloatModel, tmp_path: Path
) -> None:
    """The first output is no list of classes: its largest entry would be compared with the labels in silence."""
    both = tiny.with_outputs(float_model.path, tmp_path / "both.tflite", ["b", "y"])
    alone, _ = verdict_of(float_model.path, float_model.path, samples, np.arange(40) % 4)
    card, gate = verdict_of(both, both, samples, np.arange(40) % 4)
    assert card.metric.value == alone.metric.value and gate.verdict == "pass"
    assert "of output 'y', the only one that fits the labels" in card.metric.about
    assert card.agreement.argmax == 1.0


def test_labels_that_fit_several_outputs_need_a_name(
    verdict_of: Any, tiny: ModuleType, samples: Path, float_model: FloatModel, tmp_path: Path
) -> None:
    both = tiny.with_outputs(float_model.path, tmp_path / "both.tflite", ["c", "y"])
    labels = np.arange(40) % 4
    card, gate = verdict_of(both, both, samples, labels)
    assert gate.verdict == "no-data" and gate.stops
    assert "fit 2 of the model's outputs 'c' [1, 1, 8], 'y' [4]" in gate.reason
    assert "goals: {accuracy: {output: c}}" in gate.reason
    assert isinstance(card.agreement.argmax, Unavailable)
    card, gate = verdict_of(both, both, samples, labels, Goals(max_drop=1.0, output="y"))
    alone, _ = verdict_of(float_model.path, float_model.path, samples, labels)
    assert card.metric.value == alone.metric.value and gate.verdict == "pass"


def test_what_came_quantized_is_not_compared_with_itself(
    make_artifact: Any, samples: Path, float_model: FloatModel, evaluation_of: Any, tmp_path: Path
) -> None:
    artifact, labels = make_artifact(float_model.path), np.arange(40) % 4
    given = replace(float_model, is_float=False)
    (card,) = score([artifact], given, evaluation_of(samples, labels, tmp_path), fed(samples), LIMITED)
    why = Unavailable(reason="the model came quantized; its float original is not known")
    assert isinstance(card.metric.value, float)
    assert card.metric.float_value == card.metric.drop == why
    assert card.agreement.argmax == card.agreement.cosine == card.agreement.max_abs == why
    (gate,) = judge(artifact, card, LIMITED)
    assert gate.verdict == "no-data" and gate.stops


OWN = """
def rmse(outputs, labels):
    return float(((outputs.ravel() - labels.ravel()) ** 2).mean() ** 0.5)

def error(outputs, labels):
    return rmse(outputs, labels)

error.higher_is_better = False

def vague(outputs, labels):
    return rmse(outputs, labels)

vague.higher_is_better = "yes"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with metrics, which is not the working directory."""
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / "errors_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_a_metric_of_ones_own_that_is_an_error_stops_when_it_grows(
    verdict_of: Any, decided: Any, folder: Path, tiny: ModuleType, tmp_path: Path
) -> None:
    x, y = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1)
    bad = tiny.decider(tmp_path / "bad.tflite", outputs=1, shift=1.0)
    goals = Goals(metric="errors_of_mine:error", metric_folder=folder, max_drop=1.0)
    card, gate = verdict_of(good, bad, x, y.astype(np.float32), goals)
    assert (card.metric.higher_is_better, card.metric.drop_unit) == (False, "%")
    assert isinstance(card.metric.drop, float) and card.metric.drop > 1.0 and gate.verdict == "fail"


def test_a_metric_of_ones_own_that_does_not_say_has_no_drop(
    verdict_of: Any, decided: Any, folder: Path, tiny: ModuleType, tmp_path: Path
) -> None:
    x, y = decided
    good = tiny.decider(tmp_path / "good.tflite", outputs=1)
    goals = Goals(metric="errors_of_mine:rmse", metric_folder=folder, max_drop=1.0)
    card, gate = verdict_of(good, good, x, y.astype(np.float32), goals)
    assert isinstance(card.metric.value, float) and card.metric.higher_is_better is None
    assert gate.verdict == "no-data" and "rmse.higher_is_better = False" in gate.reason


@pytest.mark.parametrize(
    ("name", "limit", "reference", "words"),
    [
        ("errors_of_mine:rmse", 1.0, "metric-own-direction", "does not say whether higher is better"),
        ("errors_of_mine:vague", None, "metric-own-direction", "is 'yes', neither True nor False"),
        ("errors_of_mine:gone", None, "metric-own-not-found", "has no attribute 'gone'"),
        ("nowhere:gone", None, "metric-own-not-found", "No module named 'nowhere'"),
    ],
)
def test_what_is_wrong_with_ones_own_metric_is_found_before_anything_is_made(
    name: str, limit: float | None, reference: str, words: str, folder: Path
) -> None:
    with pytest.raises(InputError) as caught:
        check_own(Goals(metric=name, metric_folder=folder, max_drop=limit), Silent())
    text = caught.value.render()
    assert text.startswith(f"error: {reference}\n") and words in text
    assert caught.value.hint


def test_a_metric_of_ones_own_that_is_right_is_let_through(folder: Path) -> None:
    check_own(Goals(metric="errors_of_mine:error", metric_folder=folder, max_drop=1.0), Silent())
    check_own(Goals(metric="errors_of_mine:rmse", metric_folder=folder), Silent())
    check_own(Goals(metric="top1", max_drop=1.0), Silent())
