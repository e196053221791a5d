"""Inspection: precision that tensors really hold, costs by formula, and findings."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.model.inspect import inspect_model
from edgeship.tflite.cost import macs, parameters
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.findings import find_problems
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Precision


def _file(path: Path, content: bytes) -> TfliteFile:
    path.write_bytes(content)
    return read_tflite(path)


def _dense(builder: Any, x: int, w: int, y: int, b: int = -1) -> None:
    builder.op("FULLY_CONNECTED", [x, w, b], [y], builder.schema.FullyConnectedOptionsT())


def test_dense_by_hand(dense_float: Path) -> None:
    found = inspect_model(dense_float)
    assert (found.kind, found.macs, found.operations) == ("tflite", 12, {"FULLY_CONNECTED": 1})
    assert (found.parameters.count, found.parameters.bytes) == (15, 60)
    assert found.precision == Precision(weights="float32", activations="float32", io="float32")
    assert (found.bytes, found.converted, found.warnings, found.metadata) == (
        dense_float.stat().st_size,
        False,
        (),
        None,
    )
    (row,) = found.operation_list
    assert (row.input_shape, row.output_shape, row.weights_dtype, row.fused_activation) == (
        (1, 4),
        (1, 3),
        "float32",
        "RELU",
    )


def test_convolution_macs_by_hand(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [1, 8, 8, 3])
    w = builder.tensor("w", [5, 3, 3, 3], data=bytes(4 * 135))
    c = builder.tensor("c", [1, 4, 4, 5])
    builder.op("CONV_2D", [x, w, -1], [c], builder.schema.Conv2DOptionsT())
    d = builder.tensor("d", [1, 3, 3, 5], data=bytes(4 * 45))
    y = builder.tensor("y", [1, 4, 4, 5])
    builder.op("DEPTHWISE_CONV_2D", [c, d, -1], [y], builder.schema.DepthwiseConv2DOptionsT())
    file = _file(tmp_path / "m.tflite", builder.build([x], [y]))
    assert macs(file) == 4 * 4 * 5 * 27 + 4 * 4 * 5 * 9
    assert parameters(file).count == 135 + 45


def test_transposed_convolution_and_matrix_product(builder: Any, tmp_path: Path) -> None:
    shape = builder.tensor("shape", [4], "INT32", data=struct.pack("<4i", 1, 8, 8, 2))
    w = builder.tensor("w", [2, 3, 3, 5], data=bytes(4 * 90))
    x = builder.tensor("x", [1, 4, 4, 5])
    y = builder.tensor("y", [1, 8, 8, 2])
    builder.op("TRANSPOSE_CONV", [shape, w, x], [y], builder.schema.TransposeConvOptionsT())
    a = builder.tensor("a", [2, 6, 7])
    b = builder.tensor("b", [2, 7, 4])
    c = builder.tensor("c", [2, 6, 4])
    builder.op("BATCH_MATMUL", [a, b], [c], builder.schema.BatchMatMulOptionsT())
    file = _file(tmp_path / "m.tflite", builder.build([x, a, b], [y, c]))
    assert macs(file) == 4 * 4 * 5 * 3 * 3 * 2 + 2 * 6 * 4 * 7
    assert parameters(file).count == 90


@pytest.mark.parametrize(
    ("stored", "bits", "wanted"), [("FLOAT16", 16, "float16"), ("INT8", 8, "int8"), ("INT4", 4, "int4")]
)
def test_weights_that_are_unpacked_first_count_as_stored(
    builder: Any, tmp_path: Path, stored: str, bits: int, wanted: str
) -> None:
    x = builder.tensor("x", [1, 4])
    scales = None if stored == "FLOAT16" else [0.5]
    small = builder.tensor("small", [2, 4], stored, data=bytes(8 * bits // 8), scales=scales)
    w = builder.tensor("w", [2, 4])
    y = builder.tensor("y", [1, 2])
    builder.op("DEQUANTIZE", [small], [w])
    _dense(builder, x, w, y)
    file = _file(tmp_path / "m_float32.tflite", builder.build([x], [y]))
    assert precision_of(file) == Precision(weights=wanted, activations="float32", io="float32")
    assert [f.message for f in find_problems(file)] == [
        f"the file's name says float, its weights are {wanted}"
    ]


def test_dynamic_range_and_float_edges(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [1, 4])
    q = builder.tensor("q", [1, 4], "INT8", scales=[0.1])
    w = builder.tensor("w", [2, 4], "INT8", data=bytes(8), scales=[0.1, 0.2])
    p = builder.tensor("p", [1, 2], "INT8", scales=[0.1])
    y = builder.tensor("y", [1, 2])
    builder.op("QUANTIZE", [x], [q])
    _dense(builder, q, w, p)
    builder.op("DEQUANTIZE", [p], [y])
    file = _file(tmp_path / "m.tflite", builder.build([x], [y]))
    assert precision_of(file) == Precision(weights="int8", activations="int8", io="float32")
    (finding,) = find_problems(file)
    assert (finding.code, finding.operations) == ("float-io", (0, 2))


@pytest.mark.parametrize(
    ("scale", "says"), [(0.0, "zero or negative"), (float("inf"), "not finite"), (1e-40, "denormal")]
)
def test_bad_scales(builder: Any, tmp_path: Path, scale: float, says: str) -> None:
    x = builder.tensor("x", [1, 4], "INT8", scales=[0.5])
    w = builder.tensor("w", [2, 4], "INT8", data=bytes(8), scales=[0.1, scale])
    y = builder.tensor("y", [1, 2], "INT8", scales=[0.5])
    _dense(builder, x, w, y)
    (finding,) = find_problems(_file(tmp_path / "m.tflite", builder.build([x], [y])))
    assert finding.code == "bad-scale"
    assert f"the first 'w' (channel 1: the scale is {np.float32(scale):g}, {says})" in finding.message


def test_bias_overflow(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [1, 1], "INT8", scales=[1.0])
    w = builder.tensor("w", [2, 1], "INT8", data=bytes(2), scales=[1.0, 1e-9])
    b = builder.tensor("b", [2], "INT32", data=struct.pack("<2i", 5, 2**31 - 1), scales=[1.0, 1e-9])
    y = builder.tensor("y", [1, 2], "INT8", scales=[1.0])
    _dense(builder, x, w, y, b)
    (finding,) = find_problems(_file(tmp_path / "m.tflite", builder.build([x], [y])))
    assert (finding.code, finding.operations) == ("bias-overflow", (0,))
    assert "the first 'y' (channel 1: 2.147e+09 steps)" in finding.message


def test_concatenation_of_boxes_and_scores(builder: Any, tmp_path: Path) -> None:
    boxes = builder.tensor("boxes", [1, 4], "INT8", scales=[2.5])
    scores = builder.tensor("scores", [1, 4], "INT8", scales=[1 / 256])
    widened = builder.tensor("widened", [1, 4], "INT8", scales=[2.5])
    y = builder.tensor("y", [1, 8], "INT8", scales=[2.5])
    builder.op("QUANTIZE", [scores], [widened])
    builder.op("CONCATENATION", [boxes, widened], [y], builder.schema.ConcatenationOptionsT())
    (finding,) = find_problems(_file(tmp_path / "m.tflite", builder.build([boxes, scores], [y])))
    assert (finding.code, finding.operations) == ("concat-unlike-ranges", (1,))
    assert "640-fold" in finding.message


def test_custom_operations_and_open_sizes(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [1, 4], signature=[-1, 4])
    y = builder.tensor("y", [1, 1], signature=[-1, -1])
    builder.op("CUSTOM", [x], [y], custom="FlexErf")
    found = find_problems(_file(tmp_path / "m.tflite", builder.build([x], [y])))
    assert [f.code for f in found] == ["dynamic-shape", "custom-operation"]
    assert "2 tensor(s) of open size, the first 'x' [-1, 4] from an input" in found[0].message
    assert "FlexErf; these are TensorFlow's own" in found[1].message


@pytest.mark.shared
def test_real_files(shared_data: Path) -> None:
    kws = inspect_model(shared_data / "kws" / "mlperf_int8.tflite")
    assert (kws.macs, kws.parameters.count) == (2_656_768, 22_604)
    assert kws.precision == Precision(weights="int8", activations="int8", io="int8")
    mobilenet = inspect_model(shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite")
    assert mobilenet.macs == 13_570_304  # published: 14 million multiply-accumulates
    assert mobilenet.precision == Precision(weights="uint8", activations="uint8", io="uint8")
    assert mobilenet.metadata is not None
    lstm = inspect_model(shared_data / "coral" / "keras_lstm_mnist_ptq.tflite")
    assert lstm.macs == 28 * 4 * 20 * (28 + 20) + 560 * 10  # 28 steps of four gates, then a dense layer
    assert lstm.precision == Precision(weights="int8", activations="int8", io="uint8")
