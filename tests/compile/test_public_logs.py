"""Public compiler logs whose model can be rebuilt from what the thread says: the same statuses, the same counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from edgeship.compile.edgetpu import status
from edgeship.compile.edgetpu.blockers import blockers
from edgeship.compile.edgetpu.predict import Prediction, predict
from edgeship.compile.edgetpu.view import Settings
from edgeship.compile.lint import lint
from edgeship.tflite.file import TfliteFile

Read = Callable[[Any], TfliteFile]


def counted(found: Prediction, op: str) -> dict[str, int]:
    return dict(Counter(o.status for o in found.operations if o.op == op))


def test_edgetpu_609_a_dynamic_range_model_maps_nothing(graph, read: Read) -> None:
    """Seven operations with int8 weights on float activations: every one 'unsupported data type', no subgraph."""
    x = graph.input([1, 16], "float32")
    for _ in range(7):
        x = graph.op(
            "FULLY_CONNECTED", [x, graph.const([16, 16]), graph.const([16], "float32")], [1, 16], "float32",
            options="FullyConnectedOptions", version=3,
        )  # fmt: skip
    model = read(graph)
    found = predict(model)
    assert counted(found, "FULLY_CONNECTED") == {status.DATA_TYPE: 7}
    assert (len(found.mapped), len(found.kept)) == (0, 0)
    assert "dynamic-range quantized" in next(f.message for f in lint(model) if f.code == "not-quantized")


def test_edgetpu_225_a_float_model_maps_nothing(graph, read: Read) -> None:
    x = graph.input([1, 8, 8, 4], "float32")
    for _ in range(42):
        x = graph.op("RELU", [x], [1, 8, 8, 4], "float32")
    found = predict(read(graph), Settings(runtime=10))
    assert (len(found.operations), len(found.mapped), len(found.kept)) == (42, 0, 0)


def test_edgetpu_25_a_matrix_product_of_two_inputs(graph, read: Read) -> None:
    graph.op(
        "FULLY_CONNECTED",
        [graph.input([1, 16]), graph.input([4, 16]), -1],
        [1, 4],
        options="FullyConnectedOptions",
    )
    assert counted(predict(read(graph)), "FULLY_CONNECTED") == {status.NOT_CONSTANT: 1}


def test_edgetpu_27_a_matrix_product_with_a_constant(graph, read: Read) -> None:
    """The table's one-dimensional output, to which the compiler of 2019 kept; 16.0 is less strict."""
    w, b = graph.const([8, 16]), graph.const([8], "int32")
    x = graph.op(
        "FULLY_CONNECTED", [graph.input([4, 16]), w, b], [4, 8], options="FullyConnectedOptions", version=4
    )
    model = read(graph)
    assert counted(predict(model, Settings(compiler=2)), "FULLY_CONNECTED") == {status.ROWS: 1}
    (now,) = predict(model).operations
    assert (now.status, now.confidence) == (status.MAPPED, "low")
    graph.op("SOFTMAX", [x], [4, 8], version=2)
    old = predict(read(graph), Settings(compiler=2)).operations
    assert [o.status for o in old] == [status.ROWS, status.ROWS]


def test_edgetpu_30_six_convolutions_of_a_batch_of_30(graph, read: Read) -> None:
    x = graph.input([30, 8, 8, 4])
    for _ in range(6):
        x = graph.conv(x)
    assert counted(predict(read(graph)), "CONV_2D") == {status.RANK: 6}


