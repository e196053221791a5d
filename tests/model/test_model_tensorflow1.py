"""SavedModels of TensorFlow 1: which signature is taken, that nothing of the file runs, and that the numbers agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.names import input_names
from edgeship.model.signatures import Entry, pick_signature
from edgeship.model.source import open_model

F = (("x", "float32"),)
TEXT = (("examples", "string"),)
Y = (("y", "float32"),)


def entry(key: str, inputs: Any = F, outputs: Any = Y, method: str = "predict") -> Entry:
    return Entry(key=key, inputs=inputs, outputs=outputs, method=f"tensorflow/serving/{method}")


@pytest.mark.parametrize(
    ("entries", "wanted", "expected"),
    [
        ([entry("serving_default"), entry("other")], None, "serving_default"),
        ([entry("only")], None, "only"),
        ([entry("serving_default", TEXT, method="classify"), entry("predict")], None, "predict"),
        ([entry("regress", method="regress"), entry("ask"), entry("classify", TEXT)], None, "ask"),
        ([entry("a"), entry("b")], "b", "b"),
        ([entry("serving_default"), entry("b")], "b", "b"),
    ],
)
def test_the_signature_on_numbers_is_taken(entries: list[Entry], wanted: str | None, expected: str) -> None:
    told: list[str] = []
    assert pick_signature(entries, wanted, "m", lambda text, **_: told.append(text)) == expected
    if wanted is None and len(entries) > 1:
        left = ", ".join(sorted({e.key for e in entries} - {expected}))
        assert told == [f"converting the signature {expected}; left out: {left}"]


@pytest.mark.parametrize(
    ("entries", "wanted", "says"),
    [
        ([entry("up"), entry("down")], None,
         ["signatures: down, up", "hint: --signature up   (or another of: up, down)"]),
        ([entry("a", TEXT), entry("b", ())], None,
         ["no signature of the SavedModel takes numbers", "takes examples (string)", "takes no input", "tf.Example"]),
        ([entry("fft", F, (("y", "complex64"),))], None,
         ["answers with y (complex64)", "hint: export one on real numbers"]),
        ([], None, ["has no signature", "hint: tf.saved_model.save("]),
        ([entry("predict")], "predikt", ["no signature 'predikt'", "hint: --signature predict"]),
        ([entry("label", F, (("word", "string"),))], "label", ["answers with word (string)"]),
    ],
)  # fmt: skip
def test_a_signature_that_cannot_be_taken(entries: list[Entry], wanted: str | None, says: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        pick_signature(entries, wanted, "m", lambda text, **_: None)
    text = caught.value.render()
    assert text.startswith("error: saved-model-signatures\n")
    for words in says:
        assert words in text


MAKE = """
import json, pathlib, sys
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
v1.disable_eager_execution(); v1.disable_resource_variables()
out = pathlib.Path(sys.argv[1])
U, I = v1.saved_model.signature_def_utils, v1.saved_model.utils.build_tensor_info
def signed(inputs, outputs, method="predict"):
    named = lambda part: {name: I(tensor) for name, tensor in part.items()}
    return U.build_signature_def(named(inputs), named(outputs), "tensorflow/serving/" + method)
def save(name, session, signatures, **more):
    builder = v1.saved_model.builder.SavedModelBuilder(str(out / name))
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures, **more)
    builder.save()

with v1.Graph().as_default(), v1.Session() as s:      # as TensorFlow Serving's half_plus_two, without serving_default
    a, b = v1.Variable(0.5, name="a"), v1.Variable(2.0, name="b")
    text = v1.placeholder(tf.string, [None], name="tf_example")
    x = v1.parse_example(text, {"x": v1.FixedLenFeature([1], tf.float32)})["x"]
    y = tf.add(a * x, b, name="y")
    s.run(v1.global_variables_initializer())
    save("half_plus_two", s, {"regress": signed({"inputs": text}, {"outputs": y}, "regress"),
                              "predict": signed({"x": x}, {"y": y})})
