"""Models with loops and with state, from the file to the answers of a service: what Keras says is what comes."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, keras, tf_keras
keras.utils.set_random_seed(0); tf_keras.utils.set_random_seed(0)
x = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (80, 12, 3)), 1).astype("float32")
loops = keras.Sequential([keras.Input((12, 3)), keras.layers.LSTM(8, return_sequences=True),
    keras.layers.Bidirectional(keras.layers.GRU(6)), keras.layers.Dense(2)])
fused = tf_keras.Sequential([tf_keras.layers.Input((12, 3)), tf_keras.layers.LSTM(8, return_sequences=True),
    tf_keras.layers.LSTM(8), tf_keras.layers.Dense(2)])
loops.save("loops.keras"); fused.save("fused.h5")
np.savez("data.npz", x=x)
np.savez("want.npz", loops=loops.predict(x, verbose=0), fused=fused.predict(x, verbose=0))
"""


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Keras' own loops, tf_keras' fused layers, data, and what both say of it; and tiny models."""
    folder = tmp_path_factory.mktemp("recurrent")
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, check=True, capture_output=True)
    subprocess.run([sys.executable, str(ROOT / "tests/runtime/make_models.py"), str(folder)], check=True)
    return folder


def manifest_of(bundle: str) -> Any:
    with tarfile.open(bundle) as archive:
        return json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]


def test_loops_answer_as_keras_does(recurrent: Path, served: Any) -> None:
    data, want = np.load(recurrent / "data.npz")["x"], np.load(recurrent / "want.npz")["loops"]
    service = served(recurrent / "loops.keras", "--recipe", "fp32", "--eval", recurrent / "data.npz")
    got = np.array([service.ask(sample)[0][0] for sample in data[:8]])
    assert np.abs(got - want[:8]).max() < 1e-5


def python_here() -> str:
    """Return the version of what a device on this machine runs."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_fused_layers_answer_as_keras_does(
    recurrent: Path, served: Any, edgeship: Any, tmp_path: Path
) -> None:
    """Their state would go on from request to request; LiteRT's C API does not take them, tflite_runtime does."""
    data, want = np.load(recurrent / "data.npz")["x"], np.load(recurrent / "want.npz")["fused"]
    if python_here() != "3.11":  # which the packages are for: told before anything changes, with a way out
        host = f"local:{tmp_path / 'other'}"
        said = edgeship("deploy", recurrent / "fused.h5", "-t", "host", "--recipe", "fp32", "--host", host)
        assert said.status == 1 and "the bundle's packages are built for 3.11" in said.out
        assert "the target's first engine would run on any, but litert 2.3.0 refuses the state" in said.out
        return
    service = served(recurrent / "fused.h5", "--recipe", "fp32", "--eval", recurrent / "data.npz")
    assert "host: runs with tflite_runtime 2.14.0: litert 2.3.0 refuses the state that" in service.said.err
    got = np.array([service.ask(sample)[0][0] for sample in data[:8]])
    assert np.abs(got - want[:8]).max() < 1e-5
    (first,) = service.ask(data[0], sequence_id="s", sequence_start=True)
    assert np.abs(first[0] - want[0]).max() < 1e-5
    (second,) = service.ask(data[0], sequence_id="s", sequence_end=True)
    assert np.abs(second[0] - want[0]).max() > 1e-3, "it went on"


def test_fused_layers_have_an_int8_form(recurrent: Path, edgeship: Any) -> None:
    data = recurrent / "data.npz"
    said = edgeship("build", recurrent / "fused.h5", "-t", "raspberry-pi-5", "-t", "aarch64-linux-older",
                    "--recipe", "int8", "--calibration", data, "-o", "out", "--json")  # fmt: skip
    if said.status and "wheel-fetch-failed" in said.err:
        pytest.skip("needs the package index")
    assert said.status == 0, said.err
    for target in said.document()["targets"]:
        int8 = next(v for v in target["variants"] if v["recipe"] == "static_wi8_ai8")
        gates = {g["name"]: g["verdict"] for g in int8["gates"]}
        assert gates["fully-integer"] == "pass" and gates["operators"] == "pass"
        manifest = manifest_of(target["bundle"])
        assert manifest["chosen"] == "static_wi8_ai8" and manifest["engine"]["name"] == "tflite_runtime"
        preferred = target["target"] == "aarch64-linux-older"
        assert ("reason" in manifest["engine"]) == (not preferred)


def test_a_variable_is_kept_in_a_session(recurrent: Path, served: Any) -> None:
    service = served(recurrent / "accumulate.tflite", "--recipe", "fp32")
    assert "golden vectors: 11/11 agree" in service.said.out
    one = np.ones(2, np.float32)
    assert [service.ask(one)[0].flat[0] for _ in range(3)] == [2.0, 2.0, 2.0]
    kept = [
        service.ask(one, sequence_id=1, sequence_start=n == 0, sequence_end=n == 2)[0].flat[0]
        for n in range(3)
    ]
    assert kept == [2.0, 3.0, 4.0]


def test_an_engine_that_turns_out_to_refuse_gives_way(
    recurrent: Path, edgeship: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody knew LiteRT to refuse is found when its golden vectors are recorded: the next engine is tried."""
    for module in ("edgeship.tflite.engine", "edgeship.quantize.contract", "edgeship.bundle.recording"):
        monkeypatch.setattr(f"{module}.refusal", lambda *_: None)
    said = edgeship(
        "build", recurrent / "svdf.tflite", "-t", "host", "--recipe", "fp32", "-o", "out", "--json"
    )
    if said.status and "wheel-fetch-failed" in said.err:
        pytest.skip("needs the package index")
    assert said.status == 0, said.err
    assert "host: runs with tflite_runtime 2.14.0: litert cannot run it" in said.err
    engine = manifest_of(said.document()["targets"][0]["bundle"])["engine"]
    assert engine["name"] == "tflite_runtime" and engine["reason"].startswith("litert cannot run it")
