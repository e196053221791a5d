"""Outputs that join boxes and scores: in 8 bits each part keeps a scale, in float at the end or as an output."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeship.digest import sha256_file
from edgeship.profile import TargetProfile, load_profile
from edgeship.quantize.contract import check
from edgeship.quantize.derive import derive
from edgeship.quantize.recipes import RECIPES
from edgeship.score.gates import judge
from edgeship.score.golden import tolerances_of
from edgeship.score.measure import score
from edgeship.score.worker import Model
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.tails import float_tail
from edgeship.values import Artifact, FloatModel, Goals, GoldenTolerance, PreparedSamples

ROOT = Path(__file__).resolve().parents[2]
FORMS = ("joined", "transposed", "nested", "levels", "scaled after", "two joins", "stacked")
INT8 = RECIPES["int8"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run here: each start of one costs seconds, and none of these models harms anybody."""

    def run(worker: str, payload: dict[str, Any], **_: Any) -> Any:
        module, _, function = worker.partition(":")
        return SimpleNamespace(
            value=getattr(importlib.import_module(module), function)(payload, lambda *a: None)
        )

    for user in ("quantize.derive", "score.measure", "score.runs"):
        monkeypatch.setattr(f"edgeship.{user}.run_worker", run)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> PreparedSamples:
    path = tmp_path_factory.mktemp("x") / "x.npy"
    np.save(path, np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32))
    return PreparedSamples(paths=(path,), sha256=sha256_file(path))


def profile(name: str) -> TargetProfile:
    return load_profile(name, folders=[ROOT / "targets"])


def answers(path: Path, samples: PreparedSamples) -> list[np.ndarray[Any, Any]]:
    model = Model(str(path))
    rows = []
    for x in np.load(samples.paths[0]):
        model.feed([x[None]])
        model.invoke()
        rows.append([np.array(a[0]) for a in model.read()])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def correlation(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1])


def stopped(artifact: Artifact, model: FloatModel, samples: PreparedSamples, target: str) -> list[str]:
    (card,) = score([artifact], model, None, samples, Goals())
    gates = (*check(artifact.path, INT8, profile(target)), *judge(artifact, card, Goals()))
    return [f"{gate.name}: {gate.reason}" for gate in gates if gate.stops]


@pytest.mark.parametrize("target", ["raspberry-pi-5", "coral-dev-board"])
@pytest.mark.parametrize("form", FORMS)
def test_boxes_and_scores_keep_scales_and_are_joined_in_float(
    form: str,
    target: str,
    detectors: ModuleType,
    tiny: ModuleType,
    model_of: Any,
    samples: Any,
    tmp_path: Path,
) -> None:
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", form))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile(target))
    (exact,), (got,) = answers(model.path, samples), answers(artifact.path, samples)
    assert exact.shape == got.shape
    assert len(np.unique(got[got <= 1.0])) > 20, "scores are told apart"
    assert correlation(got[exact <= 1.0], exact[exact <= 1.0]) > 0.99
    assert correlation(got[exact > 1.0], exact[exact > 1.0]) > 0.99
    held = read_tflite(artifact.path)
    (output,) = held.signature.outputs
    assert (output.name, output.dtype, output.quantization) == ("y", "float32", None)
    tail = float_tail(held, held.main.outputs[0])
    assert tail is not None and tail.step == pytest.approx(640 / 255, rel=0.1)
    stored = held.main.tensors[held.main.outputs[0]].quantization
    clients = None if form == "stacked" else ((1.0,), (0,))
    assert (stored and (stored.scales, stored.zero_points)) == clients, "for clients that scale"
    assert held.signature.inputs[0].dtype == "int8"
    (note,) = artifact.notes
    assert "output 'y' joins values of unlike range" in note and "float32" in note
    assert stopped(artifact, model, samples, target) == []


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_runs_in_float_the_parts_are_outputs(
    form: str, detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path
) -> None:
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", form))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile("ethos-u55-128"))
    if form == "scaled after":
        assert [spec.name for spec in artifact.signature.outputs] == ["y_part1"]
    else:
        names = [spec.name for spec in artifact.signature.outputs]
        assert len(names) == {"nested": 3, "levels": 4}.get(form, 2)
        if form in ("joined", "transposed"):
            assert names == ["y_0_3", "y_4_6"]
        scales = [spec.quantization.scales[0] for spec in artifact.signature.outputs if spec.quantization]
        assert max(scales) > 100 * min(scales) and len(scales) == len(names)
        assert all(f"'{name}'" in artifact.notes[0] for name in names)
    assert {spec.dtype for spec in artifact.signature.outputs} == {"int8"}
    assert stopped(artifact, model, samples, "ethos-u55-128") == [], "compared as the float model answers"


@pytest.mark.parametrize("form", ["shares", "inside"])
def test_ranges_alike_and_joins_inside_are_left_alone(
    form: str, detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path
) -> None:
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", form))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile("raspberry-pi-5"))
    assert artifact.notes == () and artifact.signature.outputs[0].dtype == "int8"
    assert not any(o.op == "DEQUANTIZE" for o in read_tflite(artifact.path).main.operators)


def test_small_boxes_are_joined_as_they_are(
    detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path
) -> None:
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", "joined", pixels=4.0))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile("raspberry-pi-5"))
    assert artifact.notes == () and artifact.signature.outputs[0].dtype == "int8"


def test_the_same_inputs_give_the_same_bytes(
    detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path
) -> None:
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", "nested"))
    made = [
        derive(model, INT8, samples, tmp_path / out, profile=profile("raspberry-pi-5")).sha256
        for out in ("a", "b")
    ]
    assert made[0] == made[1]


def test_a_shared_scale_is_stopped_where_it_is_shared(
    detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What the quantizer makes by itself, and other converters, gives every score 0."""
    from edgeship.quantize import derive as deriving

    job = deriving.job_of
    monkeypatch.setattr(deriving, "job_of", lambda *given: {**job(*given), "apart": "no"})
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", "joined"))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile("raspberry-pi-5"))
    (got,) = answers(artifact.path, samples)
    assert set(np.unique(got[..., 4:])) == {0.0}
    (reason,) = stopped(artifact, model, samples, "raspberry-pi-5")
    assert reason.startswith("agreement: columns 4-6 of output 'y'")


def test_golden_vectors_count_in_steps_of_the_parts(
    detectors: ModuleType, tiny: ModuleType, model_of: Any, samples: Any, tmp_path: Path
) -> None:
    """Another kernel set may be a step off, and a step of a box is more than any tolerance of floats."""
    allowed = GoldenTolerance(max_lsb=1, max_abs=0.001, min_cosine=0.99, argmax=True)
    model = model_of(detectors.detector(tiny, tmp_path / "float.tflite", "scaled after"))
    artifact = derive(model, INT8, samples, tmp_path / "out", profile=profile("raspberry-pi-5"))
    held = read_tflite(artifact.path)
    assert tolerances_of(held, allowed, exact=True) == asdict(allowed), "to the bit is to the bit"
    (wider,) = tolerances_of(held, allowed, exact=False)
    assert wider["max_abs"] == pytest.approx(640 / 256, rel=0.05) and wider["argmax"] is False
