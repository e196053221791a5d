"""What is wrong with a model on any target, each named with its smallest fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeship.compile.lint import lint
from edgeship.compile.report import Finding
from edgeship.tflite.file import TfliteFile

Read = Callable[[Any], TfliteFile]


def findings(model: TfliteFile) -> dict[str, Finding]:
    return {f.code: f for f in lint(model)}


def test_a_good_model_has_no_finding(graph, read: Read) -> None:
    graph.conv(graph.conv(graph.input([1, 8, 8, 4], signature=[-1, 8, 8, 4])))
    assert lint(read(graph)) == ()


def test_open_sizes_name_the_first_one(graph, read: Read) -> None:
    graph.conv(graph.input([1, 1, 1, 4], name="image", signature=[-1, -1, -1, 4]))
    found = findings(read(graph))["dynamic-shape"]
    assert found.message == "sizes are open: input image [-1, -1, -1, 4]"
    assert found.fix.endswith("  --input-shape 1,224,224,4")


def test_float_operations_are_listed_by_layer(graph, read: Read) -> None:
    x = graph.op("RELU", [graph.input([1, 8], "float32")], [1, 8], "float32")
    x = graph.op("LOGISTIC", [x], [1, 8], "float32")
    graph.op("QUANTIZE", [x], [1, 8])
    found = findings(read(graph))
    assert found["not-quantized"].message == (
        "2 operations are float: RELU x1, LOGISTIC x1; first layers: layer0, layer1"
    )
    assert "float-io" not in found, "neither its input nor its output is converted"


def test_only_a_float_model_is_to_be_quantized(graph, read: Read) -> None:
    """Of a dynamic-range file no int8 form can be derived: the hint is not to try."""
    x = graph.op("RELU", [graph.input([1, 8], "float32")], [1, 8], "float32")
    command = "edgeship build MODEL --target T --recipe int8 --calibration DATA"
    assert findings(read(graph))["not-quantized"].fix.endswith(command)
    graph.op("FULLY_CONNECTED", [x, graph.const([4, 8]), -1], [1, 4], "float32")
    fix = findings(read(graph))["not-quantized"].fix
    assert "hand over the float model" in fix and "--recipe" not in fix


def test_float_input_and_output_of_an_integer_model(graph, read: Callable[..., TfliteFile]) -> None:
    x = graph.op("QUANTIZE", [graph.input([1, 8], "float32")], [1, 8])
    graph.op("DEQUANTIZE", [graph.op("RELU", [x], [1, 8])], [1, 8], "float32")
    found = findings(read(graph))
    assert list(found) == ["float-io"]
    assert found["float-io"].operations == (0, 2)


def test_a_float_operation_inside_an_integer_model_is_named_for_itself(graph, read) -> None:
    """As the converter leaves NEG: it has no int8 kernel. Quantizing again would change nothing."""
    x = graph.op("DEQUANTIZE", [graph.op("RELU", [graph.input([1, 8])], [1, 8])], [1, 8], "float32")
    x = graph.op("QUANTIZE", [graph.op("NEG", [x], [1, 8], "float32")], [1, 8])
    graph.op("RELU", [x], [1, 8])
    found = findings(read(graph))
    assert list(found) == ["float-inside"]
    assert (found["float-inside"].severity, found["float-inside"].operations) == ("warning", (2,))
    assert "NEG x1" in found["float-inside"].message and "no int8 kernel" in found["float-inside"].fix


def test_parts_that_are_joined_in_float_at_the_end_are_no_fault(graph, read: Read) -> None:
    """Boxes and scores keep scales of their own: edgeship makes such files, and nothing is to be replaced in them."""
    sides = [graph.op("RELU", [graph.input([1, 8])], [1, 8]) for _ in range(2)]
    graph.op(
        "CONCATENATION", [graph.op("DEQUANTIZE", [x], [1, 8], "float32") for x in sides], [1, 16], "float32"
    )
    assert "float-inside" not in findings(read(graph))


def test_an_operation_that_only_stores_a_state(graph, read: Callable[..., TfliteFile]) -> None:
    """A streaming model keeps what it heard: ASSIGN_VARIABLE has no output."""
    x = graph.input([1, 8], "float32")
    graph.op("ASSIGN_VARIABLE", [graph.tensor([1], "int32"), x], outputs=[])
    graph.op("RELU", [x], [1, 8], "float32")
    message = findings(read(graph))["not-quantized"].message
    assert message.endswith("ASSIGN_VARIABLE x1, RELU x1; first layers: operation 0, layer1")


@pytest.mark.parametrize("scale", [0.0, float("inf"), float("nan"), 1e-40])
def test_bad_scales(scale: float, graph, read: Read) -> None:
    graph.conv(graph.input([1, 8, 8, 4], scale=scale, name="image"))
    found = findings(read(graph))["bad-scale"]
    assert found.severity == "error"
    assert "the first 'image' (channel 0: the scale is " in found.message


def test_a_bad_scale_of_one_channel_is_named(graph, read: Read) -> None:
    graph.conv(graph.input([1, 8, 8, 4]), weight_scale=[0.01, 0.0, 0.01, 0.01])
    assert (
        "one channel has a scale that is no normal positive number"
        in findings(read(graph))["bad-scale"].message
    )


def test_a_saturated_bias(graph, read: Read) -> None:
    graph.conv(graph.input([1, 8, 8, 4]), bias=[1, 2**31 - 1, 3, 4])
    found = findings(read(graph))["bias-overflow"]
    assert found.message.endswith("(channel 1: 2.147e+09 steps); no output differs for it")
    assert found.severity == "warning", "the output is at its end with this bias as with a larger one"


def test_a_bias_too_large_for_the_kernels_scale(graph, read: Read) -> None:
    """|bias / (s_in * s_w)| = 1,000,000 * 1.0 / (0.1 * 0.001) = 1e10, beyond 2^31."""
    graph.conv(
        graph.input([1, 8, 8, 4], scale=0.1), weight_scale=0.001, bias_scale=1.0, bias=[0, 1_000_000, 0, 0]
    )
    assert "(channel 1: 1e+10 steps)" in findings(read(graph))["bias-overflow"].message


def test_boxes_joined_with_scores(graph, read: Read) -> None:
    boxes = graph.input([1, 100, 4], scale=2.5)
    scores = graph.op("LOGISTIC", [graph.input([1, 100, 80])], [1, 100, 80], scale=1 / 256)
    scores = graph.op("QUANTIZE", [scores], [1, 100, 80], scale=2.5)
    graph.op(
        "CONCATENATION", [boxes, scores], [1, 100, 84], scale=2.5, options="ConcatenationOptions", axis=2
    )
    found = findings(read(graph))["unlike-ranges"]
    assert found.message == (
        "CONCATENATION layer2 gives layer0 a scale 640 times coarser than its own: about 0 of 8 bits are left"
    )


def test_a_large_batch(graph, read: Read) -> None:
    graph.conv(graph.input([30, 8, 8, 4], name="image"))
    assert findings(read(graph))["batch"].message == "input image has the batch 30"
