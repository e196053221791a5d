"""Metadata: written, read in pure Python, and the model behind it untouched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.progress import Silent
from edgeship.tflite.attach import with_metadata, without_files
from edgeship.tflite.metadata import read_metadata, write_all_metadata, write_metadata
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import run_worker
from edgeship.values import InputMetadata, ModelMetadata, Preprocess, Resize

METADATA = ModelMetadata(
    name="spotter",
    description="hears words",
    version="7",
    author="A. Person",
    licence="Apache-2.0",
    labels=("down", "go", "left"),
    inputs=(
        InputMetadata(
            preprocess=Preprocess(scale=1 / 255, mean=(0.5,), std=(0.25,)), minimum=0.0, maximum=255.0
        ),
    ),
)


def _outputs(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    made = []
    for seed in range(3):
        values = np.random.default_rng(seed).integers(-100, 100, entry["shape"])
        interpreter.set_tensor(entry["index"], values.astype(entry["dtype"]))
        interpreter.invoke()
        made.append(interpreter.get_tensor(result["index"]))
    return np.stack(made)


def test_what_was_written_is_read_back(dense_int8: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    write_metadata(dense_int8, out, METADATA, progress=Silent())
    found = read_metadata(out)
    assert found is not None
    assert {
        k: found[k] for k in ("name", "description", "version", "author", "licence", "labels", "files")
    } == {
        "name": "spotter",
        "description": "hears words",
        "version": "7",
        "author": "A. Person",
        "licence": "Apache-2.0",
        "labels": ["down", "go", "left"],
        "files": ["labels.txt"],
    }
    (entry,) = found["inputs"]
    assert entry["name"] == "x"
    assert entry["normalisation"] == {
        "mean": [127.5],
        "std": [63.75],
    }  # (x - 127.5) / 63.75, TFLite's convention
    assert (entry["minimum"], entry["maximum"]) == ([0.0], [255.0])
    assert np.array_equal(_outputs(dense_int8), _outputs(out))


@pytest.mark.support
def test_tflite_supports_own_displayer_reads_it(dense_float: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    write_metadata(dense_float, out, METADATA, progress=Silent())
    shown = run_worker("edgeship.tflite.metadata_worker:display", {"path": str(out)}).value
    document = json.loads(shown["json"])
    assert (document["name"], document["license"], document["author"]) == (
        "spotter",
        "Apache-2.0",
        "A. Person",
    )
    (output,) = document["subgraph_metadata"][0]["output_tensor_metadata"]
    assert output["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert shown["files"] == {"labels.txt": "down\ngo\nleft\n"}


def test_the_same_bytes_at_another_time(dense_int8: Path, tmp_path: Path) -> None:
    write_metadata(dense_int8, tmp_path / "a.tflite", METADATA, progress=Silent())
    time.sleep(2.1)  # zip archives keep times in steps of two seconds
    (tmp_path / "elsewhere").mkdir()
    write_metadata(dense_int8, tmp_path / "elsewhere" / "b.tflite", METADATA, progress=Silent())
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "elsewhere" / "b.tflite").read_bytes()


def test_every_byte_of_the_model_stays_where_it_was(dense_int8: Path) -> None:
    model = dense_int8.read_bytes()
    packed = with_metadata(model, b"\0" * 40, {"labels.txt": b"a\n"})
    bare = without_files(packed)
    assert bare.endswith(model)
    assert (len(bare) - len(model)) % 64 == 0


def test_older_metadata_is_replaced(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite"
    before = read_metadata(source)
    assert before is not None
    assert before["labels"][1] == "tench, Tinca tinca"
    out = tmp_path / "out.tflite"
    image = ModelMetadata(
        name="mine", inputs=(InputMetadata(preprocess=Preprocess(resize=Resize(height=128, width=128))),)
    )
    write_metadata(source, out, image, progress=Silent())
    after = read_metadata(out)
    assert after is not None
    assert (after["name"], after["labels"], after["files"]) == ("mine", [], [])
    held = read_tflite(out)
    assert [name for name, _ in held.metadata].count("TFLITE_METADATA") == 1
    old = read_tflite(source)
    assert [(o.op, o.version, o.options) for o in held.main.operators] == [
        (o.op, o.version, o.options) for o in old.main.operators
    ]
    assert held.min_runtime_version == old.min_runtime_version
    assert np.array_equal(_outputs(source), _outputs(out))


def test_labels_that_fit_no_output(dense_float: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_metadata(
            dense_float, tmp_path / "o.tflite", ModelMetadata(name="m", labels=("a", "b")), progress=Silent()
        )
    assert caught.value.render() == (
        "error: labels-count\n"
        "  there are 2 labels, and no output of the model has as many values\n"
        "  model:   dense.tflite\n"
        "  outputs: y [1, 3]\n"
        "hint: give one label for each value of the output's last axis"
    )
    assert not (tmp_path / "o.tflite").exists()


def test_several_files_in_one_worker(dense_float: Path, dense_int8: Path, tmp_path: Path, notes: Any) -> None:
    pairs = [(dense_float, tmp_path / "f.tflite"), (dense_int8, tmp_path / "i.tflite")]
    write_all_metadata(pairs, METADATA, progress=notes)
    assert notes.steps == ["writing metadata into 2 model files"]
    assert [read_metadata(out)["name"] for _, out in pairs] == ["spotter", "spotter"]  # type: ignore[index]


def test_no_metadata_and_damaged_metadata(make_dense: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(make_dense())
    assert read_metadata(path) is None
    path.write_bytes(with_metadata(make_dense(), b"\xff" * 40, {}))
    assert read_metadata(path) == {"unreadable": "the TFLITE_METADATA entry is damaged (error)"}
