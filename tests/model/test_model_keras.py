"""Keras files: what of their code is refused, what their dtypes become, and what their outputs are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeship.model.keras_dtypes import in_float32

POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}


def archive(path: Path, config: Any) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", b"weights")
    return path


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


def test_the_copy_is_the_same_file_with_another_config(tmp_path: Path) -> None:
    inner = layer("Sequential", layers=[layer("Dense", dtype=POLICY), layer("Dense", dtype="bfloat16")])
    config = layer("Functional", name="float16", layers=[layer("InputLayer", dtype="uint8"), inner])
    folder = tmp_path / "copy"
    folder.mkdir()
    path, notes = in_float32(archive(tmp_path / "m.keras", config), folder)
    assert path == folder / "m.keras"
    assert notes == [
        "the model was trained in mixed_float16: converted in float32",
        "the model's input is uint8: taken as float32 numbers of the same values",
    ]
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert file.read("model.weights.h5") == b"weights"
        changed = json.loads(file.read("config.json"))
    assert changed["config"]["name"] == "float16", "a name is a name"
    first, inner = changed["config"]["layers"]
    assert first["config"]["dtype"] == "float32"
    dense = [each["config"]["dtype"] for each in inner["config"]["layers"]]
    assert dense == [{**POLICY, "config": {"name": "float32"}}, "float32"]


def test_doubles_become_float32(tmp_path: Path) -> None:
    double = {**POLICY, "config": {"name": "float64"}}
    config = layer("Functional", layers=[layer("InputLayer", dtype="float64"), layer("Dense", dtype=double)])
    (tmp_path / "copy").mkdir()
    path, notes = in_float32(archive(tmp_path / "m.keras", config), tmp_path / "copy")
    assert notes == ["the model was trained in float64: converted in float32"]
    with zipfile.ZipFile(path) as file:
        assert b"float64" not in file.read("config.json")


@pytest.mark.parametrize(
    "config",
    [
        layer("Sequential", layers=[layer("InputLayer", dtype="float32"), layer("Dense", dtype="float32")]),
        layer("Sequential", layers=[layer("InputLayer", dtype="int32"), layer("Dense", dtype="float32")]),
        layer("Sequential", layers=[layer("InputLayer", dtype="uint8"), layer("Embedding", dtype="float32")]),
    ],
)
def test_a_model_in_float32_is_read_where_it_is(config: Any, tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", config)
    assert in_float32(path, tmp_path / "none") == (path, [])


def test_a_file_without_a_config_is_for_the_loader_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(b"no HDF5")
    assert in_float32(path, tmp_path / "none") == (path, [])


# --- the real Keras, both generations, in one process
# ----------------------------------------------------------------

SCRIPT = r"""
import json, os, sys, warnings, zipfile
warnings.simplefilter("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py, keras, numpy as np, tensorflow as tf, tf_keras
from edgeship.errors import EdgeshipError
from edgeship.model import convert_worker
from edgeship.tflite.normalise import in_order, normalised
from ai_edge_litert.interpreter import Interpreter

os.chdir(sys.argv[1])
answers = {}

def run(content, x):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    rows = []
    for sample in x:
        entry = interpreter.get_input_details()[0]
        interpreter.set_tensor(entry["index"], sample[None].astype(entry["dtype"]))
        interpreter.invoke()
        rows.append([interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()])
    return rows

def convert(name, route, source, x=None, wanted=None):
    notes = []
    try:
        made = getattr(convert_worker, route)(
            {"source": source, "out": "out.tflite", "batch": 1},
            lambda text, *_, note=False: notes.append(text) if note else None)
    except EdgeshipError as error:
        answers[name] = {"reference": error.reference, "text": error.render(), "kind": type(error).__name__}
        return
    content = normalised(in_order(open("out.tflite", "rb").read(), made["inputs"], made["outputs"]))
    answers[name] = {**made, "notes": notes}
    if x is not None:
        got = run(content, x)
        answers[name]["worst"] = [
            float(max(np.abs(np.asarray(row[i], float) - np.asarray(w[k], float)).max() for k, row in enumerate(got)))
            for i, w in enumerate(wanted)]

def evil(v):
    open("ran", "a").write("x")
    return v * 2.0

OLD, NEW = tf_keras.layers, keras.layers
x = np.random.default_rng(0).uniform(0, 1, (5, 4)).astype(np.float32)

# code in the file
tf_keras.Sequential([OLD.Input((4,)), OLD.Lambda(evil), OLD.Dense(2)]).save("lambda.h5")
inner = tf_keras.Sequential([OLD.Input((4,)), OLD.Lambda(evil)])
tf_keras.Sequential([OLD.Input((1, 4)), OLD.TimeDistributed(inner)]).save("nested.h5")
tf_keras.Sequential([OLD.Input((4,)), OLD.Lambda(evil), OLD.Dense(2)]).save("lambda_saved")
i = tf_keras.Input((4,))
tf_keras.Model(i, tf.nn.relu6(OLD.Dense(2, activation=tf.nn.silu)(i) * 2.0)).save("symbols.h5")
with h5py.File("symbols.h5") as old, h5py.File("reaching.h5", "w") as new:
    for key in old: old.copy(key, new)
    for key, value in old.attrs.items(): new.attrs[key] = value
    new.attrs["model_config"] = old.attrs["model_config"].replace('"nn.relu6"', '"io.gfile.remove"')
tf_keras.Sequential([OLD.Input((4,)), OLD.Dense(2)]).save("plain.keras")
with zipfile.ZipFile("plain.keras") as old, zipfile.ZipFile("imports.keras", "w") as new:
    for key in old.namelist():
        content = old.read(key)
        if key == "config.json":
            config = json.loads(content)
            config.update(module="intruder", class_name="Thing", registered_name="Thing")
            content = json.dumps(config)
        new.writestr(key, content)
open("intruder.py", "w").write("open('ran', 'a').write('imported')")
sys.path.insert(0, ".")
if os.path.exists("ran"): os.remove("ran")
for name in ("lambda.h5", "nested.h5", "lambda_saved", "symbols.h5", "reaching.h5", "imports.keras"):
    convert(name, "from_tf_keras", name)
    answers[name]["ran"] = os.path.exists("ran")
    if os.path.exists("ran"): os.remove("ran")

# names and order
i = keras.Input((4,), name="pixels")
cls, box = NEW.Dense(3, activation="softmax", name="cls")(i), NEW.Dense(2, name="box")(i)
two = keras.Model(i, {"cls": cls, "a box": box})
two.save("dict.keras")
made = two.predict(x, verbose=0)
convert("dict", "from_keras3", "dict.keras", x, [made["cls"], made["a box"]])
listed = keras.Model(i, [cls, box])
listed.save("list.keras")
convert("list", "from_keras3", "list.keras", x, listed.predict(x, verbose=0))
h = NEW.Dense(2, name="h")(i)
repeated = keras.Model(i, [h, i, h])
repeated.save("repeated.keras")
convert("repeated", "from_keras3", "repeated.keras", x, repeated.predict(x, verbose=0))
i = tf_keras.Input((4,))
old = tf_keras.Model(i, {"zeta": OLD.Dense(3)(i), "alpha": OLD.Dense(2)(i)})
old.save("dict.h5")
made = old.predict(x, verbose=0)
convert("dict.h5", "from_tf_keras", "dict.h5", x, [made["zeta"], made["alpha"]])

# dtypes
def small(L, inputs):
    norm = L.Normalization()
    norm.adapt(x)
    h = L.Dense(8, activation="relu")(norm(inputs))
    h = L.BatchNormalization()(h)
    return L.Activation("softmax", dtype="float32")(L.Dense(3)(h))

for policy in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16"):
    keras.config.set_dtype_policy(policy)
    i = keras.Input((4,))
    model = keras.Sequential([i, keras.Model(i, small(NEW, i))])
    model.save(policy + ".keras")
    convert(policy, "from_keras3", policy + ".keras", x, [np.asarray(model.predict(x, verbose=0))])
keras.config.set_dtype_policy("mixed_float16")
i = keras.Input((4,))
keras.Model(i, NEW.Dense(3)(NEW.Dense(8, activation="relu")(i))).export("half_saved", verbose=False)
keras.config.set_dtype_policy("float32")
convert("half_saved", "from_signature", "half_saved")
tf_keras.mixed_precision.set_global_policy("mixed_float16")
i = tf_keras.Input((4,))
model = tf_keras.Model(i, small(OLD, i))
model.save("half.h5")
tf_keras.mixed_precision.set_global_policy("float32")
convert("half.h5", "from_tf_keras", "half.h5", x, [model.predict(x, verbose=0)])
pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
i = keras.Input((4, 4, 1), dtype="uint8")
model = keras.Model(i, NEW.Dense(3)(NEW.Flatten()(NEW.Rescaling(1 / 255.0)(i))))
model.save("camera.keras")
convert("camera", "from_keras3", "camera.keras", pixels, [model.predict(pixels, verbose=0)])
answers["camera"]["dtype"] = Interpreter("out.tflite").get_input_details()[0]["dtype"].__name__

# never called
keras.Sequential([NEW.Dense(4)]).save("unbuilt.keras")
convert("unbuilt", "from_keras3", "unbuilt.keras")
print("ANSWERS" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("keras")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS"))
    return dict(json.loads(line.removeprefix("ANSWERS")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lambda.h5", "nested.h5"])
def test_a_lambda_in_a_legacy_file_is_not_run(answers: dict[str, Any], name: str) -> None:
    assert answers[name]["reference"] == "model-lambda"
    assert answers[name]["ran"] is False
    assert "a Lambda layer: Python code inside the file, which edgeship does not run" in answers[name]["text"]
    assert (
        "hint: export it where you trust it: model.export(FOLDER), then give the folder"
        in answers[name]["text"]
    )


@pytest.mark.slow
def test_a_saved_model_brings_its_lambda_as_a_graph(answers: dict[str, Any]) -> None:
    assert answers["lambda_saved"]["ran"] is False
    assert answers["lambda_saved"]["inputs"], "its graph is converted, its Python is not"


@pytest.mark.slow
def test_arithmetic_of_tensorflow_is_not_foreign_code(answers: dict[str, Any]) -> None:
    assert "reference" not in answers["symbols.h5"]


@pytest.mark.slow
def test_a_call_that_reaches_beyond_the_model_is_refused(answers: dict[str, Any]) -> None:
    assert answers["reaching.h5"]["reference"] == "model-lambda"
    assert "a call of tf.io.gfile.remove, which reaches beyond the model" in answers["reaching.h5"]["text"]


@pytest.mark.slow
def test_no_module_is_imported_because_a_file_names_it(answers: dict[str, Any]) -> None:
    assert answers["imports.keras"]["ran"] is False
    assert answers["imports.keras"]["reference"] == "model-custom-object"


@pytest.mark.slow
def test_outputs_keep_their_names_and_the_order_they_are_declared_in(answers: dict[str, Any]) -> None:
    assert answers["dict"]["outputs"] == ["cls", "a_box"]
    assert answers["list"]["outputs"] == ["cls", "box"]
    assert answers["dict.h5"]["outputs"] == ["zeta", "alpha"]
    for name in ("dict", "list", "dict.h5"):
        assert max(answers[name]["worst"]) < 1e-5, "every name has its own values"


@pytest.mark.slow
def test_an_input_and_a_repeated_output_are_outputs_of_their_own(answers: dict[str, Any]) -> None:
    assert answers["repeated"]["outputs"] == ["h", "pixels", "h_1"]
    assert max(answers["repeated"]["worst"]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_half_precision_is_converted_in_float32(answers: dict[str, Any], policy: str) -> None:
    assert f"the model was trained in {policy}: converted in float32" in answers[policy]["notes"]
    assert answers[policy]["worst"][0] < 0.02, "what half precision rounds away, no more"


@pytest.mark.slow
def test_half_precision_of_the_old_keras(answers: dict[str, Any]) -> None:
    assert answers["half.h5"]["worst"][0] < 0.005


@pytest.mark.slow
def test_half_precision_in_a_saved_model_says_so(answers: dict[str, Any]) -> None:
    assert answers["half_saved"]["reference"] == "model-half-precision"
    assert "hint: give the .keras or .h5 file, which is converted in float32" in answers["half_saved"]["text"]


@pytest.mark.slow
def test_a_camera_model_takes_its_pixels_as_numbers(answers: dict[str, Any]) -> None:
    assert answers["camera"]["dtype"] == "float32"
    assert answers["camera"]["worst"][0] < 1e-5


@pytest.mark.slow
def test_a_model_that_was_never_called_says_so(answers: dict[str, Any]) -> None:
    assert (answers["unbuilt"]["reference"], answers["unbuilt"]["kind"]) == (
        "model-no-input-shape",
        "InputError",
    )
