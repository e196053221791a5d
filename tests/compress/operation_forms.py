"""The cases: how each operation is built, with every setting that it has. Runs in a worker (`operation_cases.run`)."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from operation_cases import CASES, Maker, case, holding

# --- layers


@case("CONV_2D")
def conv_2d(m: Maker) -> None:
    groups = m.pick(1, 1, 2, 3)
    each, out = m.int(1, 3), groups * m.int(1, 3)
    x = m.input(m.image(4, 10, groups * each))
    weight = m.weight([out, m.int(1, 3), m.int(1, 3), each])
    inputs = [x, weight, m.weight([out])]
    dilated = m.pick(False, False, True)
    told: dict[str, Any] = {"dilationHFactor": m.int(1, 3), "dilationWFactor": m.int(1, 2)} if dilated else {}
    if not dilated or m.pick(True, False):
        told |= {"strideH": m.int(1, 3), "strideW": m.int(1, 3)}
    told = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1} | told
    padding = m.enum("Padding", "SAME") if dilated else m.padding()
    m.hold(
        m.op(
            "CONV_2D",
            inputs,
            "Conv2DOptions",
            padding=padding,
            fusedActivationFunction=m.activation(),
            **told,
        )
    )


@case("DEPTHWISE_CONV_2D")
def depthwise(m: Maker) -> None:
    channels, times = m.int(1, 4), m.int(1, 3)
    x = m.input(m.image(4, 10, channels))
    weight = m.weight([1, m.int(1, 3), m.int(1, 3), channels * times])
    inputs = [x, weight, m.weight([channels * times])]
    dilated = m.pick(False, False, True)
    told = {
        "depthMultiplier": times,
        "strideH": 1 if dilated else m.int(1, 3),
        "strideW": 1 if dilated else m.int(1, 3),
        "dilationHFactor": m.int(1, 3) if dilated else 1,
        "dilationWFactor": m.int(1, 3) if dilated else 1,
        "padding": m.enum("Padding", "SAME") if dilated else m.padding(),
        "fusedActivationFunction": m.activation(),
    }
    m.hold(m.op("DEPTHWISE_CONV_2D", inputs, "DepthwiseConv2DOptions", version=2, **told))


@case("TRANSPOSE_CONV")
def transpose_conv(m: Maker) -> None:
    rows, height, width, channels = m.image(2, 5)
    kernel, strides, out = (m.int(1, 4), m.int(1, 4)), (m.int(1, 3), m.int(1, 3)), m.int(1, 3)
    x = m.input([rows, height, width, channels])
    padding = m.pick("SAME", "VALID")
    size = [
        length * stride if padding == "SAME" else (length - 1) * stride + max(reach, stride)
        for length, stride, reach in zip((height, width), strides, kernel, strict=True)
    ]
    inputs = [m.const([rows, *size, out]), m.weight([out, *kernel, channels]), x]
    version = 1
    if m.pick(True, False):
        inputs.append(m.weight([out]))
        version = 3
    told = {"padding": m.enum("Padding", padding), "strideH": strides[0], "strideW": strides[1]}
    m.hold(m.op("TRANSPOSE_CONV", inputs, "TransposeConvOptions", version=version, **told))


@case("CONV_3D")
def conv_3d(m: Maker) -> None:
    of, to = m.int(1, 3), m.int(1, 3)
    x = m.input([m.pick(1, 1, 2), m.int(3, 6), m.int(3, 6), m.int(3, 6), of])
    inputs = [x, m.weight([m.int(1, 3), m.int(1, 3), m.int(1, 3), of, to]), m.weight([to])]
    strides = {f"stride{axis}": m.int(1, 2) for axis in "DHW"}
    told = {"padding": m.padding(), "fusedActivationFunction": m.activation(), **strides}
    m.hold(m.op("CONV_3D", inputs, "Conv3DOptions", **told))


@case("FULLY_CONNECTED")
def fully_connected(m: Maker) -> None:
    columns, out = m.int(1, 5), m.int(1, 5)
    kept = m.pick(True, False)
    x = m.input([*m.shape(1, 3), columns])
    inputs = [x, m.weight([out, columns]), m.weight([out]) if m.pick(True, False) else -1]
    m.hold(
        m.op(
            "FULLY_CONNECTED",
            inputs,
            "FullyConnectedOptions",
            version=5,
            keepNumDims=kept,
            fusedActivationFunction=m.activation(),
        )
    )


@case("FULLY_CONNECTED of two inputs")
def fully_connected_of_inputs(m: Maker) -> None:
    """Its weights are an input of the model, another one for each sample."""
    columns = m.int(1, 4)
    x, weight = m.input([m.int(1, 3), columns]), m.input([m.int(1, 4), columns])
    m.hold(m.op("FULLY_CONNECTED", [x, weight, -1], "FullyConnectedOptions"))


@case("BATCH_MATMUL")
def batch_matmul(m: Maker) -> None:
    outer = [m.pick(1, 1, 2), m.int(1, 3)][: m.int(0, 2)]
    rows, inner, columns = m.int(1, 4), m.int(1, 4), m.int(1, 4)
    left_turned, right_turned = m.pick(True, False), m.pick(True, False)
    left = m.input([*outer, *([inner, rows] if left_turned else [rows, inner])])
    last = [columns, inner] if right_turned else [inner, columns]
    right = m.pick(lambda: m.input([*outer, *last]), lambda: m.weight(last))()
    m.hold(m.op("BATCH_MATMUL", [left, right], "BatchMatMulOptions", adjX=left_turned, adjY=right_turned))


@case("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(m: Maker) -> None:
    rows, steps, width, units = m.pick(1, 1, 2), m.int(1, 4), m.int(1, 4), m.int(1, 4)
    time_major = m.pick(True, False)
    x = m.input([steps, rows, width] if time_major else [rows, steps, width])
    projected = m.pick(None, None, m.int(1, 4))
    kept = projected or units
    inputs = [x, *(m.weight([units, width]) for _ in range(4)), *(m.weight([units, kept]) for _ in range(4))]
    inputs += [-1, -1, -1, *(m.weight([units]) for _ in range(4))]
    inputs += [m.weight([kept, units]) if projected else -1, -1]
    for size in (kept, units):
        inputs.append(m.builder.tensor(f"state{size}", [rows, size]))
        m.builder.graph.tensors[-1].isVariable = True
    options = {
        "fusedActivationFunction": m.enum("ActivationFunctionType", "TANH"),
        "timeMajor": time_major,
        "cellClip": m.pick(0.0, 0.5),
    }
    m.hold(m.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, "UnidirectionalSequenceLSTMOptions", **options))


# --- arithmetic

FUSED = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}


@case("ADD", "SUB", "MUL", "DIV")
def fused_pair(m: Maker, name: str) -> None:
    left, right = pair(m, 0.5 if name == "DIV" else -2.0)
    m.hold(m.op(name, [left, right], FUSED[name], fusedActivationFunction=m.activation()))


PLAIN = {
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions", "POW": "PowOptions", "FLOOR_DIV": "FloorDivOptions",
    "FLOOR_MOD": "FloorModOptions",
}  # fmt: skip


@case(*PLAIN)
def plain_pair(m: Maker, name: str) -> None:
    m.smooth = not name.startswith("FLOOR")
    left, right = pair(m, 0.5 if name in ("POW", "FLOOR_DIV", "FLOOR_MOD") else -2.0)
    m.hold(m.op(name, [left, right], PLAIN[name]))


def pair(m: Maker, low: float) -> tuple[int, int]:
    """Return two tensors that are broadcast: an input, and an input of the same or a smaller shape or a constant."""
    shape = m.shape()
    other = [1 if m.pick(True, False, False) else size for size in shape][m.int(0, len(shape) - 1) :]
    whole = m.input(shape, low)
    second = m.pick(
        lambda: m.input(shape, low),
        lambda: m.input(other, low),
        lambda: m.weight(other, low),
        lambda: m.weight([], low),
    )()
    return (whole, second) if m.pick(True, False) else (second, whole)


COMPARED = {
    "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions", "LESS": "LessOptions", "GREATER": "GreaterOptions",
    "LESS_EQUAL": "LessEqualOptions", "GREATER_EQUAL": "GreaterEqualOptions",
}  # fmt: skip


@case(*COMPARED)
def compared(m: Maker, name: str) -> None:
    m.smooth = False
    kind = m.pick("INT32", "FLOAT32")
    shape = m.shape()
    inputs = (
        [m.integers(shape, 3), m.const(m.int(0, 2))]
        if kind == "INT32"
        else [m.input(shape), m.weight(shape[-1:])]
    )
    m.hold(m.op(name, inputs, COMPARED[name], kinds=["BOOL"]))


@case("LOGICAL_AND", "LOGICAL_OR")
def logical(m: Maker, name: str) -> None:
    m.smooth = False
    shape = m.shape()
    inputs = [m.integers(shape, 2, "BOOL"), m.integers(shape, 2, "BOOL")]
    options = {"LOGICAL_AND": "LogicalAndOptions", "LOGICAL_OR": "LogicalOrOptions"}[name]
    m.hold(m.op(name, inputs, options, kinds=["BOOL"]))


@case("LOGICAL_NOT")
def logical_not(m: Maker) -> None:
    m.smooth = False
    m.hold(m.op("LOGICAL_NOT", [m.integers(m.shape(), 2, "BOOL")], "LogicalNotOptions", kinds=["BOOL"]))


SINGLES = {
    "EXP": "ExpOptions", "LOG": "", "SQRT": "", "RSQRT": "", "SQUARE": "SquareOptions", "ABS": "AbsOptions",
    "NEG": "NegOptions", "SIN": "", "COS": "CosOptions", "FLOOR": "", "CEIL": "", "ROUND": "", "SIGN": "",
}  # fmt: skip


@case(*SINGLES)
def single(m: Maker, name: str) -> None:
    m.smooth = name not in ("FLOOR", "CEIL", "ROUND", "SIGN")
    low = 0.25 if name in ("LOG", "SQRT", "RSQRT") else -2.0
    m.hold(m.op(name, [m.input(m.shape(), low)], SINGLES[name]))


@case("ADD_N")
def add_n(m: Maker) -> None:
    shape = m.shape()
    m.hold(m.op("ADD_N", [m.input(shape), m.weight(shape), m.input(shape)], "AddNOptions"))


@case("CAST")
def cast(m: Maker) -> None:
    m.smooth = False
    to = m.pick("INT32", "BOOL", "FLOAT32")
    x = m.integers(m.shape(), 5) if to == "FLOAT32" else m.input(m.shape())
    m.hold(m.op("CAST", [x], "CastOptions", kinds=[to], outDataType=m.enum("TensorType", to)))


@case("CUMSUM")
def cumsum(m: Maker) -> None:
    shape = m.shape()
    axis = m.const(m.int(-len(shape), len(shape) - 1))
    told = {"exclusive": m.pick(True, False), "reverse": m.pick(True, False)}
    m.hold(m.op("CUMSUM", [m.input(shape), axis], "CumsumOptions", **told))


# --- activations

ACTIVATIONS = {
    "RELU": "", "RELU6": "", "RELU_N1_TO_1": "", "RELU_0_TO_1": "", "ELU": "", "HARD_SWISH": "HardSwishOptions",
    "LOGISTIC": "", "TANH": "",
}  # fmt: skip


@case(*ACTIVATIONS)
def activation(m: Maker, name: str) -> None:
    m.hold(m.op(name, [m.input(m.shape(), -8, 8)], ACTIVATIONS[name]))


@case("LEAKY_RELU")
def leaky_relu(m: Maker) -> None:
    m.hold(m.op("LEAKY_RELU", [m.input(m.shape())], "LeakyReluOptions", alpha=m.pick(0.0, 0.1, 0.3, 1.5)))


@case("GELU")
def gelu(m: Maker) -> None:
    m.hold(m.op("GELU", [m.input(m.shape())], "GeluOptions", approximate=m.pick(True, False)))


@case("PRELU")
def prelu(m: Maker) -> None:
    shape = m.image()
    slope = m.pick([1, 1, shape[-1]], shape[1:], [1, 1, 1])
    m.hold(m.op("PRELU", [m.input(shape), m.weight(slope)]))


@case("SOFTMAX")
def softmax(m: Maker) -> None:
    m.hold(m.op("SOFTMAX", [m.input(m.shape(), -9, 9)], "SoftmaxOptions", beta=m.pick(1.0, 0.5)))


@case("LOG_SOFTMAX")
def log_softmax(m: Maker) -> None:
    m.hold(m.op("LOG_SOFTMAX", [m.input(m.shape(), -9, 9)], "LogSoftmaxOptions"))


@case("L2_NORMALIZATION")
def l2_normalization(m: Maker) -> None:
    m.hold(m.op("L2_NORMALIZATION", [m.input(m.shape())], "L2NormOptions"))


@case("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(m: Maker) -> None:
    told = {
        "radius": m.int(0, 3),
        "bias": m.pick(1.0, 2.0),
        "alpha": m.pick(0.1, 1.0),
        "beta": m.pick(0.5, 0.75),
    }
    options = "LocalResponseNormalizationOptions"
    m.hold(m.op("LOCAL_RESPONSE_NORMALIZATION", [m.input(m.image())], options, **told))


# --- pools and reductions


@case("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
def pool(m: Maker, name: str) -> None:
    x = m.input(m.image(4, 9), 0.25 if name == "L2_POOL_2D" else -2.0)
    told = {
        "strideH": m.int(1, 3),
        "strideW": m.int(1, 3),
        "filterHeight": m.int(1, 4),
        "filterWidth": m.int(1, 4),
    }
    m.hold(
        m.op(
            name,
            [x],
            "Pool2DOptions",
            padding=m.padding(),
            fusedActivationFunction=m.activation(),
            **told,
        )
    )


@case("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
def reduction(m: Maker, name: str) -> None:
    x, axes = reduced(m, lambda shape: m.input(shape))
    m.hold(m.op(name, [x, axes], "ReducerOptions", keepDims=m.pick(True, False)))


@case("REDUCE_ANY", "REDUCE_ALL")
def logical_reduction(m: Maker, name: str) -> None:
    m.smooth = False
    x, axes = reduced(m, lambda shape: m.integers(shape, 2, "BOOL"))
    m.hold(m.op(name, [x, axes], "ReducerOptions", kinds=["BOOL"], keepDims=m.pick(True, False)))


def reduced(m: Maker, make: Any) -> tuple[int, int]:
    """Return (an input, the axes to reduce), which may be the file's batch, negative, or all of them."""
    shape = m.shape()
    axes = [axis for axis in range(len(shape)) if m.pick(True, False)] or [len(shape) - 1]
    return make(shape), m.const([axis - len(shape) if m.pick(True, False) else axis for axis in axes])