def test_edgetpu_75_a_dilation_by_space_to_batch(graph, read: Read) -> None:
    """Keras before 2.4 dilates by moving positions into the batch; the convolution between then has a batch of 4."""
    x = graph.conv(graph.input([1, 16, 16, 4]))
    x = graph.op("SPACE_TO_BATCH_ND", [x, graph.ints(2, 2), graph.ints(0, 0)], [4, 8, 8, 4])
    w, b = graph.const([1, 3, 3, 4]), graph.const([4], "int32")
    x = graph.op(
        "DEPTHWISE_CONV_2D", [x, w, b], [4, 6, 6, 4], options="DepthwiseConv2DOptions", version=3,
        depthMultiplier=1,
    )  # fmt: skip
    graph.conv(graph.op("BATCH_TO_SPACE_ND", [x, graph.ints(2, 2), graph.ints(0, 0)], [1, 12, 12, 4]))
    found = predict(read(graph), Settings(compiler=2, runtime=12))
    assert counted(found, "DEPTHWISE_CONV_2D") == {status.RANK: 1}
    assert counted(found, "CONV_2D") == {status.MAPPED: 1, status.MORE_SUBGRAPHS: 1}


def test_edgetpu_420_four_resizes_too_new_for_15_0(graph, read: Read) -> None:
    for _ in range(4):
        x = graph.conv(graph.input([1, 8, 8, 4]))
        graph.op(
            "RESIZE_NEAREST_NEIGHBOR", [x, graph.ints(16, 16)], [1, 16, 16, 4], version=3,
            options="ResizeNearestNeighborOptions", halfPixelCenters=True,
        )  # fmt: skip
    found = predict(read(graph), Settings(compiler=15))
    assert counted(found, "RESIZE_NEAREST_NEIGHBOR") == {status.VERSION: 4}
    assert counted(found, "CONV_2D") == {status.MAPPED: 4}


