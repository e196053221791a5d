"""`check --calibration` tells of outputs that cannot share a scale, and of nothing else; `build` keeps them alive."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def detector(detectors: ModuleType, tiny_models: ModuleType, tmp_path: Path) -> Any:
    """Return a function that writes a float detector `m.tflite` and samples `x.npz` for it."""

    def write(form: str) -> None:
        detectors.detector(tiny_models, tmp_path / "m.tflite", form)
        x = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
        np.savez(tmp_path / "x.npz", x=x)

    return write


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("form", "target", "warned"),
    [
        ("joined", "raspberry-pi-5", True),
        ("transposed", "coral", True),
        ("shares", "raspberry-pi-5", False),
        ("inside", "raspberry-pi-5", False),
    ],
)
def test_check_warns_from_ranges(
    form: str, target: str, warned: bool, edgeship: Any, detector: Any, valid: Any
) -> None:
    detector(form)
    said = edgeship("check", "m.tflite", "-t", target, "--calibration", "x.npz", "--json", "-q")
    document = said.document()
    valid("check", document)
    found = [entry for entry in document["advice"] if entry["code"] == "unlike-ranges"]
    assert [entry["severity"] for entry in found] == (["warning"] if warned else [])
    if warned:
        assert "joined in float at the end, so this output is float32" in found[0]["message"]


def test_a_detector_is_built_with_scores_and_says_how(edgeship: Any, detector: Any, valid: Any) -> None:
    detector("joined")
    said = edgeship("build", "m.tflite", "-t", "host", "--calibration", "x.npz", "--json")
    assert said.status == 0
    document = said.document()
    valid("build", document)
    (target,) = document["targets"]
    chosen = next(v for v in target["variants"] if v["recipe"] == target["chosen"])
    assert chosen["recipe"] == "static_wi8_ai8"
    parts = {part["columns"]: part for part in chosen["agreement"]["parts"]}
    assert set(parts) == {"0-3", "4-6"}
    assert all(part["correlation"] > 0.99 and part["dead"] == "" for part in parts.values())
    assert "output 'y' joins values of unlike range" in chosen["notes"][0]
    assert "joins values of unlike range" in said.err
    from edgeship.bundle.seal import open_bundle

    bundle = open_bundle(Path(target["bundle"]))
    manifest = bundle.manifest
    valid("manifest", manifest)
    held = edgeship("inspect", target["bundle"], "--json")
    assert held.status == 0


@pytest.mark.slow
def test_detectors_are_scored_by_their_boxes(
    edgeship: Any, detectors: ModuleType, tiny_models: ModuleType, tmp_path: Path, valid: Any
) -> None:
    """True boxes are what the float model finds: it scores 100; random weights are hard on 8 bits."""
    from PIL import Image

    from edgeship.score.detections import forms_of
    from edgeship.score.worker import Model

    model = detectors.detector(tiny_models, tmp_path / "m.tflite", "joined", pictures=True)
    pictures = (255 * tiny_models.pictures(24)).astype(np.uint8)
    folder = tmp_path / "set"
    folder.mkdir()
    images, annotations = [], []
    runs = Model(str(model))
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{k:02}.png")
        images.append({"id": k, "file_name": f"{k:02}.png", "width": 8, "height": 8})
        runs.feed(picture[None].astype(np.float32))
        runs.invoke()
        held = [np.array(a) for a in runs.read()]
        (form, *_) = forms_of(held, 3, (8, 8))
        boxes = form.read(held, 0)
        for corners, number, score in zip(8 * boxes.corners, boxes.classes, boxes.scores, strict=True):
            if score > 0.5:
                box = [float(corners[0]), float(corners[1]), *(corners[2:] - corners[:2]).tolist()]
                annotations.append({"image_id": k, "category_id": int(number) + 1, "bbox": box})
    assert annotations
    categories = [{"id": n + 1, "name": f"c{n}"} for n in range(3)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    for metric in ((), ("--metric", "map50")):
        said = edgeship(
            "build", "m.tflite", "-t", "host", "--calibration", "set", "--eval", "set", "--json", *metric
        )
        assert said.status == 0, said.err
        valid("build", said.document())
        (target,) = said.document()["targets"]
        scored = {v["recipe"]: v["metric"] for v in target["variants"]}
        assert {m["name"] for m in scored.values()} == {metric[1] if metric else "map"}
        assert all(m["float"] > 95 and m["drop_unit"] == "points" for m in scored.values())
        assert scored["weight_fp16"]["drop"] < 10 and scored["static_wi8_ai8"]["value"] > 30
        assert "outputs read as box and classes" in scored["static_wi8_ai8"]["about"]
    said = edgeship(
        "build", "m.tflite", "-t", "host", "--calibration", "set", "--eval", "x.npz", "--metric", "map"
    )
    assert said.status == 2 and "dataset-not-found" in said.err