with v1.Graph().as_default(), v1.Session() as s:
    counter, delta = v1.Variable(0.0, name="counter"), v1.placeholder_with_default(1.0, [], name="delta")
    s.run(v1.global_variables_initializer())
    save("counter", s, {"get": signed({}, {"output": tf.identity(counter)}),
                        "add": signed({"delta": delta}, {"output": v1.assign_add(counter, delta)})})
with v1.Graph().as_default(), v1.Session() as s:      # names that no argument can have, and two that become one
    a, b = (v1.placeholder(tf.float32, [None, 4], name=name) for name in "ab")
    builder = v1.saved_model.builder.SavedModelBuilder(str(out / "names"))
    builder.add_meta_graph_and_variables(s, ["train"], signature_def_map={"predict": signed({"x": a}, {"y": a})})
    builder.add_meta_graph(["serve"], signature_def_map={
        "predict": signed({"in/a-1": a, "in/a_1": b}, {"less": a - 2 * b, "more-1": a + b})})
    builder.save()
for kind in ("reference", "resource"):
    (v1.enable_resource_variables if kind == "resource" else v1.disable_resource_variables)()
    with v1.Graph().as_default(), v1.Session() as s:
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], name="images")
        training = v1.placeholder_with_default(False, [], name="training")
        random = v1.random_normal_initializer(seed=1)
        w = v1.get_variable("w", [3, 3, 2, 4], initializer=random)
        bias = v1.get_variable("bias", [4], initializer=random)
        parts = v1.get_variable("parts", [4, 3], initializer=random, partitioner=v1.fixed_size_partitioner(2, axis=0))
        h = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME") + bias), [1, 2])
        h = v1.cond(training, lambda: h * 0.0, lambda: h * 1.0)
        y = tf.nn.softmax(tf.matmul(h, tf.convert_to_tensor(parts)))
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            tf.constant([0, 1, 2], tf.int64), tf.constant([10, 20, 30], tf.int64)), -1)
        looked = table.lookup(tf.argmax(y, 1))
        s.run([v1.global_variables_initializer(), v1.tables_initializer()])
        given = np.random.default_rng(0).normal(size=(5, 6, 6, 2)).astype(np.float32)
        np.savez(out / f"{kind}.npz", x=given, y=s.run(y, {x: given}))
        # What is wanted run at the start would write a file.
        wrote = v1.io.write_file(str(out / "written-by-the-model"), "x")
        with tf.control_dependencies([wrote]):
            start = tf.group(v1.tables_initializer())
        save(kind, s, {"scores": signed({"images": x}, {"scores": y}),
                       "number": signed({"images": x}, {"number": looked})}, main_op=start)
v1.disable_resource_variables()
with v1.Graph().as_default(), v1.Session() as s:
    ids = v1.placeholder(tf.int32, [None, 5], name="ids")
    rate = v1.placeholder(tf.float32, [], name="rate")
    words = v1.get_variable("words", [7, 3], initializer=v1.random_normal_initializer(seed=3), use_resource=True)
    looked = tf.reduce_mean(tf.nn.embedding_lookup(words, ids), 1)
    s.run(v1.global_variables_initializer())
    given = np.random.default_rng(0).integers(0, 7, (4, 5)).astype(np.int32)
    np.savez(out / "ids.npz", x=given, y=s.run(looked, {ids: given}))
    save("ids", s, {"mean": signed({"ids": ids}, {"mean": looked}),
                    "unfed": signed({"ids": ids}, {"mean": looked * rate})})
