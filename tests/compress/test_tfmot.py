"""tensorflow-model-optimization as a method, in its own environment."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeship.compress.methods import step_of
from edgeship.compress.tfmot import prune
from edgeship.compress.work import Work
from edgeship.errors import InputError
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.weights import constant, layers_of
from edgeship.toolchain import run_worker
from edgeship.toolchain.environments import install
from edgeship.values import ModelSource, Step

RECORDED = Path(__file__).parents[1] / "model" / "tfmot.zip"
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}


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
def test_tfmot_prunes_a_model_of_tf_keras(make_dense: Callable[..., bytes], tmp_path: Path) -> None:
    with zipfile.ZipFile(RECORDED) as archive:
        archive.extract("small.h5", tmp_path)
    source = open_model(tmp_path / "small.h5")
    (tmp_path / "original.tflite").write_bytes(make_dense())  # of which the batch alone is asked
    rng = np.random.default_rng(1)
    np.save(tmp_path / "x.npy", rng.random((200, 8, 8, 1), np.float32))
    np.save(tmp_path / "y.npy", rng.integers(0, 4, 200))
    payload = {
        "model": str(tmp_path / "original.tflite"),
        "original": str(tmp_path / "original.tflite"),
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
