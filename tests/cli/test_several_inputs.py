"""Models of several inputs: built, checked, deployed and asked like any other; every wrong input names the inputs."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Case = Callable[[Path], tuple[list[object], str, list[str]]]
"""(scratch folder) -> (more words of `build sum.tflite`, reference, what the text must hold).

The model adds its inputs `one` and `other`, [1, 4] each.
"""
CALIBRATION = "--calibration"
ROWS = np.random.default_rng(5).random((40, 4), dtype=np.float32)


def _saved(here: Path, **arrays: Any) -> list[object]:
    np.savez(here / "d.npz", **arrays)
    return [CALIBRATION, "d.npz"]


def _table(here: Path, text: str) -> list[object]:
    (here / "d.csv").write_text(text)
    return [CALIBRATION, "d.csv"]


def _yields(here: Path, body: str) -> list[object]:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    (here / "data_of_mine.py").write_text(f"import numpy as np\ndef samples():\n{lines}\n")
    return [CALIBRATION, "data_of_mine:samples"]


def _settings(here: Path, text: str) -> list[object]:
    (here / "edgeship.yaml").write_text(f"targets: [host]\n{text}\n")
    return []


def one_array_x(here: Path) -> Any:
    hint = "hint: numpy.savez('d.npz', one=one, other=other, y=y)"
    return _saved(here, x=ROWS), "dataset-keys", ["no array for inputs 'one', 'other'", hint]


def a_missing_input(here: Path) -> Any:
    return (
        _saved(here, one=ROWS, y=np.zeros(40)),
        "dataset-keys",
        ["no array for input 'other'", "holds:        one"],
    )


def a_misspelt_input(here: Path) -> Any:
    hint = (
        "hint: d = dict(numpy.load('d.npz')); numpy.savez('d.npz', one=d['one'], other=d['othr'], y=d['y'])"
    )
    return _saved(here, one=ROWS, othr=ROWS, y=np.zeros(40)), "dataset-keys", [hint]


def numbered_arrays(here: Path) -> Any:
    hint = "numpy.savez('d.npz', one=d['x0'], other=d['x1'])"
    return _saved(here, x1=ROWS, x0=ROWS), "dataset-keys", ["model inputs: one, other", hint]


def arrays_without_names(here: Path) -> Any:
    np.savez(here / "d.npz", ROWS, ROWS)
    return [CALIBRATION, "d.npz"], "dataset-keys", ["one=d['arr_0'], other=d['arr_1']"]


def an_array_too_many(here: Path) -> Any:
    words = _saved(here, one=ROWS, other=ROWS, third=ROWS)
    return words, "dataset-keys", ["array 'third' that is no input", "one array each for one, other"]


def labels_under_another_name(here: Path) -> Any:
    words = _saved(here, one=ROWS, other=ROWS, labels=np.zeros(40))
    return words, "dataset-keys", ["labels are called y: rename 'labels' to y"]


def an_input_with_fewer_samples(here: Path) -> Any:
    words = _saved(here, one=ROWS, other=ROWS[:30])
    return words, "dataset-counts", ["one has 40 samples and other has 30 samples", "len(one) == len(other)"]


def fewer_labels(here: Path) -> Any:
    return _saved(here, one=ROWS, other=ROWS, y=np.zeros(3)), "dataset-labels", ["y has 3 labels"]


def an_input_of_another_shape(here: Path) -> Any:
    words = _saved(here, one=ROWS, other=ROWS[:, :3])
    return words, "dataset-wrong-shape", ["input 'other' wants [4]", "d.npz (other)"]


def an_input_with_nan(here: Path) -> Any:
    bad = np.where(ROWS > 0.99, np.nan, ROWS)
    return _saved(here, one=ROWS, other=bad), "dataset-not-finite", ["of other"]


def inputs_that_never_change(here: Path) -> Any:
    words = _saved(here, one=np.zeros_like(ROWS), other=np.ones_like(ROWS))
    return words, "calibration-constant", ["all 40 samples"]


def an_input_in_another_unit(here: Path) -> Any:
    np.savez(here / "e.npz", one=ROWS, other=ROWS * 255)
    words = [*_saved(here, one=ROWS, other=ROWS), "--eval", "e.npz"]
    return words, "calibration-range", ["d.npz (other)", "e.npz (other)"]


def an_npy(here: Path) -> Any:
    np.save(here / "d.npy", ROWS)
    return (
        [CALIBRATION, "d.npy"],
        "dataset-keys",
        ["one array x, and the model has 2 inputs", "one [1, 4] float32"],
    )


def a_folder_without_one_input(here: Path) -> Any:
    (here / "d").mkdir()
    np.save(here / "d" / "one.npy", ROWS)
    np.save(here / "d" / "two.npy", ROWS)
    return [CALIBRATION, "d"], "dataset-keys", ["no array for input 'other'", "holds:        one, two"]


def a_table_without_one_input(here: Path) -> Any:
    return _table(here, "one,y\n1,2\n"), "dataset-keys", ["no column for input 'other'"]


def a_table_with_a_gap(here: Path) -> Any:
    words = _table(here, "one[0],one[2],other\n1,2,3\n")
    return words, "dataset-table", ["'one' there are the entries 0, 2", "one[0] to one[1]"]


def a_table_with_a_word(here: Path) -> Any:
    return (
        _table(here, "one,other\n1,2\n3,four\n"),
        "dataset-table",
        ["'four' in column 'other' is no number"],
    )


def a_table_with_an_empty_cell(here: Path) -> Any:
    return _table(here, "one,other\n1,2\n3,\n"), "dataset-table", ["line 3 has nothing for 'other'"]


def a_table_with_a_short_line(here: Path) -> Any:
    return _table(here, "one,other\n1\n"), "dataset-table", ["line 2 has 1 cells, the header has 2"]


def a_table_with_two_columns_of_one_name(here: Path) -> Any:
    return _table(here, "one,one\n1,2\n"), "dataset-table", ["two columns are named 'one'"]


def a_table_without_lines(here: Path) -> Any:
    return _table(here, "one,other\n"), "dataset-table", ["no samples"]


def a_table_that_names_no_file(here: Path) -> Any:
    return (
        _table(here, "one,other\na.png,2\n"),
        "dataset-table",
        ["there is no file 'a.png', which 'one' names"],
    )


def two_tables(here: Path) -> Any:
    (here / "d").mkdir()
    for name in ("a", "b"):
        (here / "d" / f"{name}.csv").write_text("one,other\n1,2\n")
    return [CALIBRATION, "d"], "dataset-table", ["several tables", "hint: give one: d/a.csv"]


def a_callable_that_yields_one_array(here: Path) -> Any:
    words = _yields(here, "yield np.ones(4)")
    return words, "dataset-callable-failed", ["this is one array", "hint: yield {'one': one, 'other': other}"]


def a_callable_that_yields_three(here: Path) -> Any:
    words = _yields(here, "yield np.ones(4), np.ones(4), 1")
    return words, "dataset-callable-failed", ["this is a tuple of 3", "{'one': one, 'other': other}, label"]


def a_callable_with_a_misspelt_key(here: Path) -> Any:
    words = _yields(here, "yield {'one': np.ones(4), 'othr': np.ones(4)}")
    return words, "dataset-keys", ["no key for input 'other'", "rename 'othr' to other"]


def a_callable_whose_samples_differ(here: Path) -> Any:
    words = _yields(
        here,
        "yield {'one': np.ones(4), 'other': np.ones(4)}, 1\nyield {'one': np.ones(4), 'other': np.ones(4)}",
    )
    return words, "dataset-labels", ["sample 1 lacks a label"]


def preprocessing_for_no_input_in_particular(here: Path) -> Any:
    words = _settings(here, "preprocess: {scale: 0.5}")
    return words, "preprocess-which-input", ["has 2 inputs", "preprocess: {one: {...}}"]


def preprocessing_for_an_input_that_is_not_there(here: Path) -> Any:
    words = _settings(here, "preprocess: {othr: {scale: 0.5}}")
    return words, "preprocess-unknown-input", ["'othr'", "did you mean 'other'?"]


def a_misspelt_step_of_one_input(here: Path) -> Any:
    words = _settings(here, "preprocess: {other: {scal: 0.5}}")
    return words, "invalid-project", ["preprocess.other.scal: unknown key 'scal'; did you mean 'scale'?"]


def a_mean_for_other_channels(here: Path) -> Any:
    words = _settings(here, "recipes: [fp32]\npreprocess: {other: {mean: [1, 2]}}")
    return words, "preprocess-channels", ["2 values", "4 channels"]


def integers_without_samples(here: Path) -> Any:
    return ["--target", "coral"], "calibration-missing", ["--calibration DATA.npz"]


CASES: list[Case] = [
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith(("_", "test"))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_wrong_input_names_the_inputs(case: Case, tiny: Path, edgeship: Any, tmp_path: Path) -> None:
    words, reference, parts = case(tmp_path)
    target = [] if "--target" in words else ["--target", "host"]
    said = edgeship("build", tiny / "sum.tflite", *target, *words)
    text = said.err[said.err.index("error: ") :]
    assert text.startswith(f"error: {reference}\n"), said.err
    for part in parts:
        assert part in text, text
    assert "Traceback" not in said.err + said.out
    assert (said.status, said.out) == (2, "")


# --- a camera and a number, all the way


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of a camera and a speed (drive.keras), the same samples as a table of images (table/), as
    .npz and as a folder of .npy files."""
    folder = tmp_path_factory.mktemp("drive")
    make = """
import keras, numpy
from keras import layers
keras.utils.set_random_seed(7)
camera, speed = keras.Input((24, 24, 3), name="camera"), keras.Input((1,), name="speed")
seen = layers.Conv2D(8, 3, strides=2, activation="relu")(camera)
seen = layers.GlobalAveragePooling2D()(seen)
felt = layers.Dense(4, activation="relu")(speed)
both = layers.Concatenate()([seen, felt])
model = keras.Model([camera, speed], layers.Dense(3, name="steer")(both))
model.save("drive.keras")
data = numpy.load("data.npz")
steer = model.predict([data["camera"] / numpy.float32(255), data["speed"] / numpy.float32(120)], verbose=0)
numpy.savez("answers.npz", steer=steer)
"""
    source = np.random.default_rng(11)
    pictures = source.integers(0, 256, (60, 6, 6, 3)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    speeds = np.round(source.uniform(0, 120, (60, 1)), 1).astype(np.float32)
    labels = np.arange(60) % 3
    (folder / "table" / "images").mkdir(parents=True)
    with (folder / "table" / "samples.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["camera", "speed", "label"])
        for number, (picture, speed, label) in enumerate(zip(pictures, speeds, labels, strict=True)):
            name = f"images/{number:02}.png"
            Image.fromarray(picture).save(folder / "table" / name)
            table.writerow([name, f"{speed[0]:.1f}", label])
    np.savez(folder / "data.npz", speed=speeds, camera=pictures, y=labels)
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", make], cwd=folder, env=environment, check=True, capture_output=True)
    (folder / "arrays").mkdir()
    for name, values in (("camera", pictures), ("speed", speeds), ("y", labels)):
        np.save(folder / "arrays" / f"{name}.npy", values)
    (folder / "edgeship.yaml").write_text(
        "app: drive\npreprocess: {camera: {scale: 1/255}, speed: {scale: 1/120}}\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_camera_and_a_number_on_every_kind_of_target(
    drive: Path, edgeship: Any, valid: Any, tmp_path: Path
) -> None:
    model, config = drive / "drive.keras", ["-c", drive / "edgeship.yaml"]
    for target in ("coral", "ethos-u55-128"):
        said = edgeship("check", model, "-t", target)
        assert said.status == 0 and "pass" in said.out, said
    targets = [
        "-t",
        "host",
        "-t",
        "raspberry-pi-5",
        "-t",
        "coral",
        "-t",
        "ethos-u55-128",
        "--allow-uncompiled",
    ]
    data = [CALIBRATION, drive / "table", "--eval", drive / "data.npz"]
    said = edgeship("build", model, *config, *targets, "--recipe", "int8", *data, "-o", "out", "--json")
    assert said.status == 0, said.err
    valid("build", said.document())
    for target in said.document()["targets"]:
        (variant,) = [v for v in target["variants"] if v["recipe"].startswith("static_wi8_ai8")][:1]
        assert variant["agreement"]["cosine"] > 0.99 and variant["agreement"]["argmax"] > 0.9, target[
            "target"
        ]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    deployed = edgeship(
        "deploy", model, *config, "-t", "host", "--recipe", "int8", CALIBRATION, drive / "arrays",
        "--host", "local:device", "--listen", listen, "--json",
    )  # fmt: skip
    try:
        assert deployed.status == 0, deployed.err
        _asked(drive, tmp_path / "device", deployed.document()["serving"])
    finally:
        edgeship("remove", "--host", "local:device", "--yes")


def _asked(drive: Path, device: Path, serving: str) -> None:
    """Ask the service as a client would, and as the README says; the answer is that of the Keras model."""
    service = json.loads(next(device.rglob("service.json")).read_text())
    sent = service["variants"][0]["inputs"]
    assert [(i["name"], i["datatype"], i["shape"]) for i in sent] == [
        ("camera", "UINT8", [1, 24, 24, 3]), ("speed", "FP32", [1, 1]),
    ]  # fmt: skip
    assert [i["preprocess"]["scale"] for i in sent] == pytest.approx([1 / 255, 1 / 120])
    with np.load(drive / "data.npz") as held, np.load(drive / "answers.npz") as answers:
        for number in (0, 5, 59):
            values = {"speed": held["speed"][number], "camera": held["camera"][number]}
            inputs = [
                {
                    **{k: i[k] for k in ("name", "datatype", "shape")},
                    "data": values[i["name"]].ravel().tolist(),
                }
                for i in reversed(sent)
            ]
            body = json.dumps({"inputs": inputs}).encode()
            with urllib.request.urlopen(f"{serving}/v2/models/drive/infer", body) as answer:
                (output,) = json.load(answer)["outputs"]
            span = float(np.ptp(answers["steer"]))
            assert output["name"] == "steer"
            assert np.allclose(output["data"], answers["steer"][number], atol=0.05 * span)
    lines = next(device.rglob("README.txt")).read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("  python3 -c"))
    asked = subprocess.run(
        ["bash", "-c", "\n".join(lines[start : start + 2])], capture_output=True, text=True, check=True
    )
    assert json.loads(asked.stdout)["outputs"][0]["name"] == "steer", (lines, asked)
