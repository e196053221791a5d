"""Open sizes that the user says: matched with inputs, put into a `.tflite`, computed through to the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.model.closing import closed_sizes, open_hint
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.project.shapes import closed_shapes
from edgeship.tflite.reader import read_tflite

PICTURE = {"picture": [None, None, None, 3]}
TWO = {"ids": [None, None], "feats": [None, None, 4]}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (("1,224,224,3",), (("", (1, 224, 224, 3)),)),
        (("picture=1,224,224,3",), (("picture", (1, 224, 224, 3)),)),
        (("a=1,5", "b=1, 7, 4"), (("a", (1, 5)), ("b", (1, 7, 4)))),
        (("a=b=[1,5]",), (("a=b", (1, 5)),)),
        ([1, 64, 64, 3], (("", (1, 64, 64, 3)),)),
        ({"a": [1, 5], "b": "1,7"}, (("a", (1, 5)), ("b", (1, 7)))),
        ("1,8", (("", (1, 8)),)),
        (None, ()),
        ((), ()),
    ],
)
def test_sizes_are_read_as_people_write_them(written: Any, meant: Any) -> None:
    assert closed_shapes(written) == meant


@pytest.mark.parametrize(
    "written",
    [("1,a",), ("1,0",), ("1,-1,3",), ("1,2.5",), ("",), ("1,2", "1,3"), ("a=1", "a=2"), [1.5], [True, 2], 7],
)
def test_sizes_that_are_none(written: Any) -> None:
    with pytest.raises(ValueError, match="batch first"):
        closed_shapes(written)


def test_sizes_are_matched_with_inputs() -> None:
    assert closed_sizes({"": [1, 8, 8, 3]}, PICTURE, "m") == {"picture": [1, 8, 8, 3]}
    assert closed_sizes({"x": [1, 2]}, {"serving_default_x:0": [None, 2]}, "m") == {
        "serving_default_x:0": [1, 2]
    }
    assert closed_sizes({"feats": [1, 7, 4]}, TWO, "m") == {"feats": [1, 7, 4]}
    assert closed_sizes({"": [2, 3]}, {"x": None}, "m") == {"x": [2, 3]}


@pytest.mark.parametrize(
    ("said", "declared", "words", "hint"),
    [
        (
            {"": [8, 8, 3]},
            PICTURE,
            "cannot be [8, 8, 3]: the model says [open, open, open, 3]",
            "--input-shape 1,8,8,3",
        ),
        ({"": [1, 8, 8, 1]}, PICTURE, "cannot be [1, 8, 8, 1]", "--input-shape 1,8,8,3"),
        ({"": [1, 5]}, TWO, "2 inputs: which one?", "--input-shape ids=1,128 --input-shape feats=1,128,4"),
        ({"feat": [1, 5, 4]}, TWO, "no input 'feat'", "--input-shape feats=1,128,4"),
        ({"": [1, 9]}, {"x": [1, 8]}, "the model says [1, 8]", "leave --input-shape out"),
    ],
)
def test_sizes_that_do_not_fit(said: Any, declared: Any, words: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        closed_sizes(said, declared, "m")
    assert words in caught.value.message
    assert hint in str(caught.value.hint)


def test_the_hint_is_what_one_types() -> None:
    assert open_hint(PICTURE).endswith("  --input-shape 1,224,224,3")
    assert open_hint({"x": [1, 4], "other one": [None, None]}).endswith("  --input-shape other_one=1,128")


@pytest.fixture
def open_file(builder: Any, tmp_path: Path) -> Path:
    """A convolution over pictures of any size, and their mean."""
    x = builder.tensor("picture", [1, 1, 1, 3], signature=[-1, -1, -1, 3])
    y = builder.tensor("y", [1, 1, 1, 3], signature=[-1, -1, -1, 3])
    builder.op("RELU", [x], [y])
    path = tmp_path / "open.tflite"
    path.write_bytes(builder.build([x], [y]))
    return path


def test_a_tflite_is_closed_to_the_end(open_file: Path, tmp_path: Path) -> None:
    source = open_model(open_file, (("", (1, 6, 4, 3)),))
    model = to_float_tflite(source, tmp_path / "work", progress=Silent())
    assert [spec.shape for spec in model.signature.inputs] == [(1, 6, 4, 3)]
    assert [spec.shape for spec in model.signature.outputs] == [(1, 6, 4, 3)]
    assert not any(t.is_dynamic for t in read_tflite(model.path).main.tensors)
    from ai_edge_litert.interpreter import Interpreter

    sample = np.linspace(-1, 1, 72, dtype="float32").reshape(1, 6, 4, 3)
    interpreter = Interpreter(str(model.path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.array_equal(found, np.maximum(sample, 0))
    other = to_float_tflite(
        open_model(open_file, (("", (1, 2, 2, 3)),)), tmp_path / "work", progress=Silent()
    )
    assert other.signature.inputs[0].shape == (1, 2, 2, 3), "sizes are part of what the cache goes by"


def test_a_size_that_values_decide_is_no_batch(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [4], dtype="BOOL")
    y = builder.tensor("where", [1, 1], dtype="INT64", signature=[-1, 1])
    builder.op("WHERE", [x], [y])
    path = tmp_path / "where.tflite"
    path.write_bytes(builder.build([x], [y]))
    with pytest.raises(InputError) as caught:
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert caught.value.reference == "model-dynamic-shape"
    assert "end the model before operation 0 (WHERE)" in str(caught.value.hint)


def test_open_sizes_of_tensorflows_own_operations_are_told_as_what_they_are(
    builder: Any, tmp_path: Path
) -> None:
    """No sizes help here: the runtime cannot work them out, and no device could run it then."""
    x, y = builder.tensor("x", [1, 4], signature=[-1, 4]), builder.tensor("y", [1, 1], signature=[-1, -1])
    builder.op("CUSTOM", [x], [y], custom="FlexErf")
    path = tmp_path / "m.tflite"
    path.write_bytes(builder.build([x], [y]))
    for shapes in ((), (("", (1, 4)),)):
        with pytest.raises(InputError) as caught:
            to_float_tflite(open_model(path, shapes), tmp_path / "work", progress=Silent())
        assert caught.value.reference == "unsupported-operation" and "FlexErf" in caught.value.message
