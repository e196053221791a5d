"""`edgeship explain` names what breaks small models that were broken on purpose, and what it prints to type helps."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

PER_TENSOR = """name: one
title: One scale
summary: One scale for every weight.
extends: host
precision: {granularity: per_tensor}
"""
Explained = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def all_in_this_process(in_this_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the other workers that explain and compress run here, too."""

    def call(worker: str, payload: dict[str, Any], **_: Any) -> Any:
        module, _, function = worker.partition(":")
        return SimpleNamespace(
            value=getattr(importlib.import_module(module), function)(payload, lambda *a: None)
        )

    for user in ("quantize.by_layer", "quantize.evidence", "pipeline.chains"):
        monkeypatch.setattr(f"edgeship.{user}.run_worker", call)


@pytest.fixture
def explained(edgeship: Any, valid: Any, tmp_path: Path) -> Explained:
    """Return a function that writes data, with the answers of the float model as labels, and explains `m.tflite`."""

    def explain(
        calibration: Any, evaluation: Any, *more: str, target: str = "host", labelled: bool = True
    ) -> dict[str, Any]:
        np.savez(tmp_path / "c.npz", x=calibration)
        y = {"y": answers(tmp_path / "m.tflite", evaluation)} if labelled else {}
        np.savez(tmp_path / "e.npz", x=evaluation, **y)
        data = ("--calibration", "c.npz", "--eval", "e.npz")
        said = edgeship("explain", "m.tflite", "-t", target, *data, "--recipe", "int8", "--json", "-q", *more)
        assert said.status == 0, said.err
        document: dict[str, Any] = said.document()
        valid("explain", document)
        return document

    return explain


def answers(path: Path, x: Any) -> Any:
    """Return the class of each sample by the float model."""
    from edgeship.score.worker import Model

    model, found = Model(str(path)), []
    for sample in x:
        model.feed([sample[None]])
        model.invoke()
        found.append(int(model.read()[0][0].reshape(-1).argmax()))
    return np.array(found)


