"""`build --ladder`, and `deploy` of the folder that it leaves, with another variant than the chosen one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def device(tmp_path: Path, stop_services: Callable[[Path], None]) -> Iterator[Path]:
    """A folder that behaves as a device; whatever serves from it is ended."""
    folder = tmp_path / "device"
    yield folder
    stop_services(folder)


@pytest.mark.slow
def test_a_ladder_is_built_without_training_and_any_rung_serves(
    edgeship: Any, tiny: Path, device: Path, tmp_path: Path, valid: Any
) -> None:
    out, data = tmp_path / "out", ["--calibration", tiny / "calibration.npz", "--eval", tiny / "eval.npz"]
    (tmp_path / "edgeship.yaml").write_text("ladder: true\n")
    asked = [
        "build",
        tiny / "model.tflite",
        "--target",
        "host",
        *data,
        "--recipe",
        "int8",
        "--recipe",
        "fp32",
    ]
    planned = edgeship(*asked, "--dry-run")
    assert "add every variant that no other beats in accuracy, file and latency" in planned.out
    assert "measure each with the runtime for devices and look for a cascade of two" in planned.out
    said = edgeship(*asked, "-o", out, "--json")
    assert said.status == 0, said.err
    document = said.document()
    valid("build", document)
    target = document["targets"][0]
    drops = {v["name"]: v["metric"]["drop"] for v in target["variants"]}
    rungs = {target["chosen"], *target["ladder"]}
    assert "static_wi8_ai8" in rungs, "the smallest file of all"
    assert rungs == set(drops) or drops["static_wi8_ai8"] <= drops["float_fp32"]

    inspected = edgeship("inspect", target["bundle"], "--json").document()
    valid("inspect", inspected)
    assert {v["name"] for v in inspected["manifest"]["variants"]} == rungs
    told, decides = (
        edgeship(*asked, "-o", tmp_path / "text").out,
        "ladder" in inspected["manifest"]["requires"],
    )
    assert ("the device decides which one answers. One alone: edgeship deploy" in told) == decides
    other = next((n for n in target["ladder"]), None)
    assert other, "the float model is exact, the int8 one small: two rungs"

    host = f"local:{device}"
    said = edgeship("deploy", out, "--host", host, "--listen", "127.0.0.1:0", "--variant", other, "--json")
    assert said.status == 0, said
    report = said.document()
    valid("deploy", report)
    assert report["golden"]["also"] == [target["chosen"]]
    release = device / f"apps/{report['app']}/releases/{report['release']}"
    service = json.loads((release / "service.json").read_text())
    if "governor" in service:  # by what this machine measured both may be one as good as the other
        assert service["governor"]["settings"]["variant"] == other, "who names one wants that one"
        assert {rung["variant"] for rung in report["ladder"]} == rungs
    with urllib.request.urlopen(f"{report['serving']}/v2/models/{report['app']}") as told:
        assert json.load(told)["parameters"]["variant"] == other
    seen = edgeship("status", "--host", host)
    assert f"{other} (1 of 2)" in seen.out
    valid("status", edgeship("status", "--host", host, "--json").document())
    bench = edgeship("bench", "--host", host, "--variant", target["chosen"], "--runs", 1, "--seconds", 0.1)
    assert bench.status == 0 and target["chosen"] in bench.out

    wrong = edgeship("deploy", out, "--host", host, "--variant", "int8")
    assert wrong.status == 2 and "error: unknown-variant" in wrong.err and other in wrong.err
    Path(target["bundle"]).unlink()
    none = edgeship("deploy", out, "--host", host)
    assert none.status == 2 and "error: no-bundle" in none.err


def test_without_it_the_chosen_variant_travels_alone(edgeship: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "edgeship.yaml").write_text("ladder: true\n")
    planned = edgeship("build", tiny / "model.tflite", "--target", "host", "--no-ladder", "--dry-run")
    assert planned.status == 0 and "no other beats" not in planned.out
