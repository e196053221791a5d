"""Models that keep something between runs become files that keep it: stateful Keras layers, variables of a module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeship.model.frozen import WRITES
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.state import never_assigned, states_of

SCRIPT = r"""
import json, os, sys, warnings
warnings.simplefilter("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, tensorflow as tf
from edgeship.model.convert_worker import from_keras3, from_signature

folder = sys.argv[1]
STEPS = np.random.default_rng(0).normal(size=(4, 1, 1, 2)).astype("float32")
answers = {}

def converted(name, route, source):
    out = f"{folder}/{name}.tflite"
    route({"source": source, "out": out, "batch": 1, "signature": None, "shapes": {}}, lambda *a, **k: None)

step = keras.Input(batch_shape=(1, 1, 2), name="step")
model = keras.Model(step, keras.layers.Dense(1)(keras.layers.SimpleRNN(3, stateful=True)(step)))
model.save(f"{folder}/model.keras")
answers["layer"] = [float(model(x)[0, 0]) for x in STEPS]
converted("layer", from_keras3, f"{folder}/model.keras")

class Meter(tf.Module):
    def __init__(self):
        self.mean = tf.Variable([[2.0, 2.0]], trainable=False, name="mean")
        self.weights = tf.Variable([[1.0], [3.0]], name="weights")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 1, 2], tf.float32, name="step")])
    def __call__(self, step):
        self.mean.assign(0.5 * self.mean + 0.5 * step[:1, 0])
        return {"level": self.mean @ self.weights}

meter = Meter()
tf.saved_model.save(meter, f"{folder}/meter", signatures=meter.__call__)
answers["module"] = [float(meter(x)["level"][0, 0]) for x in STEPS]
converted("module", from_signature, f"{folder}/meter")

from ai_edge_litert.interpreter import Interpreter
for name in list(answers):
    interpreter = Interpreter(model_path=f"{folder}/{name}.tflite")
    interpreter.allocate_tensors()
    got = []
    for x in STEPS:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        got.append(float(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, 0]))
    answers[name] = [answers[name], got]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("stateful")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_what_makes_a_new_tensor_changes_no_variable() -> None:
    for op in (
        "AssignVariableOp",
        "AssignAddVariableOp",
        "ScatterNdUpdate",
        "ScatterAdd",
        "ResourceScatterNdAdd",
    ):
        assert WRITES.match(op), op
    for op in (
        "ScatterNd",
        "ScatterNdNonAliasingAdd",
        "TensorScatterUpdate",
        "CountNonZero",
        "ReadVariableOp",
    ):
        assert not WRITES.match(op), op


@pytest.mark.parametrize(("name", "shape"), [("layer", (1, 3)), ("module", (1, 2))])
def test_the_state_goes_on_from_run_to_run(
    made: tuple[Path, dict[str, Any]], name: str, shape: tuple[int, ...]
) -> None:
    folder, answers = made
    original, converted = answers[name]
    assert converted == pytest.approx(original, abs=1e-5)
    file = read_tflite(folder / f"{name}.tflite")
    assert [(state.kind, state.shape) for state in states_of(file)] == [("resource", shape)]
    assert never_assigned(file) == (), "weights became constants"