def named(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the layers of each cause, worst first."""
    found: dict[str, list[str]] = {}
    for layer in document["layers"]:
        for cause in layer["causes"]:
            found.setdefault(cause["kind"], []).append(layer["layer"])
    return found


def commands(document: dict[str, Any], kind: str) -> list[str]:
    return [c["command"] for layer in document["layers"] for c in layer["causes"] if c["kind"] == kind]


def test_unequal_channels_are_named_and_equalising_gives_the_loss_back(
    explained: Explained, edgeship: Any, tiny_models: ModuleType, tmp_path: Path
) -> None:
    tiny_models.unequal(tmp_path / "m.tflite")
    (tmp_path / "one.yaml").write_text(PER_TENSOR)
    x = tiny_models.pictures(260)
    document = explained(x[:60], x[60:], target="one.yaml")
    lost = document["metric"]["drop"]
    assert lost > 10
    assert document["layers"][0]["layer"] in ("a", "b"), "the convolution, or what reads it"
    assert named(document)["unequal-channels"] == ["a"]
    (command,) = commands(document, "unequal-channels")
    words = shlex.split(command)
    assert words[:1] == ["edgeship"] and words[-2:] == ["--method", "equalise"]
    data = ("--calibration", "c.npz", "--eval", "e.npz", "--recipe", "int8", "--json", "-q")
    said = edgeship(*words[1:], *data)
    variants = {v["name"]: v for v in said.document()["variants"]}
    after = variants["equalise+static_wi8_ai8"]["metric"]["evaluation"]["drop"]
    assert after <= 0.2 * lost


def test_mixed_gives_the_loss_back_at_a_price(edgeship: Any, tiny_models: ModuleType, tmp_path: Path) -> None:
    tiny_models.unequal(tmp_path / "m.tflite")
    (tmp_path / "one.yaml").write_text(PER_TENSOR)
    x = tiny_models.pictures(300)
    y = answers(tmp_path / "m.tflite", x)
    np.savez(tmp_path / "t.npz", x=x[:200], y=y[:200])
    np.savez(tmp_path / "e.npz", x=x[200:], y=y[200:])
    data = ("--train", "t.npz", "--eval", "e.npz", "--recipe", "int8", "--max-drop", "100", "--json", "-q")
    words = ("compress", "m.tflite", "-t", "one.yaml", *data)
    said = edgeship(*words, "--method", "mixed-float", "--method", "mixed-float,layers=a:b")
    assert said.status == 0, said.err
    variants = {v["name"]: v for v in said.document()["variants"]}
    plain, named_ones = variants["static_wi8_ai8"], variants["mixed-float,layers=a,b+static_wi8_ai8"]
    auto = variants["mixed-float+static_wi8_ai8"]
    assert auto["admitted"] and auto["bytes"] > plain["bytes"]
    lacks = {v["name"]: 1 - v["agreement"]["cosine"] for v in (plain, auto)}
    assert lacks[auto["name"]] < 0.2 * lacks[plain["name"]]
    (step,) = auto["steps"]
    assert step["figures"]["snr_db"] > step["figures"]["snr_db_before"] + 5
    assert "are float: " in step["notes"][0]
    gates = {gate["name"]: gate for gate in named_ones["gates"]}
    assert "a, b in float" in gates["fully-integer"]["reason"]
    refused = edgeship(*words, "--method", "mixed-float,layers=conv9")
    assert (
        refused.status == 2
        and "unknown-layer" in refused.err
        and "--method mixed-float,layers=" in refused.err
    )


def test_boxes_and_scores_on_one_scale_are_named_and_a_build_keeps_them_apart(
    explained: Explained, edgeship: Any, detectors: ModuleType, tiny_models: ModuleType, tmp_path: Path
) -> None:
    detectors.detector(tiny_models, tmp_path / "m.tflite", "joined", pixels=300.0)
    x = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
    document = explained(x, x, labelled=False)
    assert len(named(document)["unlike-parts"]) == 1
    joined = next(layer for layer in document["layers"] if layer["causes"])
    assert joined["op"] == "CONCATENATION" and joined["causes"][0]["figure"] > 100
    (command,) = commands(document, "unlike-parts")
    said = edgeship(*shlex.split(command)[1:], "--calibration", "c.npz", "--json", "-q")
    assert said.status == 0, said.err
    parts = said.document()["targets"][0]["variants"][0]["agreement"]["parts"]
    assert len(parts) == 2 and all(part["correlation"] > 0.99 for part in parts)


def test_one_value_that_needs_the_range_is_named(
    explained: Explained, tiny_models: ModuleType, tmp_path: Path
) -> None:
    tiny_models.classifier(tmp_path / "m.tflite")
    x = tiny_models.pictures(400)
    x[7, 4, 4] = x[300, 4, 4] = 60.0
    document = explained(x[:200], x[200:])
    assert document["metric"]["drop"] > 1
    assert set(named(document)["range-outlier"]) <= {"a", "b"}
    assert commands(document, "range-outlier")[0].endswith("--method qat-int8")


def test_calibration_that_is_darker_is_named(
    explained: Explained, tiny_models: ModuleType, tmp_path: Path
) -> None:
    tiny_models.classifier(tmp_path / "m.tflite")
    x = tiny_models.pictures(200)
    assert "unlike-calibration" not in named(explained(x[:80], x[80:]))
    document = explained(0.25 * x[:80], x[80:])
    assert "a" in named(document)["unlike-calibration"]
    words = [cause["words"] for layer in document["layers"] for cause in layer["causes"]]
    assert any("lie outside" in text and "are unlike what it meets" in text for text in words)


def test_dead_channels_are_named_though_they_cost_no_accuracy(
    explained: Explained, edgeship: Any, tiny_models: ModuleType, tmp_path: Path
) -> None:
    from edgeship.tflite.reader import read_tflite
    from edgeship.tflite.weights import constant, layers_of, with_weights

    file = read_tflite(tiny_models.classifier(tmp_path / "m.tflite"))
    conv = layers_of(file.main)[0]
    weight = np.array(constant(file, conv.weight))
    weight[[1, 5]] = 0.0
    (tmp_path / "m.tflite").write_bytes(with_weights(file.content, {conv.weight: weight}))
    x = tiny_models.pictures(120)
    document = explained(x[:60], x[60:])
    assert named(document) == {"dead-channels": ["a"]}
    said = edgeship("explain", "m.tflite", "-t", "host", "--calibration", "c.npz", "--eval", "e.npz", "-q")
    assert "2 of its 8 channels have no weights" in said.out and "--method channels-25+distill" in said.out
    assert "nothing to speak of is lost" in said.out


def test_a_sound_model_has_no_causes(explained: Explained, tiny_models: ModuleType, tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "m.tflite")
    x = tiny_models.pictures(200)
    document = explained(x[:80], x[80:])
    assert named(document) == {} and all(isinstance(v["alone_snr_db"], float) for v in document["layers"])
