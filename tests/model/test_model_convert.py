"""Conversion to float: pass-through quickly, real converters marked slow."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.model import convert
from edgeship.model.convert import Route, to_float_tflite
from edgeship.model.inspect import inspect_model
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.normalise import in_order, normalised
from edgeship.tflite.reader import read_tflite
from edgeship.values import ModelSource


def test_a_float_tflite_passes_through(dense_float: Path, tmp_path: Path) -> None:
    model = to_float_tflite(open_model(dense_float), tmp_path / "work", progress=Silent())
    assert (model.is_float, model.tools) == (True, {})
    assert model.path.read_bytes() == dense_float.read_bytes()
    assert model.signature.inputs[0].shape == (1, 4)


def test_a_quantized_tflite_passes_through_as_what_it_is(dense_int8: Path, tmp_path: Path) -> None:
    assert to_float_tflite(open_model(dense_int8), tmp_path / "work", progress=Silent()).is_float is False


def test_an_open_batch_is_closed(make_dense: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "open.tflite"
    path.write_bytes(make_dense(batch=[-1]))
    model = to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert model.signature.inputs[0].shape == (1, 4)
    assert not any(t.is_dynamic for t in read_tflite(model.path).main.tensors)


def test_another_open_size_is_named(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("picture", [1, 1, 4], signature=[-1, -1, 4])
    y = builder.tensor("y", [1, 1, 4], signature=[-1, -1, 4])
    builder.op("RELU", [x], [y])
    path = tmp_path / "open.tflite"
    path.write_bytes(builder.build([x], [y]))
    with pytest.raises(InputError) as caught:
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert caught.value.render() == (
        "error: model-dynamic-shape\n"
        "  the size of 'picture' is only known when the model runs\n"
        f"  model:   {path}\n"
        "  shape:   [-1, -1, 4]\n"
        "  made by: the model's input\n"
        "  wanted:  fixed sizes\n"
        "hint: say the sizes that you will send, for example:  --input-shape 1,128,4"
    )


def test_another_batch_than_the_files(dense_float: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keeps the batch it was made with"):
        to_float_tflite(open_model(dense_float), tmp_path / "work", progress=Silent(), batch=4)


def test_a_corrupt_tflite_is_refused(dense_float: Path, tmp_path: Path) -> None:
    dense_float.write_bytes(dense_float.read_bytes()[:300])
    with pytest.raises(InputError, match="damaged or cut short"):
        to_float_tflite(open_model(dense_float), tmp_path / "work", progress=Silent())


def test_fake_quantization_is_no_model_that_came_quantized(
    builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model trained for int8 converts to: it must still be quantized, and without its conversions."""
    x, y, z = (builder.tensor(name, [1, 4]) for name in "xyz")
    held = builder.tensor("held", [1, 4], "UINT8", scales=[0.1])
    builder.op("QUANTIZE", [x], [held])
    builder.op("DEQUANTIZE", [held], [y])
    builder.op("RELU", [y], [z])
    content = builder.build([x], [z])
    monkeypatch.setattr(convert, "_convert", lambda *_: (content, {}))
    source = ModelSource(path=tmp_path, kind="saved_model", sha256="0" * 64)
    model = to_float_tflite(source, tmp_path / "work", progress=Silent())
    assert model.is_float and [op.op for op in read_tflite(model.path).main.operators] == ["RELU"]


def test_outputs_come_back_in_the_models_order(builder: Any) -> None:
    schema = builder.schema
    x, a, b = (builder.tensor(name, [1, 4]) for name in ("x", "a", "b"))
    builder.op("RELU", [x], [a])
    builder.op("NEG", [x], [b])
    content = _signed(builder, schema, {"x": x}, {"first": a, "second": b}, [x], [b, a])
    from edgeship.tflite.flat import parse

    assert [t.name for t in parse(Path("m"), content, "").signature.outputs] == ["second", "first"]
    sorted_content = in_order(content, ["x"], ["first", "second"])
    assert [t.name for t in parse(Path("m"), sorted_content, "").signature.outputs] == ["first", "second"]
    assert in_order(content, ["x"], ["first", "unknown"]) == content


