"""KWS and ResNet-8 for real: converted, derived, checked and judged on data that no setting was tuned on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.data.dataset import load_dataset
from edgeship.data.preprocess import apply
from edgeship.data.samples import Reading
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.quantize.calibration import check as check_calibration
from edgeship.quantize.contract import check as check_contract
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.toolchain import run_worker
from edgeship.values import Artifact, FloatModel, PreparedSamples, Preprocess

pytestmark = [pytest.mark.slow, pytest.mark.shared]
MODELS = {"kws": ("kws/saved_model", "kws"), "resnet8": ("cifar10/resnet8.h5", "cifar10")}
MLPERF_BYTES = {"kws": 53_936, "resnet8": 98_496}


@dataclass(frozen=True)
class Case:
    name: str
    folder: Path
    work: Path
    float_model: FloatModel
    artifacts: dict[str, Artifact]

    def answers(self, x: np.ndarray[Any, Any], names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs of the float model ('float') and of the named artifacts on raw samples."""
        np.save(self.work / "asked.npy", apply(Preprocess(), x))
        paths = {"float": self.float_model.path, **{n: self.artifacts[n].path for n in names}}
        jobs = [{"name": n, "path": str(p), "out": str(self.work / f"out_{n}")} for n, p in paths.items()]
        payload = {"samples": [str(self.work / "asked.npy")], "models": jobs}
        value = run_worker("edgeship.score.worker:outputs", payload).value
        assert value["failed"] == {}
        return {job["name"]: np.load(f"{job['out']}.0.npy") for job in jobs}


@pytest.fixture(scope="module", params=sorted(MODELS))
def case(
    request: pytest.FixtureRequest,
    shared_data: Path,
    base_profile: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    model, folder = (shared_data / part for part in MODELS[request.param])
    work = tmp_path_factory.mktemp(request.param)
    float_model = to_float_tflite(open_model(model), work, progress=Silent(), batch=1)
    calibration = load_dataset(str(folder / "calibration.npz"), work, Reading(role="calibration"))
    evaluation = load_dataset(str(folder / "eval.npz"), work, Reading(role="evaluation"))
    assert check_calibration(calibration, float_model.signature.inputs, evaluation) == ()
    np.save(work / "calibration.npy", apply(Preprocess(), np.load(calibration.x_path)))
    recipes = tuple(RECIPES[name] for name in RECIPES)
    made = derive_all(
        float_model,
        recipes,
        PreparedSamples(paths=(work / "calibration.npy",), sha256=calibration.info.sha256),
        work / "out",
        profile=base_profile,
    )
    assert made.failed == ()
    artifacts = {RECIPES[a.recipe].alias: a for a in made.artifacts}
    return Case(request.param, folder, work, float_model, artifacts)


def drop(answers: dict[str, np.ndarray[Any, Any]], name: str, labels: np.ndarray[Any, Any]) -> float:
    """Return the points of top-1 that an artifact loses against the float model."""
    right = {n: 100 * np.mean(answers[n].argmax(axis=1) == labels) for n in ("float", name)}
    return float(right["float"] - right[name])


def test_recipes_stay_near_the_float_model_on_the_evaluation_set(case: Case) -> None:
    held = np.load(case.folder / "eval.npz")
    names = ("fp32", "fp16", "dynamic", "int8", "int16x8", "weight-int8")
    answers = case.answers(held["x"], names)
    drops = {name: drop(answers, name, held["y"]) for name in names}
    assert max(drops.values()) <= 0.5 + 1e-9, drops


def test_int8_agrees_with_the_float_model_on_samples_it_never_saw(case: Case) -> None:
    """On train.npz without the calibration samples; plain min-max ranges agree on 95.9 % there for ResNet-8."""
    seen = len(np.load(case.folder / "calibration.npz")["x"])
    held = np.load(case.folder / "train.npz")
    answers = case.answers(held["x"][seen : seen + 1000], ("int8",))
    agree = float(np.mean(answers["int8"].argmax(axis=1) == answers["float"].argmax(axis=1)))
    assert agree >= 0.965
    assert abs(drop(answers, "int8", held["y"][seen : seen + 1000])) <= 1.0


def test_int8_is_smaller_than_mlperfs_own(case: Case) -> None:
    theirs = (case.folder / "mlperf_int8.tflite").stat().st_size
    assert theirs == MLPERF_BYTES[case.name]
    assert case.artifacts["int8"].bytes < theirs


def test_contracts_hold(case: Case, base_profile: Any) -> None:
    for artifact in case.artifacts.values():
        found = check_contract(artifact.path, RECIPES[artifact.recipe], base_profile)
        assert {g.name: g.reason for g in found if g.verdict != "pass"} == {}, artifact.recipe


def test_bytes_are_the_same_again(case: Case, base_profile: Any) -> None:
    again = derive_all(
        case.float_model,
        (RECIPES["int8"],),
        PreparedSamples(paths=(case.work / "calibration.npy",), sha256="c" * 64),
        case.work / "again",
        profile=base_profile,
    )
    assert again.artifacts[0].sha256 == case.artifacts["int8"].sha256


def test_the_trainable_graph_computes_what_the_float_model_does(case: Case) -> None:
    """And the gradient reaches each of its weights."""
    payload = {"model": str(case.float_model.path), "low": 0.0, "high": 255.0}
    here = (Path(__file__).resolve().parents[1] / "compress",)
    assert run_worker("graph_forms:real", payload, python_path=here).value == {"variables": 20, "moved": 20}