@case("ARG_MAX", "ARG_MIN")
def place(m: Maker, name: str) -> None:
    m.smooth = False
    shape, kind = m.shape(), m.pick("INT32", "INT64")
    axis = m.const(m.int(-len(shape), len(shape) - 1))
    options = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[name]
    told = {"outputType": m.enum("TensorType", kind)}
    m.hold(m.op(name, [m.input(shape), axis], options, kinds=[kind], **told))


@case("TOPK_V2")
def top_k(m: Maker) -> None:
    shape = m.shape()
    x, count = m.input(shape), m.const(m.int(1, shape[-1]))
    m.hold(m.op("TOPK_V2", [x, count], "TopKV2Options", outputs=2, kinds=["FLOAT32", "INT32"]))


# --- shapes


@case("RESHAPE")
def reshape(m: Maker) -> None:
    """Also to targets that fold the file's batch into other axes, or move it."""
    shape = m.shape()
    elements = int(np.prod(shape))
    first = m.pick(*(n for n in range(1, elements + 1) if elements % n == 0))
    target = m.pick(
        [first, elements // first], [1, elements], [elements], [first, 1, -1], [-1], [1, -1, first]
    )
    x = m.input(shape)
    if m.pick(True, False):
        made = m.op("RESHAPE", [x, m.const(target)], "ReshapeOptions", newShape=target)
    else:
        made = m.op("RESHAPE", [x], "ReshapeOptions", newShape=target)
    m.hold(made)


@case("SQUEEZE")
def squeeze(m: Maker) -> None:
    shape = [1, m.int(1, 3), 1, m.int(2, 3)]
    axes = m.pick([], [0], [2], [0, 2], [-2])
    m.hold(m.op("SQUEEZE", [m.input(shape)], "SqueezeOptions", squeezeDims=axes))


@case("EXPAND_DIMS")
def expand_dims(m: Maker) -> None:
    shape = m.shape(1, 3)
    axis = m.int(-len(shape) - 1, len(shape))
    m.hold(m.op("EXPAND_DIMS", [m.input(shape), m.const(axis)], "ExpandDimsOptions"))


@case("TRANSPOSE")
def transpose(m: Maker) -> None:
    shape = m.shape(1, 4)
    order = m.rng.permutation(len(shape)).tolist()
    m.hold(m.op("TRANSPOSE", [m.input(shape), m.const(order)], "TransposeOptions"))


@case("PAD", "PADV2", "MIRROR_PAD")
def pad(m: Maker, name: str) -> None:
    shape = [m.pick(1, 1, 2), *(m.int(2, 4) for _ in range(m.int(1, 3)))]
    x = m.input(shape)
    if name == "MIRROR_PAD":
        mode = m.pick("REFLECT", "SYMMETRIC")
        most = [size - (mode == "REFLECT") for size in shape]
        pads = [[m.int(0, n), m.int(0, n)] for n in most]
        told = {"mode": m.enum("MirrorPadMode", mode)}
        m.hold(m.op(name, [x, m.const(pads)], "MirrorPadOptions", **told))
        return
    pads = m.const([[m.int(0, 2), m.int(0, 2)] for _ in shape])
    if name == "PAD":
        m.hold(m.op(name, [x, pads], "PadOptions"))
    else:
        m.hold(m.op(name, [x, pads, m.const(m.pick(0.0, -3.5), "FLOAT32")], "PadV2Options"))


@case("CONCATENATION")
def concatenation(m: Maker) -> None:
    """Of inputs and constants."""
    shape = m.shape()
    axis = m.int(-len(shape), len(shape) - 1)
    inputs = []
    for number in range(m.int(1, 3)):
        own = list(shape)
        own[axis] = m.int(1, 3)
        inputs.append(m.input(own) if number == 0 or m.pick(True, False) else m.weight(own))
    inputs = [inputs[number] for number in m.rng.permutation(len(inputs))]
    m.hold(m.op("CONCATENATION", inputs, "ConcatenationOptions", axis=axis))


@case("SPLIT")
def split(m: Maker) -> None:
    shape, parts = m.shape(), m.int(1, 3)
    axis = m.int(-len(shape), len(shape) - 1)
    shape[axis] *= parts
    inputs = [m.const(axis), m.input(shape)]
    m.hold(m.op("SPLIT", inputs, "SplitOptions", outputs=parts, numSplits=parts))


@case("SPLIT_V")
def split_v(m: Maker) -> None:
    shape = m.shape()
    axis = m.int(-len(shape), len(shape) - 1)
    sizes = [m.int(1, 3) for _ in range(m.int(1, 3))]
    shape[axis] = sum(sizes)
    told = [*sizes[:-1], -1] if m.pick(True, False) else sizes
    inputs = [m.input(shape), m.const(told), m.const(axis)]
    m.hold(m.op("SPLIT_V", inputs, "SplitVOptions", outputs=len(sizes), numSplits=len(sizes)))


@case("PACK")
def pack(m: Maker) -> None:
    shape, count = m.shape(1, 3), m.int(1, 3)
    inputs = [m.input(shape), *(m.pick(m.input, m.weight)(shape) for _ in range(count - 1))]
    axis = m.int(-len(shape) - 1, len(shape))
    m.hold(m.op("PACK", inputs, "PackOptions", axis=axis, valuesCount=count))


@case("UNPACK")
def unpack(m: Maker) -> None:
    shape = m.shape()
    axis = m.int(-len(shape), len(shape) - 1)
    told = {"axis": axis, "num": shape[axis]}
    m.hold(m.op("UNPACK", [m.input(shape)], "UnpackOptions", outputs=shape[axis], **told))


@case("SLICE")
def sliced(m: Maker) -> None:
    shape = m.shape()
    begin = [m.int(0, size - 1) for size in shape]
    size = [m.pick(-1, m.int(1, s - b)) for s, b in zip(shape, begin, strict=True)]
    m.hold(m.op("SLICE", [m.input(shape), m.const(begin), m.const(size)], "SliceOptions"))


@case("STRIDED_SLICE")
def strided_slice(m: Maker) -> None:
    """With every mask, as converters write it: the ends of the file's batch are 1 in it."""
    shape = [m.pick(1, 1, 2), *(m.int(2, 5) for _ in range(m.int(0, 3)))]
    begin, end, strides, masks = [], [], [], {"begin": 0, "end": 0, "shrink": 0}
    for axis, size in enumerate(shape):
        stride = m.pick(1, 1, 2, -1)
        first = m.int(0, size - 1)
        last = m.int(first + 1, size) if stride > 0 else -size - 1
        if m.pick(False, False, False, True):
            masks["shrink"] |= 1 << axis
            stride, last = 1, first + 1
        else:
            masks["begin"] |= m.pick(0, 1) << axis
            masks["end"] |= m.pick(0, 1) << axis
        begin.append(first)
        end.append(last)
        strides.append(stride)
    inputs = [m.input(shape), m.const(begin), m.const(end), m.const(strides)]
    told = {"beginMask": masks["begin"], "endMask": masks["end"], "shrinkAxisMask": masks["shrink"]}
    m.hold(m.op("STRIDED_SLICE", inputs, "StridedSliceOptions", **told))


@case("STRIDED_SLICE with new axes")
def strided_slice_new(m: Maker) -> None:
    shape = [1, m.int(2, 4), m.int(2, 4)]
    axis = m.int(0, 2)
    inputs = [m.input(shape), m.const([0, 0, 0]), m.const([1, 2, 1]), m.const([1, 1, 1])]
    told = {"newAxisMask": 1 << axis, "endMask": m.pick(0, 7), "ellipsisMask": 0}
    m.hold(m.op("STRIDED_SLICE", inputs, "StridedSliceOptions", version=6, **told))


@case("STRIDED_SLICE with an ellipsis")
def strided_slice_ellipsis(m: Maker) -> None:
    shape = [1, m.int(2, 4), m.int(2, 4), 4]
    inputs = [m.input(shape), m.const([0, 1]), m.const([0, 3]), m.const([1, 1])]
    m.hold(m.op("STRIDED_SLICE", inputs, "StridedSliceOptions", ellipsisMask=1, version=6))


@case("GATHER")
def gather(m: Maker) -> None:
    """Of inputs by constants or by another input, of a table by an input (an embedding), and row by row."""
    kind = m.pick("rows", "both", "table", "grouped")
    shape = m.shape()
    axis = m.int(-len(shape), len(shape) - 1)
    told, version = {"axis": axis}, 1
    if kind == "rows":
        rows = m.const(m.rng.integers(0, shape[axis], m.shape(1, 2)))
        inputs = [m.input(shape), rows]
    elif kind == "both":
        inputs = [m.input(shape), m.integers(m.shape(1, 2), shape[axis])]
    elif kind == "table":
        inputs = [m.weight(shape), m.integers(m.shape(1, 2), shape[axis])]
    else:
        shape = [2, m.int(1, 3), m.int(2, 4)]
        inputs = [m.input(shape), m.integers([2, m.int(1, 3)], shape[1])]
        told, version = {"axis": 1, "batchDims": 1}, 5
    m.hold(m.op("GATHER", inputs, "GatherOptions", version=version, **told))


@case("GATHER_ND")
def gather_nd(m: Maker) -> None:
    shape = [m.pick(1, 2), m.int(1, 3), m.int(1, 3)]
    depth = m.int(1, 3)
    places = m.rng.integers(0, 1 + np.array(shape[:depth]) * 0, [m.int(1, 3), depth])
    if m.pick(True, False):
        inputs = [m.input(shape), m.const(places)]
    else:
        inputs = [m.input(shape), m.integers([2, depth], min(shape[:depth]))]
    m.hold(m.op("GATHER_ND", inputs, "GatherNdOptions"))


@case("TILE")
def tile(m: Maker) -> None:
    shape = m.shape()
    m.hold(m.op("TILE", [m.input(shape), m.const([m.int(1, 3) for _ in shape])], "TileOptions"))


@case("BROADCAST_TO")
def broadcast_to(m: Maker) -> None:
    target = m.shape(2, 4)
    own = [1 if m.pick(True, False) else size for size in target][m.int(0, 1) :]
    m.hold(m.op("BROADCAST_TO", [m.input(own), m.const(target)], "BroadcastToOptions", version=2))


@case("REVERSE_V2")
def reverse(m: Maker) -> None:
    shape = m.shape()
    m.hold(m.op("REVERSE_V2", [m.input(shape), m.const([m.int(0, len(shape) - 1)])], "ReverseV2Options"))


@case("SELECT", "SELECT_V2")
def select(m: Maker, name: str) -> None:
    shape = [*m.shape(1, 3), m.int(2, 4)]  # of single values LiteRT forgets the axes
    own = shape
    if name == "SELECT" and m.pick(True, False):
        own = shape[:1]
    if name == "SELECT_V2":
        own = m.pick(shape, shape[1:], [1 for _ in shape])
    condition = m.integers(own, 2, "BOOL")
    other = m.weight([1] if name == "SELECT_V2" else shape)
    options = {"SELECT": "SelectOptions", "SELECT_V2": "SelectV2Options"}[name]
    m.hold(m.op(name, [condition, m.input(shape), other], options))


@case("ONE_HOT")
def one_hot(m: Maker) -> None:
    m.smooth = False
    shape = m.shape(1, 3)
    inputs = [m.integers(shape, 5), m.const(4), m.const(1.5, "FLOAT32"), m.const(-0.5, "FLOAT32")]
    m.hold(m.op("ONE_HOT", inputs, "OneHotOptions", axis=m.pick(-1, *range(len(shape) + 1))))


@case("FILL")
def fill(m: Maker) -> None:
    m.hold(m.op("FILL", [m.const(m.shape()), m.input([])], "FillOptions"))


@case("ZEROS_LIKE")
def zeros_like(m: Maker) -> None:
    m.hold(m.op("ZEROS_LIKE", [m.input(m.shape())], "ZerosLikeOptions"))


@case("SHAPE")
def shape(m: Maker) -> None:
    """As models with an open batch use it: the shape of a tensor says how another one is shaped."""
    own = m.shape(2, 4)
    x = m.input(own)
    told = m.op("SHAPE", [x], "ShapeOptions", kinds=["INT32"], outType=m.enum("TensorType", "INT32"))[0]
    first = m.op(
        "STRIDED_SLICE",
        [told, m.const([0]), m.const([1]), m.const([1])],
        "StridedSliceOptions",
        kinds=["INT32"],
        shrinkAxisMask=1,
    )[0]
    rest = m.const(int(np.prod(own[1:])))
    target = m.op("PACK", [first, rest], "PackOptions", kinds=["INT32"], valuesCount=2)[0]
    m.hold(m.op("RESHAPE", [x, target], "ReshapeOptions"))


@case("RANK", "RANGE")
def of_ranks(m: Maker, name: str) -> None:
    """Axes counted from a rank, over which a sum is taken."""
    shape = m.shape(2, 4)
    x = m.input(shape)
    last = m.op("RANK", [x], "RankOptions", kinds=["INT32"])[0] if name == "RANK" else m.const(len(shape))
    axes = m.op("RANGE", [m.const(1), last, m.const(m.int(1, 2))], "RangeOptions", kinds=["INT32"])[0]
    m.hold(m.op("SUM", [x, axes], "ReducerOptions"))


# --- images


@case("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(m: Maker, name: str) -> None:
    """All three ways to lay the grids over one another, to larger and smaller sizes."""
    how = m.pick({}, {"alignCorners": True}, {"halfPixelCenters": True})
    options = {
        "RESIZE_BILINEAR": "ResizeBilinearOptions",
        "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    }[name]
    inputs = [m.input(m.image(2, 6)), m.const([m.int(1, 11), m.int(1, 11)])]
    m.hold(m.op(name, inputs, options, version=3, **how))


@case("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def blocks(m: Maker, name: str) -> None:
    size = m.int(1, 3)
    rows, height, width, channels = m.image(1, 3)
    if name == "SPACE_TO_DEPTH":
        own, options = [rows, height * size, width * size, channels], "SpaceToDepthOptions"
    else:
        own, options = [rows, height, width, channels * size * size], "DepthToSpaceOptions"
    m.hold(m.op(name, [m.input(own)], options, blockSize=size))


@case("SPACE_TO_BATCH_ND")
def space_to_batch(m: Maker) -> None:
    block = [m.int(1, 3), m.int(1, 3)]
    rows, height, width, channels = m.image(2, 5)
    pads = [[m.int(0, 2), 0], [m.int(0, 2), 0]]
    for axis, size in enumerate((height, width)):
        pads[axis][1] = -(size + pads[axis][0]) % block[axis]
    inputs = [m.input([rows, height, width, channels]), m.const(block), m.const(pads)]
    m.hold(m.op("SPACE_TO_BATCH_ND", inputs, "SpaceToBatchNDOptions"))


@case("BATCH_TO_SPACE_ND")
def batch_to_space(m: Maker) -> None:
    block = [m.int(1, 2), m.int(1, 3)]
    rows, height, width, channels = m.image(2, 4)
    crops = [[m.int(0, 1), 0], [0, m.int(0, 1)]]
    inputs = [m.input([rows * block[0] * block[1], height, width, channels]), m.const(block), m.const(crops)]
    m.hold(m.op("BATCH_TO_SPACE_ND", inputs, "BatchToSpaceNDOptions"))


# --- numbers of other types


@case("ATAN2")
def atan2(m: Maker) -> None:
    shape = m.shape()
    m.hold(m.op("ATAN2", [m.input(shape, 0.25), m.input(shape, 0.25)]))


@case("DEQUANTIZE")
def dequantize(m: Maker) -> None:
    """Weights in half precision, as files hold them that a converter made smaller."""
    columns, out = m.int(1, 5), m.int(1, 5)
    weight = m.op("DEQUANTIZE", [m.const(m.values([out, columns]), "FLOAT16")], version=3)[0]
    x = m.input([*m.shape(1, 2), columns])
    m.hold(m.op("FULLY_CONNECTED", [x, weight, -1], "FullyConnectedOptions"))


def run_all(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, str]:
    """Return what is wrong by case, "" for one that holds. `payload`: `examples`, `random`."""
    found = {}
    for name, check in CASES.items():
        try:
            holding(check, payload["examples"], payload["random"])()
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc(limit=-4)
    return found
