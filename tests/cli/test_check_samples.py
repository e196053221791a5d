"""`check` with samples comes to the verdict of `build`; without, it calls int8 not proven."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError

pytestmark = pytest.mark.usefixtures("in_this_process")
WITH = ("--calibration", "x.npz", "-q")


@pytest.fixture
def dies(tiny_models: Any, tmp_path: Path) -> None:
    """Write m.tflite, one layer whose outputs are of unlike size, and samples: in int8 the small ones stand still."""
    from ai_edge_litert import schema_py_generated as schema

    random = np.random.default_rng(3)
    weights = random.normal(size=(6, 4)).astype(np.float32)
    weights[:3] *= 500
    build = tiny_models.Builder()
    x, w, y = (
        build.tensor("x", [1, 4]),
        build.tensor("w", [6, 4], weights),
        build.tensor("y", [1, 6]),
    )
    build.operation("FULLY_CONNECTED", [x, w, -1], [y], schema.FullyConnectedOptionsT())
    build.write(tmp_path / "m.tflite", [x], [y])
    np.savez(tmp_path / "x.npz", x=random.normal(size=(64, 4)).astype(np.float32))


def test_without_samples_int8_is_called_not_proven(edgeship: Any, dies: None, valid: Any) -> None:
    said = edgeship("check", "m.tflite", "-t", "coral", "-t", "host", "-q")
    assert said.status == 0
    assert "coral-dev-board: pass, not proven (predicted" in said.out
    words = " ".join(said.out.split())
    assert "fix: edgeship check m.tflite --target coral-dev-board --calibration DATA proves it" in words
    assert "int8 was not judged: what it computes only samples tell" in words
    said = edgeship("check", "m.tflite", "-t", "coral", "--json", "-q")
    valid("check", said.document())
    assert said.document()["proven"] is False


def test_with_samples_check_and_build_give_one_answer(edgeship: Any, dies: None, valid: Any) -> None:
    checked = edgeship("check", "m.tflite", "-t", "coral", "-t", "host", *WITH, "--json")
    built = edgeship("build", "m.tflite", "-t", "coral", *WITH, "--allow-uncompiled", "--json")
    assert checked.status == built.status == 3
    coral, host = checked.document()["targets"]
    valid("check", coral)
    assert (coral["verdict"], coral["proven"], host["verdict"]) == ("fail", True, "pass")
    refusal = next(f["message"] for f in coral["advice"] if f["code"] == "build-refuses")
    (target,) = built.document()["targets"]
    for reason in (refusal, target["reason"]):
        assert "columns 3-5 of output 'y'" in reason and "--accept agreement" in reason
    choice = next(f["message"] for f in host["advice"] if f["code"] == "choice")
    assert "after static_wi8_ai8 was stopped" in choice

    assert edgeship("check", "m.tflite", "-t", "coral", *WITH, "--accept", "agreement").status == 0
    taken = edgeship(
        "build", "m.tflite", "-t", "coral", *WITH, "--allow-uncompiled", "--json", "--accept", "agreement"
    )
    assert taken.status == 0, taken.err
    (target,) = taken.document()["targets"]
    assert any("died" in words and "--accept agreement" in words for words in target["warnings"])
    with tarfile.open(target["bundle"]) as bundle:
        manifest = json.load(bundle.extractfile("manifest.json"))  # type: ignore[arg-type]
    valid("manifest", manifest)
    assert manifest["variants"][0]["accepted"] == ["agreement"]


def test_goals_and_recipes_of_the_project_are_judged(edgeship: Any, dies: None, tmp_path: Path) -> None:
    """What a build refuses for a goal, or for the only recipe that was asked for, `check` refuses."""
    (tmp_path / "edgeship.yaml").write_text(
        "model: m.tflite\ntargets: [host]\nrecipes: [int8]\ndatasets: {calibration: x.npz}\n"
    )
    assert edgeship("check", "-q").status == edgeship("build", "-q").status == 3
    (tmp_path / "edgeship.yaml").write_text(
        "model: m.tflite\ntargets: [host]\ngoals: {size: {max_kb: 0.5}}\n"
    )
    said = edgeship("check", "-q")
    assert said.status == edgeship("build", "-q").status == 3
    assert "no variant meets size <= 0.5 kB" in " ".join(said.out.split())


def test_what_one_accelerator_refuses_leaves_the_other_targets(
    edgeship: Any, dies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no int8 form, `check` reports it; where a compiler refuses, `build` goes on with the others."""

    def none(model: Any, profile: Any, progress: Any) -> Any:
        raise InputError("check-needs-int8", "this one cannot be quantized: loops", hint="unroll them")

    monkeypatch.setattr("edgeship.pipeline.checking.int8_twin", none)
    said = edgeship("check", "m.tflite", "-t", "ethos-u55-128", "-t", "host", "--json", "-q")
    ethos, host = said.document()["targets"]
    assert (said.status, ethos["verdict"], host["verdict"]) == (3, "fail", "pass")
    assert [f["code"] for f in ethos["advice"]] == ["build-refuses"], "no advice to quantize what cannot be"

    def refuse(variant: Any, profile: Any, *_: Any) -> Any:
        raise InputError("edgetpu-unsuitable", "this model cannot be compiled for the Edge TPU: so")

    monkeypatch.setattr("edgeship.pipeline.build.ship", refuse)
    at = ["build", "m.tflite", "--accept", "agreement", "--allow-uncompiled", "-t"]
    alone = edgeship(*at, "coral", *WITH)
    assert alone.status == 2 and "error: edgetpu-unsuitable" in alone.err
    both = edgeship(*at, "coral", "-t", "ethos-u55-128", *WITH)
    assert both.status == 3 and both.out.count("no bundle: this model cannot be compiled") == 2


@pytest.mark.parametrize("verb", ["check", "build"])
def test_the_batch_of_a_target_is_heard(edgeship: Any, dies: None, tmp_path: Path, verb: str) -> None:
    (tmp_path / "four.yaml").write_text(
        "name: four\ntitle: Four\nsummary: Four samples at a time.\nextends: host\nbatch: {fixed: 4}\n"
        "sources:\n  - {figure: batch.fixed, source: ours, confidence: assumed}\n"
    )
    said = edgeship(verb, "m.tflite", "-t", "four.yaml")
    assert said.status == 2 and "error: model-batch\n" in said.err and "not 4" in said.err


def test_a_refusal_is_told_once(edgeship: Any, builder: Any, tmp_path: Path) -> None:
    """Of a model that came quantized, the file's own fault is what is told, with goals as without."""
    x = builder.tensor("x", [1, 4], "INT8", scales=[0.1])
    y = builder.tensor("y", [1, 4], "INT8", scales=[float("nan")])
    builder.op("RELU", [x], [y])
    (tmp_path / "spoilt.tflite").write_bytes(builder.build([x], [y]))
    for goal in ((), ("--max-kb", 100)):
        said = edgeship("check", "spoilt.tflite", "-t", "host", *goal, "--json", "-q")
        assert said.status == 3, said.err
        codes = [f["code"] for f in said.document()["advice"] if f["severity"] != "note"]
        assert codes == ["bad-scale"] and "choice" not in said.out