"""

CONVERT = """
import json, pathlib, sys
from edgeship.errors import EdgeshipError
from edgeship.model.convert_worker import from_signature
out, found = pathlib.Path(sys.argv[1]), {}
for name, signature in (("half_plus_two", None), ("counter", None), ("reference", "scores"), ("resource", "scores"),
                        ("reference", "number"), ("ids", "mean"), ("ids", "unfed"), ("bare", "scores"),
                        ("names", None)):
    file, told = out / f"{name}-{signature}.tflite", []
    payload = {"source": str(out / name), "out": str(file), "batch": 1, "signature": signature}
    try:
        value = from_signature(payload, lambda text, *_, note=False: told.append(text))
        found[f"{name}-{signature}"] = {**value, "told": told}
    except EdgeshipError as error:
        found[f"{name}-{signature}"] = {"error": error.render(), "told": told}
(out / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels, of what each became, and of what was told; two processes in all."""
    import shutil

    folder = tmp_path_factory.mktemp("tf1")
    for number, script in enumerate((MAKE, CONVERT)):
        file = folder / f"step{number}.py"
        file.write_text(script)
        done = subprocess.run(
            [sys.executable, str(file), str(folder)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        if number == 0:
            shutil.copytree(folder / "reference", folder / "bare", ignore=lambda *_: ["variables"])
            (folder / "written-by-the-model").unlink(missing_ok=True)
    return folder


def run(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    rows = []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(rows)


@pytest.mark.slow
def test_saved_models_of_tensorflow_1(made: Path) -> None:
    found = json.loads((made / "found.json").read_text())
    half = found["half_plus_two-None"]
    assert half["told"][0] == "converting the signature predict; left out: regress"
    assert (half["inputs"], half["outputs"]) == (["x"], ["y"])
    x = np.array([[1.0], [-3.0]], np.float32)
    assert np.array_equal(run(made / "half_plus_two-None.tflite", x), x / 2 + 2)
    for name, kind in (("reference", "scores"), ("resource", "scores"), ("ids", "mean")):
        assert "error" not in found[f"{name}-{kind}"], found[f"{name}-{kind}"]
        with np.load(made / f"{name}.npz") as truth:
            assert np.abs(run(made / f"{name}-{kind}.tflite", truth["x"]) - truth["y"]).max() < 1e-6
    assert not (made / "written-by-the-model").exists(), "what the file wants run at the start is not run"


@pytest.mark.slow
def test_signatures_that_no_service_can_have(made: Path) -> None:
    found = {
        key: value.get("error", "") for key, value in json.loads((made / "found.json").read_text()).items()
    }
    for key, reference, says in (
        ("counter-None", "saved-model-state", "'add' changes the model's own variables"),
        (
            "reference-number",
            "unsupported-operation",
            "looks values up in a table (HashTableV2, LookupTableFindV2)",
        ),
        ("ids-unfed", "saved-model-unfed", "does not say what rate should be"),
        ("bare-scores", "saved-model-incomplete", "variables: bias, parts/part_0, parts/part_1, w"),
    ):
        assert found[key].startswith(f"error: {reference}\n"), (key, found[key])
        assert says in found[key] and "\nhint: " in found[key]


@pytest.mark.slow
def test_names_that_no_argument_can_have(made: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    value = json.loads((made / "found.json").read_text())["names-None"]
    assert value["inputs"] == ["in_a_1", "in_a_1_1"] and value["outputs"] == ["less", "more-1"], value
    assert input_names(open_model(made / "names")) == ("in/a-1", "in/a_1"), "of the graph for serving"
    ask = Interpreter(str(made / "names-None.tflite")).get_signature_runner()
    a, b = np.ones((1, 4), np.float32), np.full((1, 4), 3, np.float32)
    assert np.array_equal(ask(in_a_1=a, in_a_1_1=b)["less"], a - 2 * b)


@pytest.mark.slow
def test_the_whole_road_of_one(made: Path, tmp_path: Path, notes: Any) -> None:
    model = to_float_tflite(open_model(made / "half_plus_two"), tmp_path, progress=notes)
    assert model.signature.inputs[0].shape == (1, 1) and model.is_float
    assert "left out: regress" in notes.notes[0]
    with pytest.raises(InputError, match="no signature 'predct'"):
        to_float_tflite(open_model(made / "half_plus_two"), tmp_path, progress=notes, signature="predct")
