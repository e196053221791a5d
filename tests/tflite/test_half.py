"""Weights in half precision become float32 constants where they are to be changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.flat import parse
from edgeship.tflite.half import widened
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.weights import layers_of
from edgeship.values import FloatModel, ModelSource

WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float16)


def halved(builder: Any, *, data: Any = WEIGHTS, kind: str = "FLOAT16", shown: bool = False) -> bytes:
    """Return two dense layers [1, 4] -> [1, 3] of one weight in half precision, the second with a DEQUANTIZE of its
    own; the first one's weight is an output where it is `shown`."""
    x = builder.tensor("x", [1, 4])
    scales = None if kind == "FLOAT16" else [0.5]
    stored = builder.tensor("stored", [3, 4], kind, data=data.tobytes(), scales=scales)
    bias = builder.tensor("bias", [3], "FLOAT16", data=np.float16([0.1, 0.2, 0.3]).tobytes())
    wide = [builder.tensor(f"wide_{n}", [3, 4]) for n in (0, 1)]
    behind = builder.tensor("bias_wide", [3])
    y = [builder.tensor(f"y_{n}", [1, 3]) for n in (0, 1)]
    for index in wide:
        builder.op("DEQUANTIZE", [stored], [index])
    builder.op("DEQUANTIZE", [bias], [behind])
    for index, out in zip(wide, y, strict=True):
        builder.op("FULLY_CONNECTED", [x, index, behind], [out], builder.schema.FullyConnectedOptionsT())
    return bytes(builder.build([x], [*y, wide[0]] if shown else y))


def test_they_are_float32_constants_of_the_same_numbers(builder: Any, run: Any) -> None:
    content = halved(builder)
    wide, count = widened(content)
    before, after = (parse(Path("m.tflite"), held, "") for held in (content, wide))
    assert count == 3 and [op.op for op in after.main.operators] == ["FULLY_CONNECTED"] * 2
    assert precision_of(before).weights == "float16" and is_float(precision_of(after))
    assert len(layers_of(after.main)) == 2 and not layers_of(before.main)
    assert {t.dtype for t in after.main.tensors} == {"float32"}
    first, second = (after.main.tensors[layer.weight].buffer for layer in layers_of(after.main))
    assert first == second, "what was stored once is stored once"
    x = np.array([[1.0, -2.5, 3.0, 7.5]], np.float32)
    assert np.array_equal(run(wide, x), run(content, x))
    assert widened(wide) == (wide, 0)


def test_a_weight_that_is_an_output_leaves_the_file_as_it_is(builder: Any) -> None:
    content = halved(builder, shown=True)
    assert widened(content) == (content, 0)


def test_a_file_that_is_quantized_otherwise_keeps_its_bytes(builder: Any) -> None:
    content = halved(builder, data=np.arange(12, dtype=np.int8), kind="INT8")
    assert precision_of(parse(Path("m.tflite"), content, "")).weights == "int8"
    assert widened(content) == (content, 0)


def test_only_who_changes_weights_reads_them_so(builder: Any, tmp_path: Path) -> None:
    def made(source: ModelSource) -> FloatModel:
        return to_float_tflite(source, tmp_path / "work", progress=Silent())

    path = tmp_path / "half.tflite"
    path.write_bytes(halved(builder))
    source = open_model(path)
    wide = replace(source, widened=True)
    assert not made(source).is_float and made(wide).is_float
    assert not made(source).is_float, "the two are kept apart"
    assert made(wide).source.sha256 == source.sha256
