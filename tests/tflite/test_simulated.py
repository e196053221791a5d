"""Fake quantization goes out of a float model; the ranges that training found stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.flat import parse
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.refit import unpacked
from edgeship.tflite.simulated import float_form, trained_ranges, without_simulation


def rounded(builder: Any, source: int, name: str, scale: float, shape: list[int]) -> int:
    """Add QUANTIZE and DEQUANTIZE behind a tensor, return what comes out."""
    held = builder.tensor(f"{name}_int8", shape, "INT8", scales=[scale])
    behind = builder.tensor(name, shape)
    builder.op("QUANTIZE", [source], [held])
    builder.op("DEQUANTIZE", [held], [behind])
    return int(behind)


def trained(builder: Any, *, at_the_end: bool) -> bytes:
    """Return x * weights and its ABS, every one of the three rounded as training for int8 does."""
    shape = [1, 4]
    x, made, y = (builder.tensor(name, shape) for name in ("x", "made", "y"))
    weights = builder.tensor("weights", shape, data=np.linspace(-1, 1, 4, dtype="float32").tobytes())
    builder.op(
        "MUL",
        [rounded(builder, x, "xq", 0.5, shape), rounded(builder, weights, "wq", 1 / 127, shape)],
        [made],
        builder.schema.MulOptionsT(),
    )
    builder.op("ABS", [rounded(builder, made, "mq", 0.25, shape)], [y])
    return bytes(builder.build([x], [rounded(builder, y, "yq", 0.25, shape) if at_the_end else y]))


@pytest.mark.parametrize("at_the_end", [False, True])
def test_what_is_rounded_becomes_float_and_keeps_its_range(builder: Any, at_the_end: bool, run: Any) -> None:
    content = trained(builder, at_the_end=at_the_end)
    made, count = without_simulation(content)
    file = parse(Path("m.tflite"), made, "")
    assert [op.op for op in file.main.operators] == ["MUL", "ABS"]
    assert is_float(precision_of(file)) and not is_float(precision_of(parse(Path("m.tflite"), content, "")))
    ranges = {"x": (-64.0, 63.5), "made": (-32.0, 31.75)} | ({"yq": (-32.0, 31.75)} if at_the_end else {})
    assert trained_ranges(unpacked(made)[0]) == ranges and count == len(ranges)
    x = np.array([[1.0, -2.5, 3.0, 7.5]], np.float32)
    assert np.abs(run(made, x) - run(content, x)).max() <= 0.25


def test_a_model_without_it_keeps_its_bytes(make_dense: Any) -> None:
    content = make_dense()
    assert without_simulation(content) == float_form(content) == (content, 0)
    assert trained_ranges(unpacked(content)[0]) == {}


def test_integers_that_something_reads_stay(builder: Any) -> None:
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    held, moved = (builder.tensor(name, [1, 4], "INT8", scales=[0.5]) for name in ("held", "moved"))
    builder.op("QUANTIZE", [x], [held])
    builder.op("RELU", [held], [moved])
    builder.op("DEQUANTIZE", [moved], [y])
    content = builder.build([x], [y])
    assert without_simulation(content) == (content, 0)


def test_a_file_that_computes_in_integers_besides_keeps_its_bytes(builder: Any) -> None:
    """It came quantized: what it rounds is its own affair."""
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    held, moved = (builder.tensor(name, [1, 4], "INT8", scales=[0.5]) for name in ("held", "moved"))
    builder.op("QUANTIZE", [rounded(builder, x, "xq", 0.5, [1, 4])], [held])
    builder.op("RELU", [held], [moved])
    builder.op("DEQUANTIZE", [moved], [y])
    content = builder.build([x], [y])
    assert without_simulation(content)[1] == 1 and float_form(content) == (content, 0)