def test_tensorflow_42024_yolo_v3(graph, read: Read) -> None:
    """Float input, three heads, two of them behind an enlargement that 14.1 does not take; its counts exactly."""
    x = graph.op("QUANTIZE", [graph.input([1, 32, 32, 4], "float32")], [1, 32, 32, 4])
    routes = []
    for stage in range(5):
        size = 32 >> stage
        table = graph.tensor([4, 2], "int32", scale=None, data=[0, 0, 1, 0, 1, 0, 0, 0])
        x = graph.op("PAD", [x, table], [1, size + 1, size + 1, 4])
        w, b = graph.const([4, 3, 3, 4]), graph.const([4], "int32")
        x = graph.op(
            "CONV_2D",
            [x, w, b],
            [1, size // 2, size // 2, 4],
            options="Conv2DOptions",
            strideH=2,
            strideW=2,
            version=3,
        )
        for _ in range(9):
            x = graph.conv(x)
        routes.append(x)

    def head(x: int, convolutions: int) -> int:
        for _ in range(convolutions):
            x = graph.conv(x)
        return x

    neck = head(x, 6)
    graph.op("DEQUANTIZE", [head(neck, 2)], [1, 1, 1, 4], "float32")
    for size, route in ((2, routes[3]), (4, routes[2])):
        up = graph.conv(neck) if size == 2 else head(neck, 1)
        up = graph.op(
            "RESIZE_NEAREST_NEIGHBOR", [up, graph.ints(size, size)], [1, size, size, 4], version=3,
            options="ResizeNearestNeighborOptions",
        )  # fmt: skip
        up = graph.op("QUANTIZE", [up], [1, size, size, 4])
        side = graph.conv(route) if size == 2 else route
        joined = graph.op(
            "CONCATENATION", [up, side], [1, size, size, 8], options="ConcatenationOptions", axis=3, version=2
        )
        neck = head(joined, 5)
        graph.op("DEQUANTIZE", [head(neck, 2)], [1, size, size, 4], "float32")
    found = predict(read(graph), Settings(compiler=14))
    assert counted(found, "DEQUANTIZE") == {status.DATA_TYPE: 3}
    assert counted(found, "QUANTIZE") == {status.UNSPECIFIED: 1, status.MORE_SUBGRAPHS: 2}
    assert counted(found, "CONV_2D") == {status.MAPPED: 60, status.MORE_SUBGRAPHS: 15}
    assert counted(found, "RESIZE_NEAREST_NEIGHBOR") == {status.VERSION: 2}
    assert counted(found, "PAD") == {status.MAPPED: 5}


def test_edgetpu_708_float_detector_with_upsampling_by_reshape(graph, read: Read) -> None:
    for _ in range(10):
        graph.op(
            "RESHAPE", [graph.input([1, 4, 4, 8], "float32"), graph.ints(1, 16, 8)], [1, 16, 8], "float32"
        )
    for _ in range(4):
        shape = [1, 4, 2, 4, 2, 8]
        graph.op("RESHAPE", [graph.input(shape, "float32"), graph.ints(1, 8, 8, 8)], [1, 8, 8, 8], "float32")
    found = predict(read(graph))
    assert counted(found, "RESHAPE") == {status.DATA_TYPE: 10, status.RANK: 4}
    assert not found.mapped


def test_edgetpu_461_mean_of_a_large_map_and_of_its_quarters(graph, read: Read) -> None:
    def mean(height: int) -> None:
        x = graph.conv(graph.input([1, height, 128, 3]), 3)
        graph.op("MEAN", [x, graph.ints(1, 2)], [1, 3], options="ReducerOptions", version=2)

    mean(256)
    for _ in range(4):
        mean(64)
    assert counted(predict(read(graph)), "MEAN") == {status.UNSPECIFIED: 1, status.MAPPED: 4}


def test_edgetpu_342_a_network_from_pytorch_with_a_transposition_around_everything(graph, read: Read) -> None:
    """MobileNet v2 that came through ONNX, 155 operations, by a compiler that knew no TRANSPOSE; its table exactly."""
    x = graph.op("QUANTIZE", [graph.input([1, 4, 8, 8], "float32")], [1, 4, 8, 8])
    x = graph.op("QUANTIZE", [x], [1, 4, 8, 8], scale=0.2)
    frame = graph.tensor([4, 2], "int32", scale=None, data=[0, 0, 0, 0, 1, 1, 1, 1])
    channels_last, channels_first = graph.ints(0, 2, 3, 1), graph.ints(0, 3, 1, 2)

    def turned(x: int, order: int, shape: list[int]) -> int:
        return int(graph.op("TRANSPOSE", [x, order], shape, version=2))

    def convolution(x: int, *, depthwise: bool) -> int:
        if depthwise:
            w, b = graph.const([1, 1, 1, 4]), graph.const([4], "int32")
            options = {"options": "DepthwiseConv2DOptions", "version": 3, "depthMultiplier": 1}
            return int(
                graph.op("DEPTHWISE_CONV_2D", [x, w, b], [1, *graph.tensors[x].shape[1:3], 4], **options)
            )
        return int(graph.conv(x))

    transpositions = 0
    for block in range(35):
        padded = block < 18
        size = 10 if padded else 8
        if padded:
            x = graph.op("PAD", [x, frame], [1, 4, size, size], version=2)
        x = turned(x, channels_last, [1, size, size, 4])
        x = convolution(x, depthwise=False)
        if block % 2:
            x = convolution(x, depthwise=True)
        if block >= 25:
            x = graph.op("ADD", [x, x], [1, size, size, 4], version=2)
        x = turned(x, channels_first, [1, 4, 8, 8])
        transpositions += 2
    assert transpositions == 70
    for axis in (3, 2):
        x = graph.op(
            "MEAN",
            [x, graph.ints(axis)],
            list(graph.tensors[x].shape)[:axis],
            options="ReducerOptions",
            version=2,
        )
    w, b = graph.const([4, 4]), graph.const([4], "int32")
    graph.op("FULLY_CONNECTED", [x, w, b], [1, 4], options="FullyConnectedOptions", version=4)
    found = predict(read(graph), Settings(compiler=15, runtime=13))
    behind = status.MORE_SUBGRAPHS
    assert counted(found, "TRANSPOSE") == {status.NOT_SUPPORTED: 70}
    assert counted(found, "PAD") == {status.MAPPED: 1, behind: 17}
    assert counted(found, "QUANTIZE") == {status.UNSPECIFIED: 1, status.MAPPED: 1}
    for op, count in (
        ("CONV_2D", 35),
        ("DEPTHWISE_CONV_2D", 17),
        ("ADD", 10),
        ("MEAN", 2),
        ("FULLY_CONNECTED", 1),
    ):
        assert counted(found, op) == {behind: count}, op
    assert (len(found.mapped), len(found.operations)) == (2, 155)
    assert len(predict(read(graph), Settings(compiler=16)).mapped) > 2, "16.0 knows TRANSPOSE"


def test_edgetpu_433_a_large_transposition_early_leaves_one_operation(graph, read: Read) -> None:
    x = graph.op("QUANTIZE", [graph.input([1, 3, 224, 224], "uint8")], [1, 3, 224, 224])
    x = graph.op("TRANSPOSE", [x, graph.ints(0, 2, 3, 1)], [1, 224, 224, 3], version=2)
    for _ in range(189):
        x = graph.conv(x, 3)
    found = predict(read(graph))
    assert counted(found, "TRANSPOSE") == {status.UNSPECIFIED: 1}
    assert (len(found.mapped), len(found.operations)) == (1, 191)


def test_mnist_with_float_input_and_output(graph, read: Read) -> None:
    """Another public log: RESHAPE, 2 CONV_2D, SOFTMAX, 2 MAX_POOL_2D, 2 FULLY_CONNECTED between two conversions."""
    x = graph.op("QUANTIZE", [graph.input([1, 8, 8, 1], "float32")], [1, 8, 8, 1])
    for size in (4, 2):
        x = graph.conv(x, 4)
        x = graph.op("MAX_POOL_2D", [x], [1, size, size, 4], options="Pool2DOptions", version=2)
    x = graph.op("RESHAPE", [x, graph.ints(1, 16)], [1, 16])
    for _ in range(2):
        w, b = graph.const([16, 16]), graph.const([16], "int32")
        x = graph.op("FULLY_CONNECTED", [x, w, b], [1, 16], options="FullyConnectedOptions", version=4)
    graph.op("DEQUANTIZE", [graph.op("SOFTMAX", [x], [1, 16], version=2)], [1, 16], "float32")
    found = predict(read(graph))
    assert counted(found, "QUANTIZE") == {status.UNSPECIFIED: 1}
    assert counted(found, "DEQUANTIZE") == {status.DATA_TYPE: 1}
    assert len(found.mapped) == 8


def test_edgetpu_631_a_version_the_compiler_does_not_read(graph, read: Read) -> None:
    """CONV_2D 6 is a grouped convolution: a new feature, so its number may not be lowered."""
    w, b = graph.const([4, 1, 1, 2]), graph.const([4], "int32")
    graph.op("CONV_2D", [graph.input([1, 8, 8, 4]), w, b], [1, 8, 8, 4], options="Conv2DOptions", version=6)
    (found,) = blockers(read(graph))
    assert found.severity == "error"
    assert "Didn't find op for builtin opcode 'CONV_2D' version '6'" in found.message


def test_libedgetpu_71_exp_of_int8_is_newer_than_the_compiler(graph, read: Read) -> None:
    graph.op("EXP", [graph.input([1, 8])], [1, 8], version=2)
    (found,) = blockers(read(graph))
    assert "Didn't find op for builtin opcode 'EXP' version '2'; it reads up to 1" in found.message


def test_edgetpu_829_a_size_that_is_computed(graph, read: Read) -> None:
    x = graph.input([1, 8, 8, 4])
    shape = graph.op("SHAPE", [x], [4], "int32", scale=1.0)
    graph.op("RESHAPE", [x, shape], [1, 256])
    found = next(f for f in lint(read(graph)) if f.code == "dynamic-shape")
    assert found.severity == "error"
    assert found.message == "sizes are open: RESHAPE reads its output size from layer0"
