"""Scoring real (tiny) models in real workers, also ones that fail."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.score.measure import score
from edgeship.score.worker import Model, real, stored
from edgeship.values import FloatModel, Goals, PreparedSamples, Unavailable


def fed(path: Path) -> PreparedSamples:
    return PreparedSamples(paths=(path,), sha256="c" * 64)


def outputs_of(path: Path, samples: Path) -> np.ndarray[Any, Any]:
    model = Model(str(path))
    rows = []
    for sample in np.load(samples):
        model.feed([sample])
        model.invoke()
        rows.append(model.read()[0][0])
    return np.stack(rows)


@pytest.fixture(scope="module")
def other(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network of the same shape: a poor artifact of the first."""
    path: Path = tiny.classifier(tmp_path_factory.mktemp("other") / "other.tflite", seed=8)
    return path


def test_a_scorecard_is_what_one_computes_by_hand(
    float_model: FloatModel,
    other: Path,
    samples: Path,
    make_artifact: Any,
    tmp_path: Path,
    evaluation_of: Any,
) -> None:
    exact, poor = outputs_of(float_model.path, samples), outputs_of(other, samples)
    labels = exact.argmax(axis=1)
    labels[:10] = (labels[:10] + 1) % 4
    evaluation = evaluation_of(samples, labels, tmp_path)
    same, worse = score(
        [make_artifact(float_model.path), make_artifact(other)],
        float_model,
        evaluation,
        fed(samples),
        Goals(),
    )
    assert (same.metric.name, same.metric.value, same.metric.drop) == ("top1", 75.0, 0.0)
    assert (same.agreement.argmax, same.agreement.max_abs) == (1.0, 0.0)
    assert same.agreement.cosine == pytest.approx(1.0)
    assert worse.metric.value == pytest.approx(100 * np.mean(poor.argmax(axis=1) == labels))
    assert worse.metric.float_value == 75.0
    assert worse.agreement.argmax == pytest.approx(np.mean(poor.argmax(1) == exact.argmax(1)))
    assert worse.agreement.max_abs == pytest.approx(np.abs(poor - exact).max())
    assert worse.evaluation_sha256 == evaluation.info.sha256
    for card in (same, worse):
        latency = card.latency_ms
        assert isinstance(latency.p50, float) and isinstance(latency.cold, float)
        assert 0 < latency.p50 <= latency.p95
        assert latency.cold > latency.p50
        assert isinstance(card.peak_rss_mb, float) and 15 < card.peak_rss_mb < 200


def test_without_labels_agreement_remains(
    float_model: FloatModel, samples: Path, make_artifact: Any, tmp_path: Path, evaluation_of: Any
) -> None:
    artifact = make_artifact(float_model.path)
    (card,) = score([artifact], float_model, None, fed(samples), Goals())
    assert card.metric.drop == Unavailable(reason="no evaluation set was given")
    assert card.agreement.argmax == 1.0
    (card,) = score([artifact], float_model, evaluation_of(samples, None, tmp_path), fed(samples), Goals())
    assert card.metric.value == Unavailable(reason="the evaluation set has no labels")


def test_without_samples_latency_remains(float_model: FloatModel, make_artifact: Any) -> None:
    (card,) = score([make_artifact(float_model.path)], float_model, None, None, Goals())
    assert card.agreement.cosine == Unavailable(reason="no samples were given")
    assert isinstance(card.latency_ms.p50, float)


