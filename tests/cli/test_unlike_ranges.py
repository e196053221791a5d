"""`check --calibration` tells of outputs that cannot share a scale, and of nothing else; `build` keeps them alive."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("form", "target", "warned"),
    [
        ("joined", "raspberry-pi-5", True),
        ("transposed", "coral", True),
        ("shares", "raspberry-pi-5", False),
        ("inside", "coral", False),
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