def _signed(
    builder: Any, schema: Any, inputs: dict[str, int], outputs: dict[str, int], *order: list[int]
) -> bytes:
    import flatbuffers

    raw = builder.build(*order)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(raw, 0))
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0

    def entry(name: str, index: int) -> Any:
        item = schema.TensorMapT()
        item.name, item.tensorIndex = name, index
        return item

    signature.inputs = [entry(*item) for item in inputs.items()]
    signature.outputs = [entry(*item) for item in outputs.items()]
    model.signatureDefs = [signature]
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    return bytes(packer.Output())


# --- routes: stand-ins that run in real worker processes
# --------------------------------------------------------------

WORKERS = """
import os, pathlib, time
def dies(payload, report):
    os.kill(os.getpid(), 11)
def fails(payload, report):
    raise RuntimeError("abseil deadlock averted")
def works(payload, report):
    pathlib.Path(payload["out"]).write_bytes(pathlib.Path(os.environ["READY_MODEL"]).read_bytes())
    return {"inputs": ["x"], "outputs": ["y"]}
def meets(payload, report):
    # ends when another one of its kind has written its file, too
    out = works(payload, report)
    here = pathlib.Path(__file__).with_name("met")
    here.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(list(here.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return out
"""


@pytest.fixture
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dense_float: Path) -> Callable[..., ModelSource]:
    """Return a function that sets the routes of .keras files to the named stand-ins and returns such a
    source."""
    (tmp_path / "stand_ins.py").write_text(WORKERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("READY_MODEL", str(dense_float))

    def choose(*names: str) -> ModelSource:
        chosen = tuple(
            Route(name=name, function=f"stand_ins:{name}", packages=(f"package-{name}",)) for name in names
        )
        monkeypatch.setitem(convert.ROUTES, "keras", chosen)
        return ModelSource(path=tmp_path / "m.keras", kind="keras", sha256="0" * 64)

    return choose


def test_a_crash_and_a_failure_fall_back_to_what_works(
    routes: Callable[..., ModelSource], tmp_path: Path, notes: Any
) -> None:
    model = to_float_tflite(routes("dies", "fails", "works"), tmp_path / "work", progress=notes)
    assert model.tools == {"package-works": "not installed"}
    assert len(notes.steps) == 3
    assert "dies could not convert it: stand_ins:dies was killed by SIGSEGV" in notes.notes[0]
    assert "abseil deadlock averted" in notes.notes[1]
    notes.steps.clear()
    again = to_float_tflite(routes("dies"), tmp_path / "work", progress=notes)
    assert notes.steps == ["using the float model converted before"]
    assert again.sha256 == model.sha256


def test_two_builds_convert_one_model_at_once(
    routes: Callable[..., ModelSource], tmp_path: Path, notes: Any
) -> None:
    source, work = routes("meets"), tmp_path / "work"
    with ThreadPoolExecutor() as both:
        made = [both.submit(to_float_tflite, source, work, progress=notes) for _ in range(2)]
    assert made[0].result().sha256 == made[1].result().sha256
    assert notes.notes == []
    assert sorted(p.name for p in made[0].result().path.parent.iterdir()) == ["model.tflite", "record.json"]


@pytest.mark.parametrize(
    ("saved", "told"),
    [("99.1.0", True), ("3.0.0", False), ("of my own", False), (None, False)],
)
def test_a_file_of_a_newer_keras_says_so(
    routes: Callable[..., ModelSource], tmp_path: Path, saved: str | None, told: bool
) -> None:
    """The newest Keras of an older Python is not the newest."""
    source = routes("fails")
    with zipfile.ZipFile(source.path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": saved} if saved else {}))
    with pytest.raises(ToolError) as caught:
        to_float_tflite(source, tmp_path / "work", progress=Silent())
    if told:
        here = importlib.metadata.version("keras")
        assert (
            caught.value.context["saved by"] == f"Keras 99.1.0; here is {here}, which may not know all of it"
        )
    else:
        assert "saved by" not in caught.value.context


def test_when_all_fail_every_reason_is_shown(routes: Callable[..., ModelSource], tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        to_float_tflite(routes("dies", "fails"), tmp_path / "work", progress=Silent())
    text = caught.value.render()
    assert "error: conversion-failed\n  none of 2 ways to convert the model worked" in text
    assert "dies:  worker-crashed: stand_ins:dies was killed by SIGSEGV" in text
    assert "fails: tool-failed: stand_ins:fails failed: RuntimeError: abseil deadlock averted" in text
    assert "hint: save it as a SavedModel" in text


def test_a_damaged_cache_is_made_again(
    routes: Callable[..., ModelSource], tmp_path: Path, notes: Any
) -> None:
    source = routes("works")
    model = to_float_tflite(source, tmp_path / "work", progress=Silent())
    model.path.write_bytes(b"TFL3 but not")
    assert to_float_tflite(source, tmp_path / "work", progress=notes).sha256 == model.sha256
    assert notes.steps == ["converting m.keras to float TFLite (works)"]


# --- the real converters
# ----------------------------------------------------------------------------------------------

MAKE_MODELS = """
import sys, pathlib, keras, tensorflow as tf
folder = pathlib.Path(sys.argv[1])
keras.utils.set_random_seed(1)
L = keras.layers
keras.Sequential([keras.Input((8, 8, 1)), L.Rescaling(1 / 16), L.Conv2D(8, 3, activation="relu"), L.Flatten(),
                  L.Dense(10, activation="softmax")]).save(folder / "digits.keras")
a, b = keras.Input((4,), name="b_in"), keras.Input((4,), name="a_in")
joined = L.Concatenate()([a, b])
two = keras.Model({"b_in": a, "a_in": b}, [L.Dense(3, name="z")(joined), L.Dense(2, name="y")(b)])
two.save(folder / "two.keras")
class Mine(L.Layer):
    def call(self, x):
        return tf.math.betainc(x, x, x)
mine = keras.Sequential([keras.Input((4,)), Mine(name="my_beta")])
mine.save(folder / "custom.keras")
mine.export(folder / "beta", verbose=False)
class Two(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def f(self, x):
        return x * 2.0
module = Two()
tf.saved_model.save(module, folder / "two_signatures", signatures={
    "up": module.f.get_concrete_function(), "down": module.f.get_concrete_function()})
import numpy as np
digits = keras.saving.load_model(folder / "digits.keras")
up = keras.Sequential([keras.Input((6, 5, 2)), L.Conv2D(4, 3, padding="same"), L.UpSampling2D((3, 2)), L.Conv2D(2, 1)])
up.save(folder / "up_flat.keras")
import zipfile
with zipfile.ZipFile(folder / "up_flat.keras") as flat, zipfile.ZipFile(folder / "up.keras", "w") as nested:
    nested.mkdir("up")
    for name in flat.namelist():
        nested.writestr("up/" + name, flat.read(name))
seen = np.random.default_rng(0).normal(size=(4, 6, 5, 2)).astype(np.float32)
np.savez(folder / "up.npz", x=seen, y=up.predict(seen, verbose=0))
x = np.random.default_rng(0).uniform(0, 16, (20, 8, 8, 1)).astype(np.float32)
np.savez(folder / "digits.npz", x=x, y=digits.predict(x, verbose=0))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    script = folder / "make.py"
    script.write_text(MAKE_MODELS)
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=200)
    return folder


def _run(path: Path, x: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    made = []
    for sample in x:
        interpreter.set_tensor(entry["index"], sample[None])
        interpreter.invoke()
        made.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(made)


@pytest.mark.slow
def test_a_keras_3_model(made: Path, tmp_path: Path) -> None:
    source = open_model(made / "digits.keras")
    model = to_float_tflite(source, tmp_path / "a", progress=Silent())
    assert (model.is_float, set(model.tools)) == (True, {"tensorflow", "keras"})
    assert [o.op for o in read_tflite(model.path).main.operators] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    with np.load(made / "digits.npz") as truth:
        assert np.abs(_run(model.path, truth["x"]) - truth["y"]).max() < 1e-5
    moved = tmp_path / "elsewhere" / "digits.keras"
    moved.parent.mkdir()
    moved.write_bytes(source.path.read_bytes())
    again = to_float_tflite(open_model(moved), tmp_path / "b", progress=Silent())
    assert again.path.read_bytes() == model.path.read_bytes()


@pytest.mark.slow
def test_up_sampling_of_keras_3_is_a_resize(made: Path, tmp_path: Path) -> None:
    """As Keras 2 wrote it and accelerators map it; the file is one that another tool packed with its folder."""
    model = to_float_tflite(open_model(made / "up.keras"), tmp_path, progress=Silent())
    operations = [o.op for o in read_tflite(model.path).main.operators]
    assert operations == ["CONV_2D", "RESIZE_NEAREST_NEIGHBOR", "CONV_2D"]
    with np.load(made / "up.npz") as truth:
        assert np.abs(_run(model.path, truth["x"]) - truth["y"]).max() < 1e-5


@pytest.mark.slow
def test_several_inputs_and_outputs_keep_their_order(made: Path, tmp_path: Path) -> None:
    signature = to_float_tflite(open_model(made / "two.keras"), tmp_path, progress=Silent()).signature
    assert [(t.name, t.shape) for t in signature.outputs] == [("z", (1, 3)), ("y", (1, 2))]
    assert {t.name for t in signature.inputs} == {"a_in", "b_in"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reference", "says"),
    [
        ("custom.keras", "model-custom-object", "the model uses 'Mine', which Keras does not know"),
        ("beta", "unsupported-operation", "TFLite has no operation for Betainc"),
        ("two_signatures", "saved-model-signatures", "signatures: down, up"),
    ],
)
def test_what_cannot_be_converted(made: Path, tmp_path: Path, name: str, reference: str, says: str) -> None:
    with pytest.raises(EdgeshipError) as caught:
        to_float_tflite(open_model(made / name), tmp_path, progress=Silent())
    text = caught.value.render()
    assert text.startswith(f"error: {reference}\n")
    assert says in text
    assert "\nhint: " in text
    if name == "beta":
        assert "my_beta" in text


@pytest.mark.slow
@pytest.mark.shared
def test_the_old_saved_model(kws_float: Any, shared_data: Path, tmp_path: Path) -> None:
    assert [(t.name, t.shape) for t in kws_float.signature.inputs] == [("input_1", (1, 49, 10, 1))]
    assert inspect_model(kws_float.path).macs == 2_656_768
    again = to_float_tflite(open_model(shared_data / "kws" / "saved_model"), tmp_path, progress=Silent())
    assert dataclasses.replace(again, path=kws_float.path) == kws_float
    assert normalised(again.path.read_bytes()) == again.path.read_bytes()


@pytest.mark.slow
@pytest.mark.shared
def test_the_legacy_h5(shared_data: Path) -> None:
    found = inspect_model(shared_data / "cifar10" / "resnet8.h5")
    assert (found.kind, found.converted, found.macs) == ("h5", True, 12_501_632)
    assert found.signature.outputs[0].name == "dense"


@pytest.mark.parametrize(
    ("kind", "reference", "says"),
    [
        (
            "f64",
            "model-double-precision",
            "computes in double precision (float64), and TFLite has no Sum for that",
        ),
        ("f16", "model-half-precision", "computes in half precision"),
        ("f32", "unsupported-operation", "TFLite has no operation for Sum"),
    ],
)
def test_an_operation_that_is_lacking_for_a_kind_of_number(kind: str, reference: str, says: str) -> None:
    from edgeship.model.conversion_error import conversion_error

    operation = f'%1 = "tf.Sum"(%arg0, %0) : (tensor<1x4x{kind}>, tensor<2xi32>) -> tensor<{kind}>'
    text = (
        f"error: 'tf.Sum' op is neither a custom op nor a flex op\nnote: see current operation: {operation}\n"
    )
    error = conversion_error(Exception(text), "m")
    assert isinstance(error, InputError) and error.reference == reference and says in error.message