def test_a_model_that_fails_is_a_result(
    float_model: FloatModel, samples: Path, make_artifact: Any, tmp_path: Path, evaluation_of: Any
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0\0\0\0TFL3" + b"\0" * 64)
    evaluation = evaluation_of(samples, np.zeros(40, np.int64), tmp_path)
    bad, good = score(
        [make_artifact(broken), make_artifact(float_model.path)],
        float_model,
        evaluation,
        fed(samples),
        Goals(),
    )
    assert isinstance(bad.metric.value, Unavailable)
    assert "ValueError" in bad.metric.value.reason
    assert isinstance(bad.agreement.cosine, Unavailable)
    assert isinstance(bad.latency_ms.p50, Unavailable)
    assert isinstance(bad.peak_rss_mb, Unavailable)
    assert isinstance(good.metric.value, float)


def test_a_model_that_kills_its_process_is_a_result(
    float_model: FloatModel, samples: Path, make_artifact: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    """A loop that is its own body takes LiteRT 2.3's interpreter down: it runs out of stack, always."""
    path = tiny.looping(tmp_path / "endless.tflite", endless=True)
    bad, good = score(
        [make_artifact(path), make_artifact(float_model.path)], float_model, None, fed(samples), Goals()
    )
    assert isinstance(bad.agreement.cosine, Unavailable)
    assert "was killed by SIGSEGV" in bad.agreement.cosine.reason
    assert isinstance(bad.latency_ms.p50, Unavailable)
    assert "was killed by SIGSEGV" in bad.latency_ms.p50.reason
    assert good.agreement.argmax == 1.0


def test_a_wrecked_model_is_a_result(
    float_model: FloatModel, samples: Path, make_artifact: Any, tiny: ModuleType, tmp_path: Path
) -> None:
    """What a convolution without weights does in LiteRT is not defined: SIGSEGV one day, std::bad_alloc another."""

    def wreck(model: Any) -> None:
        model.subgraphs[0].operators[0].inputs = [0, -1, -1]

    path = tiny.edited(float_model.path, tmp_path / "wrecked.tflite", wreck)
    bad, good = score(
        [make_artifact(path), make_artifact(float_model.path)], float_model, None, fed(samples), Goals()
    )
    assert isinstance(bad.agreement.cosine, Unavailable) and bad.agreement.cosine.reason
    assert isinstance(bad.latency_ms.p50, Unavailable) and bad.latency_ms.p50.reason
    assert good.agreement.argmax == 1.0


def test_nan_outputs_are_named(
    float_model: FloatModel,
    samples: Path,
    make_artifact: Any,
    tiny: ModuleType,
    tmp_path: Path,
    evaluation_of: Any,
) -> None:
    def poison(model: Any) -> None:
        tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"dense_b")
        model.buffers[tensor.buffer].data = np.frombuffer(np.full(4, np.nan, np.float32).tobytes(), np.uint8)

    path = tiny.edited(float_model.path, tmp_path / "nan.tflite", poison)
    evaluation = evaluation_of(samples, np.zeros(40, np.int64), tmp_path)
    (card,) = score([make_artifact(path)], float_model, evaluation, fed(samples), Goals())
    assert card.metric.value == Unavailable(reason="the model answers with NaN or infinity")
    assert card.agreement.max_abs == Unavailable(reason="outputs hold NaN or infinity")


OWN = """
import os, signal

def right(outputs, labels):
    return float((outputs.argmax(axis=1) == labels).mean())

def cost(outputs, labels):
    return 1.0 - right(outputs, labels)

cost.higher_is_better = False

def broken(outputs, labels):
    return outputs[10**9]

def deadly(outputs, labels):
    os.kill(os.getpid(), signal.SIGSEGV)

def text(outputs, labels):
    return "good"

number = 3
"""


@pytest.fixture
def own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    float_model: FloatModel,
    samples: Path,
    evaluation_of: Any,
) -> Any:
    (tmp_path / "my_metrics.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    labels = outputs_of(float_model.path, samples).argmax(axis=1)
    labels[:10] = (labels[:10] + 1) % 4
    return evaluation_of(samples, labels, tmp_path)


def test_a_metric_of_ones_own(float_model: FloatModel, samples: Path, make_artifact: Any, own: Any) -> None:
    artifact = make_artifact(float_model.path)
    (card,) = score([artifact], float_model, own, fed(samples), Goals(metric="my_metrics:right"))
    assert (card.metric.name, card.metric.value, card.metric.higher_is_better) == (
        "my_metrics:right",
        0.75,
        None,
    )
    (card,) = score([artifact], float_model, own, fed(samples), Goals(metric="my_metrics:cost"))
    assert (card.metric.value, card.metric.higher_is_better) == (0.25, False)


@pytest.mark.parametrize(
    ("metric", "reference", "words"),
    [
        ("my_metrics:broken", "metric-own-failed", "my_metrics:broken raised IndexError"),
        (
            "my_metrics:deadly",
            "metric-own-failed",
            "my_metrics:deadly did not come back: was killed by SIGSEGV",
        ),
        ("my_metrics:text", "metric-own-value", "returned 'good', not a finite number"),
        ("my_metrics:number", "metric-own-not-found", "is a int, not something to call"),
        ("my_metrics:wrong", "metric-own-not-found", "has no attribute 'wrong'"),
        ("no_such_module:f", "metric-own-not-found", "No module named 'no_such_module'"),
    ],
)
def test_what_is_wrong_with_ones_own_metric(
    metric: str,
    reference: str,
    words: str,
    float_model: FloatModel,
    samples: Path,
    make_artifact: Any,
    own: Any,
) -> None:
    with pytest.raises(InputError) as caught:
        score([make_artifact(float_model.path)], float_model, own, fed(samples), Goals(metric=metric))
    text = caught.value.render()
    assert text.startswith(f"error: {reference}\n")
    assert words in text


def test_two_inputs_are_scored_and_timed(
    tiny: ModuleType, samples: Path, make_artifact: Any, make_model: Any, tmp_path: Path
) -> None:
    two = make_model(tiny.adder(tmp_path / "two.tflite"))
    for name in ("one", "other"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(1).random((20, 4), dtype=np.float32))
    both = PreparedSamples(paths=(tmp_path / "one.npy", tmp_path / "other.npy"), sha256="c" * 64)
    (card,) = score([make_artifact(two.path)], two, None, both, Goals())
    assert card.agreement.cosine == pytest.approx(1.0)
    assert isinstance(card.latency_ms.p50, float)
    (card,) = score([make_artifact(two.path)], two, None, fed(samples), Goals())
    assert isinstance(card.agreement.cosine, Unavailable)
    assert "the model has 2 inputs and the data holds 1 arrays" in card.agreement.cosine.reason


def test_storing_rounds_half_to_even_and_clamps() -> None:
    entry = {"dtype": np.int8, "quantization": (0.5, 3)}
    values = np.array([0.0, 0.25, 0.75, -0.25, 1000.0, -1000.0], np.float32)
    assert stored(values, entry).tolist() == [3, 3, 5, 3, 127, -128]
    assert real(np.array([3, 5], np.int8), entry).tolist() == [0.0, 1.0]
    assert stored(values, {"dtype": np.float32, "quantization": (0.0, 0)}) is not None
