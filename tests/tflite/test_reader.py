"""The `.tflite` reader: what it tells, and that nothing in a damaged file makes it fail in another way."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeship.errors import InputError
from edgeship.tflite.flat import Corrupt, parse
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Precision, Quantization


def test_reads_a_float_model(dense_float: Path) -> None:
    file = read_tflite(dense_float)
    assert (file.version, file.description, file.size) == (3, "built by a test", dense_float.stat().st_size)
    assert [(t.name, t.shape, t.dtype, t.has_data) for t in file.main.tensors] == [
        ("x", (1, 4), "float32", False),
        ("w", (3, 4), "float32", True),
        ("b", (3,), "float32", True),
        ("y", (1, 3), "float32", False),
    ]
    operator = file.main.operators[0]
    assert (operator.op, operator.version, operator.inputs, operator.outputs) == (
        "FULLY_CONNECTED",
        1,
        (0, 1, 2),
        (3,),
    )
    assert operator.options["fused_activation"] == "RELU"
    assert operator.options["keep_num_dims"] is False
    assert struct.unpack("<3f", file.tensor_bytes(2)) == (1.0, 2.0, 3.0)
    assert file.tensor_bytes(0) == b""
    assert file.signature.inputs[0].name == "x"


def test_reads_quantization(dense_int8: Path) -> None:
    file = read_tflite(dense_int8)
    assert file.signature.inputs[0].quantization == Quantization(scales=(0.5,), zero_points=(0,), axis=None)
    assert precision_of(file) == Precision(weights="int8", activations="int8", io="int8")


def test_open_batch_shows_in_the_signature(make_dense: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "open.tflite"
    path.write_bytes(make_dense(batch=[-1]))
    assert read_tflite(path).signature.inputs[0].shape == (-1, 4)


def test_reads_options_versions_and_signature_of_a_real_file(shared_data: Path) -> None:
    started = time.process_time()
    file = read_tflite(shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite")
    assert time.process_time() - started < 0.3
    first = file.main.operators[0]
    assert first.op == "CONV_2D"
    assert {k: first.options[k] for k in ("padding", "stride_h", "stride_w", "fused_activation")} == {
        "padding": "SAME",
        "stride_h": 2,
        "stride_w": 2,
        "fused_activation": "RELU6",
    }
    assert [o.op for o in file.main.operators].count("DEPTHWISE_CONV_2D") == 13
    weights = file.main.tensors[first.inputs[1]]
    assert len(file.tensor_bytes(weights.index)) == weights.elements
    assert file.min_runtime_version == "1.5.0"
    compiled = read_tflite(shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    (custom,) = compiled.main.operators
    assert (custom.op, custom.custom) == ("edgetpu-custom-op", True)
    assert len(compiled.custom_options(custom)) > 100_000


def test_importing_the_reader_loads_neither_numpy_nor_tensorflow() -> None:
    code = (
        "import sys, edgeship.model, edgeship.tflite.reader, edgeship.model.source\n"
        "assert not {'numpy', 'tensorflow', 'flatbuffers'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("these are notes")
    with pytest.raises(InputError) as caught:
        read_tflite(path)
    assert caught.value.render() == (
        "error: model-not-tflite\n"
        "  the file does not carry the TFLite identifier TFL3 at byte 4\n"
        f"  file:        {path}\n"
        "  starts with: b'these ar'\n"
        f"hint: edgeship inspect {path}"
    )


def test_a_truncated_file_is_refused(dense_float: Path) -> None:
    dense_float.write_bytes(dense_float.read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        read_tflite(dense_float)
    text = caught.value.render()
    assert text.startswith("error: model-corrupt\n  the .tflite file is damaged or cut short: ")
    assert "bytes: 200" in text


def test_too_little_weight_data_is_named(builder: Any, tmp_path: Path) -> None:
    w = builder.tensor("w", [100], "FLOAT32", data=bytes(16))
    path = tmp_path / "short.tflite"
    path.write_bytes(builder.build([w], [w]))
    with pytest.raises(InputError, match=r"tensor 0 \(w\) needs 400 bytes of data and has 16"):
        read_tflite(path)


def _parses_or_says_why(content: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(Corrupt):
        parse(Path("x.tflite"), content, "")
    assert time.process_time() - started < 2.0


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_bit_flips_and_cuts_never_fail_otherwise(sample: bytes, data: st.DataObject) -> None:
    content = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    _parses_or_says_why(bytes(content[: data.draw(st.integers(8, len(content)))]))


def test_every_truncation_is_caught_or_parses(shared_data: Path) -> None:
    content = (shared_data / "coral" / "keras_lstm_mnist_ptq.tflite").read_bytes()
    for end in range(8, len(content), 37):
        _parses_or_says_why(content[:end])


def test_huge_lengths_anywhere_are_refused_at_once(sample: bytes) -> None:
    huge = struct.pack("<I", 0x3FFFFFFF)
    for position in range(8, len(sample) - 4, 4):
        damaged = bytearray(sample)
        damaged[position : position + 4] = huge
        _parses_or_says_why(bytes(damaged))
