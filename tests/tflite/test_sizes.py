"""Sizes that are open inside a model only because its batch was: written down as the runtime finds them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def computed(builder: Any, *, from_values: bool) -> bytes:
    """Return what the converter makes of Keras 3's `ops.repeat(x, 2, axis=1)` with an open batch: the shape of x is
    asked for, twice its height is put in, and all behind it is open. `from_values` takes the height from an input.
    """
    schema = builder.schema
    x = builder.tensor("x", [1, 3, 4], signature=[-1, 3, 4])
    height = builder.tensor("height", [1], "INT32")
    shape, batch = builder.tensor("shape", [3], "INT32"), builder.tensor("batch", [1], "INT32")
    wanted = builder.tensor("wanted", [3], "INT32")
    wide = builder.tensor("wide", [1, 3, 1, 4], signature=[-1, 3, 1, 4])
    tiled = builder.tensor("tiled", [1, 3, 2, 4], signature=[-1, 3, 2, 4])
    y = builder.tensor("y", [1, 1, 4], signature=[-1, -1, 4])
    z = builder.tensor("z", [1, 1, 4], signature=[-1, -1, 4])
    axis = builder.tensor("axis", [1], "INT32", data=ints(2))
    times = builder.tensor("times", [4], "INT32", data=ints(1, 1, 2, 1))
    zero, one = (builder.tensor(n, [1], "INT32", data=ints(v)) for n, v in (("zero", 0), ("one", 1)))
    six, four = (builder.tensor(n, [1], "INT32", data=ints(v)) for n, v in (("six", 6), ("four", 4)))
    asked = schema.ShapeOptionsT()
    asked.outType = schema.TensorType.INT32
    builder.op("EXPAND_DIMS", [x, axis], [wide])
    builder.op("TILE", [wide, times], [tiled])
    builder.op("SHAPE", [x], [shape], asked)
    builder.op("STRIDED_SLICE", [shape, zero, one, one], [batch], schema.StridedSliceOptionsT())
    builder.op(
        "CONCATENATION",
        [batch, height if from_values else six, four],
        [wanted],
        schema.ConcatenationOptionsT(),
    )
    builder.op("RESHAPE", [tiled, wanted], [y])
    builder.op("ABS", [y], [z])
    return bytes(builder.build([x, height] if from_values else [x], [z]))


def test_sizes_that_follow_from_the_inputs_are_closed(builder: Any, tmp_path: Path) -> None:
    path = tmp_path / "open.tflite"
    path.write_bytes(computed(builder, from_values=False))
    model = to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    file = read_tflite(model.path)
    assert [op.op for op in file.main.operators] == [
        "EXPAND_DIMS", "RESIZE_NEAREST_NEIGHBOR", "RESHAPE", "ABS",
    ]  # fmt: skip
    assert not any(t.is_dynamic for t in file.main.tensors)
    assert model.signature.outputs[0].shape == (1, 6, 4)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model.path))
    interpreter.allocate_tensors()
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.array_equal(found, np.repeat(x, 2, axis=1))


def test_a_size_that_values_decide_stays_open(builder: Any, tmp_path: Path) -> None:
    path = tmp_path / "values.tflite"
    path.write_bytes(computed(builder, from_values=True))
    with pytest.raises(InputError, match="is only known when the model runs"):
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
