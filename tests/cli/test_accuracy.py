"""Accuracy that is lost is never lost in silence: what a build says, stops and asks, through the command line."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def wide(tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that int8 ruins: one number of its input is wider by far than what decides."""
    folder = tmp_path_factory.mktemp("wide")
    tiny_models.decider(folder / "model.tflite")
    tiny_models.decider(folder / "one.tflite", outputs=1)
    x, y = tiny_models.decisions(240, wide=1e3)
    dead, _ = tiny_models.decisions(240, wide=1e5)
    np.savez(folder / "dead.npz", x=dead[:120])
    np.savez(folder / "calibration.npz", x=x[:120])
    np.savez(folder / "eval.npz", x=x[120:], y=y[120:])
    np.savez(folder / "onehot.npz", x=x[120:], y=np.eye(2, dtype=np.float32)[y[120:]])
    return folder


def words(folder: Path, model: str, evaluation: str, *more: object) -> list[object]:
    data = ["--calibration", folder / "calibration.npz", "--eval", folder / evaluation]
    recipes = ["--recipe", "int8", "--recipe", "fp16"]
    return ["build", folder / model, "--target", "host", *data, *recipes, *more]


@pytest.mark.slow
def test_a_collapse_is_told_also_where_nothing_limits_it(edgeship: Any, wide: Path, valid: Any) -> None:
    said = edgeship(*words(wide, "model.tflite", "eval.npz", "-q"))
    assert said.status == 0, said.err
    assert "metric: top1 (higher is better), drop in points; chosen because labels are classes" in said.out
    assert "no goal was set" in said.out and "passes every gate" not in said.out
    warning = next(line for line in said.out.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: static_wi8_ai8 loses ") and "points of top1" in warning
    assert "weight_fp16 has top1 100: --recipe weight_fp16 takes it; --max-drop 2 stops" in warning

    said = edgeship(*words(wide, "model.tflite", "eval.npz", "--json"))
    valid("build", said.document())
    (target,) = said.document()["targets"]
    assert target["warnings"] == [warning.removeprefix("warning: ")]
    assert target["variants"][0]["metric"]["drop_unit"] == "points"

    said = edgeship(*words(wide, "model.tflite", "eval.npz", "--recipe", "weight_fp16", "--max-drop", "2"))
    assert said.status == 0 and "chosen: weight_fp16" in said.out and "warning:" not in said.out


@pytest.mark.slow
def test_an_output_that_died_stops_a_variant_like_a_gate(edgeship: Any, wide: Path) -> None:
    data = ["--calibration", wide / "dead.npz", "--recipe", "int8"]
    said = edgeship("build", wide / "model.tflite", "--target", "host", *data)
    assert said.status == 3
    assert "output 'y'" in said.out and "died: constant where the float model's values vary" in said.out
    said = edgeship("build", wide / "model.tflite", "--target", "host", *data, "--recipe", "fp16")
    assert said.status == 0 and "chosen: weight_fp16" in said.out


@pytest.mark.slow
def test_a_quiet_deployment_tells_of_a_collapse_too(edgeship: Any, wide: Path, tmp_path: Path) -> None:
    data = ["--calibration", wide / "calibration.npz", "--eval", wide / "eval.npz", "--recipe", "int8"]
    at = ["--target", "host", "--host", f"local:{tmp_path / 'device'}", "--goal", "stage", "-q"]
    said = edgeship("deploy", wide / "model.tflite", *data, *at)
    assert said.status == 0, said.err
    assert said.err.startswith("warning: static_wi8_ai8 loses ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "evaluation", "metric"),
    [("model.tflite", "onehot.npz", "top1"), ("one.tflite", "eval.npz", "auc")],
)
def test_a_limit_stops_a_collapse_whatever_the_labels(
    edgeship: Any, wide: Path, valid: Any, model: str, evaluation: str, metric: str
) -> None:
    said = edgeship(*words(wide, model, evaluation, "--max-drop", "1", "--json"))
    assert said.status == 0, said.err
    valid("build", said.document())
    (target,) = said.document()["targets"]
    assert target["chosen"] == "weight_fp16"
    by_recipe = {v["recipe"]: v for v in target["variants"]}
    assert by_recipe["static_wi8_ai8"]["metric"]["name"] == metric
    assert by_recipe["static_wi8_ai8"]["metric"]["drop"] > 20
    assert by_recipe["weight_fp16"]["metric"]["value"] > 99


def test_a_metric_that_is_not_there_is_found_before_anything_is_made(edgeship: Any, wide: Path) -> None:
    said = edgeship(*words(wide, "model.tflite", "eval.npz", "--metric", "nowhere:f1"))
    assert said.status == 2 and "error: metric-own-not-found" in said.err
    assert "deriving" not in said.err and "reading the" not in said.err


@pytest.mark.slow
def test_a_model_that_came_quantized_has_no_drop(edgeship: Any, wide: Path, tmp_path: Path) -> None:
    said = edgeship(*words(wide, "model.tflite", "eval.npz", "--json"))
    (target,) = said.document()["targets"]
    with tarfile.open(target["bundle"]) as archive:
        name = next(n for n in archive.getnames() if n.endswith("static_wi8_ai8.tflite"))
        member = archive.extractfile(name)
        assert member is not None
        (tmp_path / "given.tflite").write_bytes(member.read())
    given = ["build", "given.tflite", "--target", "host", "--eval", wide / "eval.npz"]
    said = edgeship(*given, "--json")
    assert said.status == 0, said.err
    (variant,) = said.document()["targets"][0]["variants"]
    why = {"unavailable": "the model came quantized; its float original is not known"}
    assert variant["metric"]["value"] < 80
    assert variant["metric"]["float"] == variant["metric"]["drop"] == variant["agreement"]["argmax"] == why

    said = edgeship(*given, "--max-drop", "1")
    assert said.status == 2 and "error: gate-without-data" in said.err
    assert "leave max_drop out" in said.err and not said.out


@pytest.mark.slow
def test_folders_of_pictures_are_numbered_by_the_labels(
    edgeship: Any, tiny: Path, tmp_path: Path, valid: Any
) -> None:
    """The labels stand in another order than the alphabet: the float model must score the same both ways."""
    names = ["red", "green", "blue", "grey"]
    pictures = np.load(tiny / "eval.npz")
    for number, (x, y) in enumerate(zip(pictures["x"], pictures["y"], strict=True)):
        folder = tmp_path / "pictures" / names[y]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * x).clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    (tmp_path / "labels.txt").write_text("\n".join(names))
    raw = tmp_path / "raw.npz"
    np.savez(raw, x=(255 * pictures["x"]).clip(0, 255).astype(np.uint8), y=pictures["y"])
    (tmp_path / "edgeship.yaml").write_text(
        "targets: [host]\nrecipes: [fp32]\npreprocess: {scale: 1/255}\nlabels: labels.txt\n"
    )
    scores = []
    for evaluation in ("pictures", "raw.npz"):
        said = edgeship("build", tiny / "model.tflite", "--eval", evaluation, "--json")
        assert said.status == 0, said.err
        scores.append(said.document()["targets"][0]["variants"][0]["metric"]["float"])
    assert scores[0] == scores[1]
