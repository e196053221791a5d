"""The mapping predictor: exact on the public models with a recorded truth, and the documented rules one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.advice import advice
from edgeship.compile.edgetpu.predict import predict
from edgeship.compile.edgetpu.table import rows
from edgeship.compile.edgetpu.view import Settings
from edgeship.tflite.reader import read_tflite

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coral" / "mapping_truth.json"
TRUTH = json.loads(CASES.read_text())["models"] if CASES.is_file() else []


@pytest.mark.shared
@pytest.mark.parametrize("truth", TRUTH, ids=lambda t: t["file"])
def test_mapping_is_what_googles_compiler_did(truth: dict[str, Any], coral: Path) -> None:
    model = read_tflite(coral / truth["file"])
    started = time.monotonic()
    found = predict(model)
    assert time.monotonic() - started < 0.5
    assert [o.index for o in found.operations if o.placement == "cpu"] == truth["cpu_op_indices"]
    assert len(found.operations) == truth["n_ops"]
    assert len(found.mapped) == truth["mapped"]
    assert len(found.kept) == truth["subgraphs"]


@pytest.mark.shared
def test_all_truths_are_there(coral: Path) -> None:
    assert len(TRUTH) == 6


def image(g, *, size: int = 8, depth: int = 4) -> int:
    return g.input([1, size, size, depth])


def mean(g, axes: tuple[int, ...], shape: tuple[int, ...] = (1, 8, 8, 8)) -> int:
    x = g.input(list(shape))
    out = [s for i, s in enumerate(shape) if i not in axes]
    return g.op("MEAN", [x, g.ints(*axes)], out, options="ReducerOptions")


def reduce(g, op: str, axis: int) -> int:
    return g.op(op, [g.input([1, 8, 8, 4]), g.ints(axis)], [1, 8, 4], options="ReducerOptions")


def resize(g, op: str, before: int, after: int, **more: Any) -> int:
    options = "ResizeBilinearOptions" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    x = g.input([1, before, before, 4])
    return g.op(op, [x, g.ints(after, after)], [1, after, after, 4], options=options, **more)


def pad(g, *amounts: int) -> int:
    table = g.tensor([4, 2], "int32", scale=None, data=amounts)
    return g.op("PAD", [image(g), table], [1, 10, 10, 4])


def slice_(g, **masks: int) -> int:
    stride = masks.pop("stride", 1)
    sizes = [g.ints(0, 0, 0, 0), g.ints(1, 4, 4, 4), g.ints(1, stride, 1, 1)]
    return g.op("STRIDED_SLICE", [image(g), *sizes], [1, 4, 4, 4], options="StridedSliceOptions", **masks)


def dense(g, rows: int = 1, *, constant: bool = True, weights: str = "int8", form: int = 0) -> int:
    x = g.input([rows, 16])
    w = g.const([4, 16], weights) if constant else g.input([4, 16], weights)
    return g.op(
        "FULLY_CONNECTED",
        [x, w, g.const([4], "int32")],
        [rows, 4],
        options="FullyConnectedOptions",
        weightsFormat=form,
    )


def transpose(g, shape: tuple[int, ...], order: tuple[int, ...]) -> int:
    return g.op("TRANSPOSE", [g.input(list(shape)), g.ints(*order)], [shape[i] for i in order])


def split(g, axis: int) -> int:
    return g.op("SPLIT", [g.scalar(axis), image(g)], [1, 8, 8, 2], options="SplitOptions", numSplits=2)


def concat(g, *, zeros: bool = True, fused: int = 0, inputs: int = 2) -> int:
    made = [image(g) for _ in range(inputs - 1)]
    return g.op(
        "CONCATENATION", [*made, g.const([1, 8, 8, 4], fill=0 if zeros else 3)], [1, 8, 8, 4 * inputs],
        options="ConcatenationOptions", axis=3, fusedActivationFunction=fused,
    )  # fmt: skip


def prelu(g, *alpha: int) -> int:
    return g.op("PRELU", [image(g), g.const(list(alpha))], [1, 8, 8, 4])


def reshape(g, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    return g.op("RESHAPE", [g.input(list(before)), g.ints(*after)], list(after))


def pool(g, op: str, fused: int) -> int:
    return g.op(op, [image(g)], [1, 4, 4, 4], options="Pool2DOptions", fusedActivationFunction=fused)


def plain(op: str, inputs: int = 1) -> Callable[[Any], int]:
    return lambda g: g.op(op, [image(g) for _ in range(inputs)], [1, 8, 8, 4])


def typed(op: str, before: str, after: str) -> Callable[[Any], int]:
    return lambda g: g.op(op, [g.input([1, 8], before)], [1, 8], after)


def of_shape(op: str, *shape: int) -> Callable[[Any], int]:
    return lambda g: g.op(op, [g.input(list(shape))], list(shape))


M, U, N, D, R, C = (
    status.MAPPED, status.UNSPECIFIED, status.NOT_SUPPORTED, status.DATA_TYPE, status.RANK, status.NOT_CONSTANT,
)  # fmt: skip
RULES: list[tuple[str, Callable[[Any], int], str, str]] = [
    # what, graph, status, confidence
    ("ADD", plain("ADD", 2), M, "high"),
    *[(op, plain(op, 2), M, "medium") for op in ("SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")],
    ("LOGISTIC", plain("LOGISTIC"), M, "high"),
    *[(op, plain(op), M, "medium") for op in (
        "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "RSQRT", "L2_NORMALIZATION", "SPACE_TO_DEPTH", "SQUEEZE",
    )],
    *[(op, plain(op), N, "high") for op in ("LEAKY_RELU", "HARD_SWISH")],
    *[(op, plain(op), N, "medium") for op in (
        "ELU", "GELU", "ABS", "EXP", "SQRT", "DEPTH_TO_SPACE", "NEG", "CAST",
    )],
    ("arg max", lambda g: g.op("ARG_MAX", [image(g), g.scalar(3)], [1, 8, 8], "int64"), N, "high"),
    ("gather", lambda g: g.op("GATHER", [image(g), g.ints(0)], [1, 8, 8, 4]), N, "high"),
    ("quantize int8 to uint8", typed("QUANTIZE", "int8", "uint8"), M, "high"),
    ("quantize uint8 to int8", typed("QUANTIZE", "uint8", "int8"), M, "high"),
    ("quantize float", typed("QUANTIZE", "float32", "int8"), U, "high"),
    ("logistic of a detector", of_shape("LOGISTIC", 1, 1917, 91), M, "high"),
    ("large logistic", of_shape("LOGISTIC", 1, 8400, 80), M, "low"),
    ("dequantize", typed("DEQUANTIZE", "int8", "float32"), D, "high"),
    ("float add", typed("RELU", "float32", "float32"), D, "high"),
    ("int32 relu", typed("RELU", "int32", "int32"), D, "high"),
    ("int16 logistic", typed("LOGISTIC", "int16", "int16"), D, "high"),
    ("float custom", typed("TFLite_Detection_PostProcess", "int8", "float32"), D, "high"),
    ("integer custom", typed("MyOwn", "int8", "int8"), N, "high"),
    ("batch 30", lambda g: g.conv(g.input([30, 8, 8, 3])), R, "high"),
    ("five dimensions", of_shape("RELU", 1, 4, 4, 2, 4), R, "high"),
    ("five dimensions of which three count", of_shape("RELU", 1, 1, 4, 2, 4), M, "medium"),
    ("float with too many dimensions", lambda g: g.op(
        "RESHAPE", [g.input([1, 4, 2, 4, 2, 8], "float32"), g.ints(1, 8, 8, 8)], [1, 8, 8, 8], "float32"), R, "high"),
    ("convolution", lambda g: g.conv(image(g)), M, "high"),
    ("dilated", lambda g: g.conv(image(g), dilation=(2, 2)), M, "high"),
    ("unlike dilation", lambda g: g.conv(image(g), dilation=(2, 1)), U, "high"),
    ("computed filter", lambda g: g.op(
        "CONV_2D", [image(g), g.input([4, 1, 1, 4]), g.const([4], "int32")], [1, 8, 8, 4],
        options="Conv2DOptions"), C, "high"),
    ("float weights", lambda g: g.op(
        "CONV_2D", [image(g), g.const([4, 1, 1, 4], "float32")], [1, 8, 8, 4], options="Conv2DOptions"), D, "high"),
    ("dense", dense, M, "high"),
    ("dense without constants", lambda g: dense(g, constant=False), C, "high"),
    ("dense with shuffled weights", lambda g: dense(g, form=1), U, "high"),
    ("dense over rows", lambda g: dense(g, rows=3), M, "low"),
    ("average pool", lambda g: pool(g, "AVERAGE_POOL_2D", 0), M, "high"),
    ("average pool with relu", lambda g: pool(g, "AVERAGE_POOL_2D", 1), U, "high"),
    ("max pool with relu6", lambda g: pool(g, "MAX_POOL_2D", 3), U, "high"),
    ("join with zeros", concat, M, "high"),
    ("join with values", lambda g: concat(g, zeros=False), U, "high"),
    ("join three with a constant", lambda g: concat(g, inputs=3), U, "high"),
    ("join with relu", lambda g: concat(g, fused=1), U, "high"),
    ("mean over height and width", lambda g: mean(g, (1, 2)), M, "high"),
    ("mean over batch", lambda g: mean(g, (0,)), U, "high"),
    ("mean over 8 channels", lambda g: mean(g, (3,)), M, "high"),
    ("mean over 6 channels", lambda g: mean(g, (3,), (1, 8, 8, 6)), U, "high"),
    ("mean over 64 x 128", lambda g: mean(g, (1, 2), (1, 64, 128, 3)), M, "high"),
    ("mean over 128 x 128", lambda g: mean(g, (1, 2), (1, 128, 128, 3)), M, "low"),
    ("mean over 256 x 128", lambda g: mean(g, (1, 2), (1, 256, 128, 3)), U, "medium"),
    *[(f"{op} over width", lambda g, op=op: reduce(g, op, 2), M, "medium")
      for op in ("SUM", "REDUCE_MAX", "REDUCE_MIN")],
    *[(f"{op} over batch", lambda g, op=op: reduce(g, op, 0), U, "high") for op in ("SUM", "REDUCE_MAX", "REDUCE_MIN")],
    ("pack", lambda g: g.op(
        "PACK", [g.input([1, 8]), g.input([1, 8])], [1, 2, 8], options="PackOptions", axis=1), M, "medium"),
    ("pack batch", lambda g: g.op(
        "PACK", [g.input([8]), g.input([8])], [2, 8], options="PackOptions", axis=0), U, "high"),
    ("pad", lambda g: pad(g, 0, 0, 1, 1, 1, 1, 0, 0), M, "high"),
    ("pad batch", lambda g: pad(g, 1, 0, 1, 1, 1, 1, 0, 0), U, "high"),
    ("prelu", lambda g: prelu(g, 1, 1, 4), M, "medium"),
    ("prelu everywhere", lambda g: prelu(g, 8, 8, 4), U, "high"),
    ("flatten", lambda g: reshape(g, (1, 7, 7, 64), (1, 3136)), M, "high"),
    ("boxes of a detector", lambda g: reshape(g, (1, 19, 19, 273), (1, 1083, 91)), M, "high"),
    ("merge 57,600 under channels", lambda g: reshape(g, (1, 36, 40, 40), (1, 36, 1600)), M, "high"),
    ("merge 104,000 under channels", lambda g: reshape(g, (1, 65, 40, 40), (1, 65, 1600)), U, "medium"),
    ("bilinear twice", lambda g: resize(g, "RESIZE_BILINEAR", 16, 32), M, "high"),
    ("bilinear from one pixel", lambda g: resize(g, "RESIZE_BILINEAR", 1, 33), U, "medium"),
    ("bilinear 33 to 513", lambda g: resize(g, "RESIZE_BILINEAR", 33, 513), U, "medium"),
    ("bilinear four times", lambda g: resize(g, "RESIZE_BILINEAR", 16, 64), M, "low"),
    ("nearest twice", lambda g: resize(g, "RESIZE_NEAREST_NEIGHBOR", 16, 32, version=3), M, "medium"),
    ("slice", lambda g: g.op("SLICE", [image(g), g.ints(0, 0, 0, 0), g.ints(1, 4, 4, 4)], [1, 4, 4, 4]), M, "medium"),
    ("strided slice", slice_, M, "medium"),
    ("strided slice by two", lambda g: slice_(g, stride=2), U, "high"),
    ("strided slice with ellipsis", lambda g: slice_(g, ellipsisMask=1), U, "high"),
    ("strided slice with a new axis", lambda g: slice_(g, newAxisMask=2), U, "high"),
    ("softmax 1001", of_shape("SOFTMAX", 1, 1001), M, "high"),
    ("softmax 16000", of_shape("SOFTMAX", 1, 16000), M, "high"),
    ("softmax 16384", of_shape("SOFTMAX", 1, 16384), M, "low"),
    ("softmax of rows", of_shape("SOFTMAX", 1, 64, 21), M, "low"),
    ("split channels", lambda g: split(g, 3), M, "high"),
    ("split channels from the end", lambda g: split(g, -1), M, "high"),
    ("split a batch of one", lambda g: split(g, 0), M, "low"),
    ("tile", lambda g: g.op("TILE", [image(g), g.ints(1, 2, 2, 1)], [1, 16, 16, 4]), M, "low"),
    ("expand", lambda g: g.op("EXPAND_DIMS", [g.input([1, 8]), g.scalar(1)], [1, 1, 8]), M, "medium"),
    ("transpose", lambda g: transpose(g, (1, 8, 8, 4), (0, 3, 1, 2)), M, "high"),
    ("transpose 57,600", lambda g: transpose(g, (1, 30, 30, 64), (0, 3, 1, 2)), M, "high"),
    ("transpose 70,000", lambda g: transpose(g, (1, 100, 100, 7), (0, 3, 1, 2)), M, "low"),
    ("transpose 90,000", lambda g: transpose(g, (1, 100, 100, 9), (0, 3, 1, 2)), U, "low"),
    ("transpose 102,400", lambda g: transpose(g, (1, 40, 40, 64), (0, 3, 1, 2)), U, "medium"),
    ("transpose of nothing", lambda g: transpose(g, (1, 1, 1000, 400), (1, 0, 2, 3)), M, "high"),
    ("transposed convolution", lambda g: g.op(
        "TRANSPOSE_CONV", [g.ints(1, 16, 16, 4), g.const([4, 2, 2, 4]), image(g)], [1, 16, 16, 4]), M, "medium"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "make", "wanted", "confidence"), RULES, ids=[r[0] for r in RULES])
def test_rule(what: str, make: Callable[[Any], int], wanted: str, confidence: str, graph, read) -> None:
    make(graph)
    found = predict(read(graph)).operations[-1]
    assert (found.status, found.confidence) == (wanted, confidence), found.reason
    assert (found.placement == "accelerator") == (wanted == status.MAPPED)
    assert bool(found.reason) == (wanted != status.MAPPED or confidence == "low")


def test_every_operation_of_the_table_has_a_case_of_its_own(graph) -> None:
    names = {
        number: name for name, number in vars(graph.schema.BuiltinOperator).items() if isinstance(number, int)
    }
    covered = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "DEPTHWISE_CONV_2D"}  # tests of their own below
    for _, make, *_ in RULES:
        one = type(graph)()
        make(one)
        covered |= {names[code.builtinCode] for code in one.codes}
    assert set(rows()) <= covered


def test_an_lstm_of_one_direction_maps_and_of_two_does_not(graph, read) -> None:
    x = graph.input([1, 8, 4])
    h, c = graph.tensor([1, 4]), graph.tensor([1, 4], "int16")
    graph.tensors[h].isVariable = graph.tensors[c].isVariable = True
    gates = [graph.const([4, 4]) for _ in range(8)]
    biases = [graph.const([4], "int32") for _ in range(4)]
    inputs = [x, *gates, -1, -1, -1, *biases, -1, -1, h, c, -1, -1, -1, -1]
    y = graph.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [1, 8, 4])
    graph.op("BIDIRECTIONAL_SEQUENCE_LSTM", [y], [1, 8, 4])
    assert [o.status for o in predict(read(graph)).operations] == [status.MAPPED, status.NOT_SUPPORTED]


def test_an_old_runtime_lacks_newer_operations_and_that_is_uncertain(graph, read) -> None:
    transpose(graph, (1, 8, 8, 4), (0, 3, 1, 2))
    found = predict(read(graph), Settings(runtime=13)).operations[0]
    assert (found.status, found.confidence) == (status.UNSPECIFIED, "low")
    assert found.reason == "documented from runtime 14 on; the target has 13"


def test_an_old_runtime_has_no_dilated_depthwise_kernels(graph, read) -> None:
    w, b = graph.const([1, 3, 3, 4]), graph.const([4], "int32")
    graph.op(
        "DEPTHWISE_CONV_2D", [image(graph), w, b], [1, 8, 8, 4], options="DepthwiseConv2DOptions", dilationHFactor=2,
        dilationWFactor=2, version=3,
    )  # fmt: skip
    model = read(graph)
    assert predict(model).operations[0].status == status.MAPPED
    assert predict(model, Settings(runtime=12)).operations[0].status == status.UNSPECIFIED


def test_resize_with_half_pixel_centres_needs_compiler_16(graph, read) -> None:
    resize(graph, "RESIZE_NEAREST_NEIGHBOR", 8, 16, version=3)
    model = read(graph)
    assert predict(model, Settings(compiler=15)).operations[0].status == status.VERSION
    assert predict(model, Settings(compiler=16)).operations[0].status == status.MAPPED


def test_what_comes_behind_is_stranded_and_all_subgraphs_brings_it_back(graph, read) -> None:
    x = graph.conv(image(graph))
    x = graph.op("LEAKY_RELU", [x], [1, 8, 8, 4])
    graph.conv(x)
    model = read(graph)
    assert [o.status for o in predict(model).operations] == [
        status.MAPPED,
        status.NOT_SUPPORTED,
        status.MORE_SUBGRAPHS,
    ]
    every = predict(model, Settings(all_subgraphs=True))
    assert [o.status for o in every.operations] == [status.MAPPED, status.NOT_SUPPORTED, status.MAPPED]
    assert len(every.kept) == 2


def test_behind_a_doubtful_cut_everything_is_doubtful(graph, read) -> None:
    graph.op("RELU", [graph.op("RELU", [graph.input([1, 4])], [1, 4])], [1, 4])
    x = transpose(graph, (1, 100, 100, 9), (0, 3, 1, 2))
    graph.op("RELU", [x], [1, 9, 100, 100])
    found = predict(read(graph)).operations
    assert [o.confidence for o in found] == ["medium", "medium", "low", "low"]
    assert found[3].status == status.MORE_SUBGRAPHS


def test_what_hangs_on_a_doubtful_operation_is_less_than_certain(graph, read) -> None:
    x = transpose(graph, (1, 100, 100, 7), (0, 3, 1, 2))
    graph.op("RELU", [x], [1, 7, 100, 100])
    assert [o.confidence for o in predict(read(graph)).operations] == ["low", "medium"]


def test_an_old_runtime_squeezes_only_leading_sizes(graph, read) -> None:
    for shape, after in (([1, 1, 5, 10], [5, 10]), ([1, 5, 1, 10], [5, 10])):
        graph.op("SQUEEZE", [graph.input(shape)], after)
    old = predict(read(graph), Settings(runtime=12)).operations
    assert [o.status for o in old] == [status.MAPPED, status.UNSPECIFIED]
    assert old[1].reason == "[1, 5, 1, 10] has a 1 behind larger sizes, which needs runtime 13"
    assert [o.status for o in predict(read(graph)).operations] == [status.MAPPED, status.MAPPED]


def test_an_axis_counted_from_the_end_is_the_batch_too(graph, read) -> None:
    x = graph.input([1, 8])
    graph.op("PACK", [x, x], [1, 2, 8], options="PackOptions", axis=-2, valuesCount=2)
    graph.op("PACK", [x, x], [2, 1, 8], options="PackOptions", axis=-3, valuesCount=2)
    found = predict(read(graph)).operations
    assert [o.status for o in found] == [status.MAPPED, status.UNSPECIFIED]


def test_int16_activations_map_nothing_and_the_advice_is_int8(graph, read) -> None:
    x = graph.op("RELU", [graph.input([1, 8], "int16")], [1, 8], "int16")
    graph.op("TANH", [x], [1, 8], "int16")
    model = read(graph)
    prediction = predict(model)
    assert {o.status for o in prediction.operations} == {status.DATA_TYPE}
    (first, _) = advice(model, prediction)
    assert first.code == "int16-activations" and "quantize activations to 8 bits: edgeship build" in first.fix


def test_a_detector_with_its_own_last_operation(graph, read) -> None:
    """Two heads joined and decoded: only TFLite's own decoding of boxes stays, and the advice calls that normal."""
    x = graph.conv(graph.input([1, 8, 8, 4], "uint8"))
    boxes = graph.op("RESHAPE", [graph.conv(x), graph.ints(1, 64, 1, 4)], [1, 64, 1, 4])
    scores = graph.op("RESHAPE", [graph.conv(x), graph.ints(1, 64, 4)], [1, 64, 4])
    scores = graph.op("LOGISTIC", [scores], [1, 64, 4], version=2)
    outputs = [graph.tensor(shape, "float32") for shape in ([1, 10, 4], [1, 10], [1, 10], [1])]
    anchors = graph.const([64, 4])
    graph.op("TFLite_Detection_PostProcess", [boxes, scores, anchors], outputs=outputs, custom=b"x")
    model = read(graph)
    prediction = predict(model)
    assert [o.op for o in prediction.operations if o.placement == "cpu"] == ["TFLite_Detection_PostProcess"]
    assert prediction.operations[-1].status == status.DATA_TYPE
    (found,) = advice(model, prediction)
    assert (found.code, found.severity) == ("custom-operation", "note")


@pytest.mark.shared
def test_confidence_is_calibrated_against_the_compilers_own_work(shared_data: Path) -> None:
    """What is said with high confidence is right on every public pair, and what they show counts as evidence."""
    from edgeship.compile.edgetpu.table import evidence
    from edgeship.tflite.reader import read_tflite

    folder = shared_data / "coral"
    for entry in json.loads((folder / "mapping_truth.json").read_text())["models"]:
        on_cpu = set(entry["cpu_op_indices"])
        for found in predict(read_tflite(folder / entry["file"])).operations:
            right = (found.placement == "cpu") == (found.index in on_cpu)
            assert right or found.confidence != "high", (entry["file"], found)
            assert found.index in on_cpu or found.op in evidence("mapped"), (entry["file"], found.op)
