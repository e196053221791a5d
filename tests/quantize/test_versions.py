"""Operator versions: what types ask for, and what runtimes have."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeship.quantize import versions
from edgeship.quantize.versions import (
    UNKNOWN,
    equivalent_release,
    needed_version,
    oldest_release,
    per_channel_dense,
    release,
    supports,
)


@pytest.mark.parametrize(
    ("engine", "version", "expected"),
    [
        ("tflite_runtime", "2.5.0.post1", "2.5.0"),
        ("tflite_runtime", "2.14.0", "2.14.0"),
        ("litert", "2.3.0", "2.23"),
        ("litert", "2.1.0", "2.20"),
        ("litert", "1.0.1", "2.17"),
        ("litert", "9.0", UNKNOWN),
        ("other", "1.0", UNKNOWN),
    ],
)
def test_equivalent_release(engine: str, version: str, expected: str) -> None:
    assert equivalent_release(engine, version) == expected


def test_the_runtime_here_is_credited_with_what_it_has(tflite_files: ModuleType) -> None:
    """Else what runs would be refused: an int8 SQRT of TensorFlow 2.21 runs in LiteRT 2.3."""
    has = equivalent_release("litert", version("ai-edge-litert"))
    facts = json.loads(Path(versions.__file__).with_name("operators.json").read_text())
    known = [(op, n) for op, since in facts["since"].items() for n, at in enumerate(since, start=1) if at]
    told = {(op, n) for op, n in known if supports(has, op, n).verdict == "yes"}
    found = {(op, n) for op, n in known if opens(tflite_files.Builder(), op, n)}
    assert told == found


def opens(builder: Any, op: str, number: int) -> bool:
    """Return whether LiteRT finds the operator in that version; whether its tensors fit is asked later."""
    from ai_edge_litert.interpreter import Interpreter

    builder.op(op, [builder.tensor("a", [1])], [builder.tensor("b", [1])])
    builder.codes[0].version = number
    try:
        Interpreter(model_content=builder.build([0], [1]))
    except (RuntimeError, ValueError) as error:
        return "Didn't find op" not in str(error)
    return True


def test_releases_compare_by_number() -> None:
    assert release("2.14.0") > release("2.5.0.post1")


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "per_channel", "expected"),
    [
        ("CONV_2D", ["float32", "float32", "float32"], ["float32"], False, 1),
        ("CONV_2D", ["int8", "int8", "int32"], ["int8"], True, 3),
        ("CONV_2D", ["float32", "int8", "float32"], ["float32"], True, 5),
        ("CONV_2D", ["float32", "int8", "float32"], ["float32"], False, 2),
        ("FULLY_CONNECTED", ["float32", "int8", None], ["float32"], True, 12),
        ("FULLY_CONNECTED", ["float32", "int8", None], ["float32"], False, 3),
        ("DEQUANTIZE", ["int4"], ["float32"], True, 6),
        ("DEQUANTIZE", ["int8"], ["float32"], True, 5),
        ("DEQUANTIZE", ["float16"], ["float32"], False, 3),
        ("SPLIT", ["int32", "int8"], ["int8"], False, 2),
        ("QUANTIZE", ["float32"], ["int16"], False, 2),
        ("SOFTMAX", ["int16"], ["int16"], False, 3),
        ("NEVER_HEARD_OF", ["int8"], ["int8"], False, 1),
    ],
)
def test_needed_version(
    op: str, inputs: list[str | None], outputs: list[str | None], per_channel: bool, expected: int
) -> None:
    assert needed_version(op, inputs, outputs, per_channel=per_channel) == expected


def test_supports() -> None:
    assert supports("2.5.0", "CONV_2D", 3).verdict == "yes"
    assert supports("2.5.0", "CONV_2D", 6).since == "2.9"
    assert supports("2.5.0", "CONV_2D", 6).verdict == "no"
    assert supports("2.5.0", "CONV_2D", 99).verdict == "unknown"
    assert supports("2.20", "NEVER_HEARD_OF", 1).verdict == "unknown"
    assert supports(UNKNOWN, "CONV_2D", 1).verdict == "unknown"
    assert supports("2.11.0", "CONV_2D", 7).verdict == "yes"


def test_dense_layers_with_a_scale_per_channel_need_a_runtime_that_computes_them() -> None:
    assert not per_channel_dense("dynamic", "2.14.0")
    assert per_channel_dense("dynamic", "2.17")
    assert per_channel_dense("static", "2.14.0")
    assert not per_channel_dense("static", "2.5.0")
    assert not per_channel_dense("static", UNKNOWN)
    assert per_channel_dense("weights", "2.5.0")


def test_oldest_release() -> None:
    assert oldest_release([("CONV_2D", 3), ("FULLY_CONNECTED", 12)]) == "2.17.0"
    assert oldest_release([("NEVER_HEARD_OF", 1)]) is None
    assert oldest_release([]) is None
