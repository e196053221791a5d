"""tensorflow-model-optimization as a method, in its own environment; and models that it makes now, not then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.compress.methods import step_of
from edgeship.compress.tfmot import prune
from edgeship.compress.work import Work
from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.weights import constant, layers_of
from edgeship.toolchain import run_worker
from edgeship.toolchain.environments import install
from edgeship.values import ModelSource, Step

MODEL_TESTS = Path(__file__).parents[1] / "model"
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


@pytest.fixture(scope="session")
def fresh(once: Callable[..., Path]) -> Path:
    """A plain tf_keras model, and two SavedModels that tfmot made in its environment."""

    def fill(folder: Path) -> None:
        paths = (*install("tfmot", progress=Silent()).python_path, MODEL_TESTS)
        files = ["small.h5", "pruned", "clustered"]
        run_worker(
            "tfmot_files:make", {"folder": str(folder), "files": files}, python_path=paths, environment=LEGACY
        )

    return once("tfmot-fresh", fill)


def work(source: ModelSource | None, *before: Step) -> Work:
    return Work(
        content=b"",
        step=step_of("tfmot-prune-80"),
        before=before,
        original=b"",
        recipe="static_wi8_ai8",
        train=None,
        held_out=None,
        calibration=None,
        source=source,
    )


def test_a_tflite_is_refused_with_what_takes_it() -> None:
    source = ModelSource(path=Path("my model.tflite"), kind="tflite", sha256="0")
    with pytest.raises(InputError) as error:
        prune(work(source))
    assert error.value.reference == "tfmot-takes-keras-2"
    assert "--method prune-80 takes any" in error.value.message
    assert error.value.render().endswith("edgeship compress 'my model.tflite' --method prune-80")


def test_labels_are_wanted_and_nothing_may_come_before() -> None:
    source = ModelSource(path=Path("m.h5"), kind="h5", sha256="0")
    with pytest.raises(InputError) as error:
        prune(work(source))
    assert error.value.reference == "labels-missing" and "prune-80" in error.value.render()
    with pytest.raises(InputError) as error:
        prune(work(source, step_of("cluster-16")))
    assert error.value.render().endswith("hint: --method tfmot-prune-80+cluster-16")


@pytest.mark.slow
def test_saved_models_of_today_are_read_by_their_layers(fresh: Path) -> None:
    files = [str(fresh / "pruned"), str(fresh / "clustered")]
    told: dict[str, Any] = run_worker(
        "tfmot_checks:compare", {"files": files}, python_path=(MODEL_TESTS,), environment=LEGACY
    ).value
    assert {name: one["difference"] for name, one in told.items()} == {"pruned": 0.0, "clustered": 0.0}
    assert all(share > 0.74 for share in told["pruned"]["zeros"])
    assert all(count <= 8 for count in told["clustered"]["values"])


@pytest.mark.slow
def test_tfmot_prunes_a_model_of_tf_keras(fresh: Path, tmp_path: Path) -> None:
    source = open_model(fresh / "small.h5")
    model = to_float_tflite(source, tmp_path / "float", progress=Silent())
    rng = np.random.default_rng(1)
    np.save(tmp_path / "x.npy", rng.random((200, 8, 8, 1), np.float32))
    np.save(tmp_path / "y.npy", rng.integers(0, 4, 200))
    payload = {
        "model": str(model.path),
        "original": str(model.path),
        "step": step_of("tfmot-prune-80,epochs=4,batch=16").to_json(),
        "before": [],
        "recipe": "static_wi8_ai8",
        "train": {"inputs": [str(tmp_path / "x.npy")], "labels": str(tmp_path / "y.npy")},
        "calibration": None,
        "source": {"path": str(source.path), "kind": "h5", "sha256": source.sha256, "shapes": []},
        "out": str(tmp_path / "out.tflite"),
    }
    told = run_worker(
        "edgeship.compress.worker:apply",
        payload,
        python_path=install("tfmot", progress=Silent()).python_path,
        environment=LEGACY,
    ).value
    file = read_tflite(tmp_path / "out.tflite")
    held = [constant(file, layer.weight) for layer in layers_of(file.main)]
    sparse = [float(np.mean(weight == 0)) for weight in held]
    assert sorted(round(share, 1) for share in sparse) == [
        0.0,
        0.8,
        0.8,
        0.8,
    ]  # depthwise layers it leaves alone
    assert told["figures"]["zeros"] == pytest.approx(
        sum(share * weight.size for share, weight in zip(sparse, held, strict=True))
        / sum(w.size for w in held)
    )
