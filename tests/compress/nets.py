"""Small float models of the kinds that people have, built from the schema: `Net`, KINDS, and random ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeship.tflite.refit import packed
from edgeship.tflite.schema import tflite_schema

schema = tflite_schema()
CONVS = {"CONV_2D": "Conv2DOptionsT", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptionsT"}


class Net:
    """Builds one graph; every method adds an operation and returns its output's index."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "a net of a test"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b"main"
        self.model.subgraphs = [self.graph]
        self.inputs: list[int] = []

    def shape(self, index: int) -> list[int]:
        return list(self.graph.tensors[index].shape)

    def tensor(self, shape: list[int], value: Any = None, name: str = "t") -> int:
        tensor = schema.TensorT()
        tensor.name = f"{name}_{len(self.graph.tensors)}".encode()
        tensor.shape = [int(size) for size in shape]
        tensor.type = schema.TensorType.FLOAT32
        tensor.buffer = 0
        if value is not None:
            held = np.ascontiguousarray(value)
            tensor.type = getattr(schema.TensorType, str(held.dtype).upper())
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(held.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def ints(self, *values: Any) -> int:
        held = np.array(values, np.int32)
        return self.tensor(list(held.shape), held, "ints")

    def scalar(self, value: int) -> int:
        return self.tensor([], np.array(value, np.int32), "scalar")

    def weights(self, *shape: int) -> int:
        scale = 1.0 / math.sqrt(max(1, math.prod(shape[1:])))
        value = self.random.normal(size=shape) * scale + 0.02
        return self.tensor(list(shape), value.astype(np.float32), "w")

    def op(self, name: str, inputs: list[int], shapes: list[list[int]], **options: Any) -> list[int]:
        number = getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = {"FULLY_CONNECTED": 2, "BATCH_MATMUL": 1}.get(name, 1)
        self.model.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex = len(self.model.operatorCodes) - 1
        kind = options.pop("kind", None)
        if kind:
            op.builtinOptions = getattr(schema, kind)()
            op.builtinOptionsType = getattr(schema.BuiltinOptions, kind.removesuffix("T"))
            for key, value in options.items():
                setattr(op.builtinOptions, key, value)
        outputs = [self.tensor(shape, name=name.lower()) for shape in shapes]
        op.inputs, op.outputs = inputs, outputs
        self.graph.operators.append(op)
        return outputs

    def input(self, *shape: int) -> int:
        self.inputs.append(self.tensor(list(shape), name="input"))
        return self.inputs[-1]

    def conv(
        self, x: int, out: int, size: int = 3, *, stride: int = 1, act: int = 1, groups: int = 1, w: int = -1
    ) -> int:
        n, high, wide, channels = self.shape(x)
        w = self.weights(out, size, size, channels // groups) if w < 0 else w
        return self.op(
            "CONV_2D", [x, w, self.weights(out)], [[n, -(-high // stride), -(-wide // stride), out]],
            kind="Conv2DOptionsT", strideW=stride, strideH=stride, fusedActivationFunction=act,
            dilationWFactor=1, dilationHFactor=1,
        )[0]  # fmt: skip

    def depthwise(self, x: int, multiplier: int = 1, *, size: int = 3, act: int = 1) -> int:
        n, high, wide, channels = self.shape(x)
        out = channels * multiplier
        return self.op(
            "DEPTHWISE_CONV_2D", [x, self.weights(1, size, size, out), self.weights(out)],
            [[n, high, wide, out]], kind="DepthwiseConv2DOptionsT", strideW=1, strideH=1,
            depthMultiplier=multiplier, fusedActivationFunction=act, dilationWFactor=1, dilationHFactor=1,
        )[0]  # fmt: skip

    def dense(self, x: int, out: int, *, act: int = 0, bias: bool = True, keep: bool = False) -> int:
        shape = self.shape(x)
        width = shape[-1] if keep or len(shape) == 2 else math.prod(shape[1:])
        made = [*shape[:-1], out] if keep else [shape[0], out]
        return self.op(
            "FULLY_CONNECTED", [x, self.weights(out, width), self.weights(out) if bias else -1], [made],
            kind="FullyConnectedOptionsT", fusedActivationFunction=act, keepNumDims=keep,
        )[0]  # fmt: skip

    def up(self, x: int, out: int) -> int:
        n, high, wide, channels = self.shape(x)
        made = [n, 2 * high, 2 * wide, out]
        return self.op(
            "TRANSPOSE_CONV", [self.ints(*made), self.weights(out, 2, 2, channels), x], [made],
            kind="TransposeConvOptionsT", strideW=2, strideH=2,
        )[0]  # fmt: skip

    def pair(self, name: str, x: int, y: int) -> int:
        kind = f"{name.title()}OptionsT" if name in ("ADD", "SUB", "MUL", "DIV") else "MaximumMinimumOptionsT"
        made = list(np.broadcast_shapes(self.shape(x), self.shape(y)))
        return self.op(name, [x, y], [made], kind=kind)[0]

    def unary(self, name: str, x: int) -> int:
        return self.op(name, [x], [self.shape(x)])[0]

    def prelu(self, x: int) -> int:
        return self.op("PRELU", [x, self.weights(1, 1, self.shape(x)[3])], [self.shape(x)])[0]

    def concat(self, *inputs: int, axis: int = -1) -> int:
        made = self.shape(inputs[0])
        made[axis] = sum(self.shape(i)[axis] for i in inputs)
        return self.op("CONCATENATION", list(inputs), [made], kind="ConcatenationOptionsT", axis=axis)[0]

    def pool(self, x: int, name: str = "MAX_POOL_2D", size: int = 2) -> int:
        n, high, wide, channels = self.shape(x)
        return self.op(
            name, [x], [[n, high // size, wide // size, channels]], kind="Pool2DOptionsT", filterWidth=size,
            filterHeight=size, strideW=size, strideH=size, padding=1,
        )[0]  # fmt: skip

    def mean(self, x: int, *axes: int, keep: bool = False, name: str = "MEAN") -> int:
        shape = self.shape(x)
        made = [1 if a in axes else s for a, s in enumerate(shape) if keep or a not in axes]
        return self.op(name, [x, self.ints(*axes)], [made], kind="ReducerOptionsT", keepDims=keep)[0]

    def reshape(self, x: int, *shape: int) -> int:
        total = math.prod(self.shape(x)) // math.prod(s for s in shape if s > 0)
        made = [s if s > 0 else total for s in shape]
        return self.op(
            "RESHAPE", [x, self.ints(*shape)], [made], kind="ReshapeOptionsT", newShape=list(shape)
        )[0]

    def flat(self, x: int) -> int:
        return self.reshape(x, self.shape(x)[0], -1)

    def transpose(self, x: int, *order: int) -> int:
        made = [self.shape(x)[a] for a in order]
        return self.op("TRANSPOSE", [x, self.ints(*order)], [made], kind="TransposeOptionsT")[0]

    def pad(self, x: int, *pads: tuple[int, int]) -> int:
        made = [s + a + b for s, (a, b) in zip(self.shape(x), pads, strict=True)]
        return self.op("PAD", [x, self.ints(*pads)], [made], kind="PadOptionsT")[0]

    def split(self, x: int, parts: int, axis: int = 3) -> list[int]:
        made = self.shape(x)
        made[axis] //= parts
        return self.op(
            "SPLIT", [self.scalar(axis), x], [list(made) for _ in range(parts)], kind="SplitOptionsT",
            numSplits=parts,
        )  # fmt: skip

    def split_v(self, x: int, *sizes: int, axis: int = 3) -> list[int]:
        made = [[*self.shape(x)[:axis], s, *self.shape(x)[axis + 1 :]] for s in sizes]
        return self.op(
            "SPLIT_V",
            [x, self.ints(*sizes), self.scalar(axis)],
            made,
            kind="SplitVOptionsT",
            numSplits=len(sizes),
        )

    def slice(self, x: int, first: int, count: int) -> int:
        shape = self.shape(x)
        begin, size = [0] * (len(shape) - 1) + [first], [-1] * (len(shape) - 1) + [count]
        return self.op("SLICE", [x, self.ints(*begin), self.ints(*size)], [[*shape[:-1], count]])[0]

    def strided(self, x: int, first: int, last: int) -> int:
        shape = self.shape(x)
        masks = (1 << (len(shape) - 1)) - 1
        begin, end = [0] * (len(shape) - 1) + [first], [0] * (len(shape) - 1) + [last]
        made = [*shape[:-1], len(range(shape[-1])[first:last])]
        return self.op(
            "STRIDED_SLICE", [x, self.ints(*begin), self.ints(*end), self.ints(*[1] * len(shape))], [made],
            kind="StridedSliceOptionsT", beginMask=masks, endMask=masks,
        )[0]  # fmt: skip

    def resize(self, x: int, factor: int = 2) -> int:
        n, high, wide, channels = self.shape(x)
        return self.op(
            "RESIZE_NEAREST_NEIGHBOR", [x, self.ints(high * factor, wide * factor)],
            [[n, high * factor, wide * factor, channels]], kind="ResizeNearestNeighborOptionsT",
        )[0]  # fmt: skip

    def blocks(self, x: int, name: str) -> int:
        n, high, wide, channels = self.shape(x)
        deep = name == "SPACE_TO_DEPTH"
        made = [n, high // 2, wide // 2, channels * 4] if deep else [n, high * 2, wide * 2, channels // 4]
        kind = "SpaceToDepthOptionsT" if deep else "DepthToSpaceOptionsT"
        return self.op(name, [x], [made], kind=kind, blockSize=2)[0]

    def softmax(self, x: int) -> int:
        return self.op("SOFTMAX", [x], [self.shape(x)], kind="SoftmaxOptionsT", beta=1.0)[0]

    def recurrent(self, x: int, width: int, *, every: bool = True, by: int = 1) -> int:
        """A plain recurrent layer over `[steps, 1, n]` as Keras 3 writes it: a WHILE that counts, takes a row, and puts
        its result where it belongs (`every`) or hands the last one on. `by`: what is counted by."""
        steps, _, given = self.shape(x)
        rows = steps if every else 1
        start = [self.scalar(0), self.zeros(rows, 1, width), self.zeros(1, width), x]
        shapes = [self.shape(i) for i in start]
        outputs = self.op(
            "WHILE", start, shapes, kind="WhileOptionsT",
            condSubgraphIndex=len(self.model.subgraphs), bodySubgraphIndex=len(self.model.subgraphs) + 1,
        )  # fmt: skip
        self.graph.tensors[outputs[0]].type = schema.TensorType.INT32
        main = self.graph
        i, *_ = self._inner(shapes)
        (goes_on,) = self.op("LESS", [i, self.scalar(steps)], [[]], kind="LessOptionsT")
        self.graph.tensors[goes_on].type = schema.TensorType.BOOL
        self.graph.outputs = [goes_on]
        i, made, state, x = self._inner(shapes)
        (following,) = self.op("ADD", [i, self.scalar(by)], [[]], kind="AddOptionsT")
        self.graph.tensors[following].type = schema.TensorType.INT32
        (row,) = self.op("GATHER", [x, i], [[1, given]], kind="GatherOptionsT", axis=0)
        state = self.unary("TANH", self.pair("ADD", self.dense(row, width), self.dense(state, width)))
        one = self.reshape(state, 1, 1, width)
        self.graph.outputs = [following, self._put(made, i, following, one) if every else one, state, x]
        self.graph = main
        return outputs[1] if every else outputs[2]

    def zeros(self, *shape: int) -> int:
        return self.tensor(list(shape), np.zeros(shape, np.float32), "zeros")

    def _inner(self, shapes: list[list[int]]) -> list[int]:
        """Begin a graph of a loop, and return its inputs: a counter and floats."""
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b"inner"
        self.model.subgraphs.append(self.graph)
        number = len(self.model.subgraphs)
        self.graph.inputs = [self.tensor(shape, name=f"inner{number}") for shape in shapes]
        self.graph.tensors[0].type = schema.TensorType.INT32
        return list(self.graph.inputs)

    def _put(self, made: int, i: int, following: int, one: int) -> int:
        """Put a row where a counter says: what is before it, it, and what is behind it, joined."""
        shape = self.shape(made)

        def where(start: list[int]) -> int:
            (made,) = self.op("CONCATENATION", start, [[3]], kind="ConcatenationOptionsT", axis=0)
            self.graph.tensors[made].type = schema.TensorType.INT32
            return made

        def cut(begin: int, size: int) -> int:
            (part,) = self.op("SLICE", [made, begin, size], [shape])
            self.graph.tensors[part].shapeSignature = [-1, *shape[1:]]
            return part

        first, second = (self.reshape(n, 1) for n in (i, following))
        for index in (first, second):
            self.graph.tensors[index].type = schema.TensorType.INT32
        before = cut(self.ints(0, 0, 0), where([first, self.ints(-1, -1)]))
        behind = cut(where([second, self.ints(0, 0)]), self.ints(-1, -1, -1))
        return self.op("CONCATENATION", [before, one, behind], [shape], kind="ConcatenationOptionsT", axis=0)[
            0
        ]

    def build(self, *outputs: int) -> bytes:
        """Return the file, with a signature that names what goes in and out."""
        self.graph.inputs, self.graph.outputs = self.inputs, list(outputs)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        for side, indices in (("inputs", self.inputs), ("outputs", outputs)):
            maps = []
            for number, index in enumerate(indices):
                entry = schema.TensorMapT()
                entry.name, entry.tensorIndex = f"{side}_{number}".encode(), index
                maps.append(entry)
            setattr(signature, side, maps)
        self.model.signatureDefs = [signature]
        return packed(self.model, schema, b"")


def plain_cnn(net: Net) -> list[int]:
    """The CNN that everybody trains on digits: two convolutions, flatten, two dense layers."""
    x = net.pool(net.conv(net.input(1, 8, 8, 1), 8))
    x = net.pool(net.conv(x, 12))
    return [net.softmax(net.dense(net.dense(net.flat(x), 16, act=1), 10))]


def resnet(net: Net) -> list[int]:
    """Residual blocks, one with a convolution in its shortcut, and a pool that the dense layer flattens itself."""
    x = net.conv(net.input(1, 8, 8, 3), 8)
    for width, stride in ((8, 1), (8, 1), (16, 2), (16, 1)):
        y = net.conv(net.conv(x, width, stride=stride), width, act=0)
        short = x if net.shape(x) == net.shape(y) else net.conv(x, width, 1, stride=stride, act=0)
        x = net.unary("RELU", net.pair("ADD", short, y))
    return [net.dense(net.pool(x, "AVERAGE_POOL_2D", 4), 5)]


def padded_resnet(net: Net) -> list[int]:
    """A shortcut that is padded with channels of zeros."""
    x = net.conv(net.input(1, 8, 8, 3), 8)
    y = net.conv(net.conv(x, 16), 16, act=0)
    x = net.pair("ADD", y, net.pad(x, (0, 0), (0, 0), (0, 0), (3, 5)))
    return [net.dense(net.mean(x, 1, 2), 4)]


def mobilenet(net: Net) -> list[int]:
    """Inverted residuals: expand, depthwise, project, add."""
    x = net.conv(net.input(1, 8, 8, 3), 8, act=3)
    for _ in range(2):
        y = net.depthwise(net.conv(x, 24, 1, act=3), act=3)
        x = net.pair("ADD", x, net.conv(y, 8, 1, act=0))
    return [net.softmax(net.dense(net.mean(x, 1, 2), 6))]


def unet(net: Net) -> list[int]:
    """Down, up by a transposed convolution and by a resize, joined with what was on that level."""
    x = net.input(1, 8, 8, 3)
    a = net.conv(x, 8)
    b = net.conv(net.pool(a), 12)
    c = net.conv(net.pool(b), 16)
    b = net.conv(net.concat(net.up(c, 12), b), 12)
    a = net.conv(net.concat(net.conv(net.resize(b), 8), a), 8)
    return [net.unary("LOGISTIC", net.conv(a, 2, 1, act=0))]


def inception(net: Net) -> list[int]:
    """Branches side by side, joined twice."""
    x = net.input(1, 8, 8, 3)
    for _ in range(2):
        x = net.concat(net.conv(x, 6, 1), net.conv(net.conv(x, 4, 1), 8), net.conv(x, 5, 5), x)
    return [net.dense(net.mean(x, 1, 2), 4)]


def detector(net: Net) -> list[int]:
    """A neck of splits and joins as YOLO has it, and two heads that are flattened to boxes."""
    x = net.conv(net.input(1, 8, 8, 3), 16)
    a, b = net.split(x, 2)
    c = net.conv(b, 8)
    d, e = net.split_v(net.conv(net.concat(a, b, c), 12), 5, 7)
    x = net.concat(net.unary("TANH", d), net.slice(e, 2, 5), net.strided(x, 4, -2))
    heads = [net.reshape(net.conv(net.conv(x, 10), 3 * 7, 1, act=0), 1, -1, 7)]
    heads.append(net.reshape(net.conv(net.pool(x), 3 * 7, 1, act=0), 1, -1, 7))
    return [net.concat(*heads, axis=1), net.dense(net.mean(x, 1, 2), 3)]


def squeezed(net: Net) -> list[int]:
    """Squeeze and excite: channels scaled by what a small branch makes of their means; a scale a channel besides."""
    x = net.conv(net.input(1, 8, 8, 3), 12)
    x = net.pair("MUL", x, net.weights(1, 1, 1, 12))
    s = net.mean(x, 1, 2, keep=True)
    s = net.unary("LOGISTIC", net.conv(net.conv(s, 4, 1), 12, 1, act=0))
    x = net.pair("ADD", net.pair("MUL", x, s), net.weights(12))
    spatial = net.unary("LOGISTIC", net.conv(x, 1, 3, act=0))
    x = net.prelu(net.depthwise(net.pair("MUL", x, spatial), 2))
    return [net.dense(net.conv(net.pool(x), 8), 5)]


def shuffled(net: Net) -> list[int]:
    """Convolutions by groups with channels shuffled between them."""
    x = net.conv(net.input(1, 4, 4, 3), 12)
    x = net.conv(x, 18, 1, groups=3)
    x = net.reshape(net.transpose(net.reshape(x, 1, 4, 4, 3, 6), 0, 1, 2, 4, 3), 1, 4, 4, 18)
    x = net.conv(net.conv(x, 12, 3, groups=3), 24, 1, groups=12)
    return [net.dense(net.mean(x, 1, 2), 4)]


def conv1d(net: Net) -> list[int]:
    """One-dimensional convolutions, as converters write them, behind depthwise ones of a single input channel."""
    x = net.input(1, 16, 1)
    x = net.depthwise(net.reshape(x, 1, 1, 16, 1), 6)
    x = net.conv(net.reshape(net.reshape(x, 1, 16, 6), 1, 1, 16, 6), 8)
    x = net.reshape(x, 1, 16, 8)
    x = net.dense(x, 10, act=1, keep=True)
    x = net.transpose(x, 0, 2, 1)
    x = net.mean(x, 2, name="REDUCE_MAX")
    return [net.dense(x, 4, bias=False)]


def pixel_shuffle(net: Net) -> list[int]:
    """Super-resolution: depth to space, and back."""
    x = net.conv(net.input(1, 4, 4, 3), 16)
    x = net.blocks(x, "DEPTH_TO_SPACE")
    x = net.blocks(net.conv(x, 6), "SPACE_TO_DEPTH")
    return [net.blocks(net.conv(x, 12, act=0), "DEPTH_TO_SPACE")]


def siamese(net: Net) -> list[int]:
    """Two inputs through the same weights, compared."""
    w, v = net.weights(8, 3, 3, 3), net.weights(6, 3, 3, 8)
    a, b = (net.mean(net.conv(net.conv(net.input(1, 6, 6, 3), 8, w=w), 6, w=v), 1, 2) for _ in range(2))
    return [net.dense(net.concat(net.pair("SUB", a, b), net.pair("MUL", a, b)), 2)]


def decoder(net: Net) -> list[int]:
    """A generator: dense, then a map of it."""
    x = net.dense(net.input(1, 5), 4 * 4 * 6, act=1)
    x = net.up(net.reshape(x, 1, 4, 4, 6), 8)
    return [net.unary("TANH", net.conv(x, 3, act=0))]


def text(net: Net) -> list[int]:
    """Words looked up in a table, a feed-forward layer by a product with a constant, and by one that is turned."""
    ids = net.tensor([1, 6], name="ids")
    net.graph.tensors[ids].type = schema.TensorType.INT32
    net.inputs.append(ids)
    x = net.op("GATHER", [net.weights(9, 8), ids], [[1, 6, 8]], kind="GatherOptionsT", axis=0)[0]
    y = net.op("BATCH_MATMUL", [x, net.weights(8, 12)], [[1, 6, 12]], kind="BatchMatMulOptionsT")[0]
    y = net.unary("GELU", y)
    y = net.op("BATCH_MATMUL", [y, net.weights(8, 12)], [[1, 6, 8]], kind="BatchMatMulOptionsT", adjY=True)[0]
    return [net.dense(net.mean(net.pair("ADD", x, y), 1), 3)]


def rare(net: Net) -> list[int]:
    """Operations that converters write now and then, each where channels go through it."""
    x = net.conv(net.input(1, 6, 6, 3), 8)
    y = net.op("SPACE_TO_BATCH_ND", [x, net.ints(2, 2), net.ints((0, 0), (0, 0))], [[4, 3, 3, 8]])[0]
    y = net.conv(y, 8)
    y = net.op("BATCH_TO_SPACE_ND", [y, net.ints(2, 2), net.ints((0, 0), (0, 0))], [[1, 6, 6, 8]])[0]
    up, down = net.split(net.conv(x, 10), 2, axis=1)
    z = net.op("REVERSE_V2", [net.concat(up, down, axis=1), net.ints(3)], [[1, 6, 6, 10]])[0]
    z = net.op(
        "GATHER", [z, net.ints(9, 0, 3, 3, 5, 1, 7, 8)], [[1, 6, 6, 8]], kind="GatherOptionsT", axis=3
    )[0]
    x = net.op("ADD_N", [x, y, net.conv(z, 8)], [[1, 6, 6, 8]])[0]
    x = net.op(
        "MIRROR_PAD", [x, net.ints((0, 0), (1, 1), (1, 1), (0, 0))], [[1, 8, 8, 8]], kind="MirrorPadOptionsT"
    )[0]
    s = net.mean(net.conv(x, 8), 1, 2)
    s = net.op("EXPAND_DIMS", [s, net.scalar(1)], [[1, 1, 8]], kind="ExpandDimsOptionsT")[0]
    s = net.op("TILE", [s, net.ints(1, 3, 2)], [[1, 3, 16]])[0]
    a, b, c = net.op("UNPACK", [s], [[1, 16]] * 3, kind="UnpackOptionsT", num=3, axis=1)
    s = net.op("PACK", [a, c], [[2, 1, 16]], kind="PackOptionsT", valuesCount=2, axis=0)[0]
    s = net.op("SQUEEZE", [s], [[2, 16]], kind="SqueezeOptionsT", squeezeDims=[1])[0]
    s = net.mean(s, 0, keep=True)
    mask = net.op("GREATER", [b, s], [[1, 16]], kind="GreaterOptionsT")[0]
    mask_type = net.graph.tensors[mask]
    mask_type.type = schema.TensorType.BOOL
    s = net.op("SELECT_V2", [mask, b, s], [[1, 16]], kind="SelectV2OptionsT")[0]
    wide = [net.reshape(s, 1, 1, 16), net.ints(1, 4, 16)]
    wide = net.op("BROADCAST_TO", wide, [[1, 4, 16]], kind="BroadcastToOptionsT")[0]
    net.model.operatorCodes[-1].version = 2
    one = net.op(
        "STRIDED_SLICE", [x, net.ints(0, 0, 0, -3), net.ints(0, 0, 0, -2), net.ints(1, 1, 1, 1)], [[1, 8, 8]],
        kind="StridedSliceOptionsT", beginMask=7, endMask=7, shrinkAxisMask=8,
    )[0]  # fmt: skip
    return [net.dense(wide, 3, keep=True), net.dense(net.flat(one), 2), net.dense(net.mean(x, 1, 2), 2)]


def attention(net: Net) -> list[int]:
    """Attention of three heads, a norm over channels, and a feed-forward layer behind it."""
    x = net.dense(net.input(1, 5, 4), 12, keep=True)
    q, k, v = (net.reshape(net.dense(x, 18, keep=True), 1, 5, 3, 6) for _ in range(3))
    q, k, v = net.transpose(q, 0, 2, 1, 3), net.transpose(k, 0, 2, 1, 3), net.transpose(v, 0, 2, 3, 1)
    s = net.op("BATCH_MATMUL", [q, k], [[1, 3, 5, 5]], kind="BatchMatMulOptionsT", adjY=True)[0]
    y = net.op("BATCH_MATMUL", [net.softmax(s), v], [[1, 3, 5, 6]], kind="BatchMatMulOptionsT", adjY=True)[0]
    y = net.reshape(net.transpose(y, 0, 2, 1, 3), 1, 5, 18)
    x = net.pair("ADD", x, net.dense(y, 12, keep=True))
    x = net.pair("SUB", x, net.mean(x, 2, keep=True))
    y = net.dense(net.unary("GELU", net.dense(x, 20, keep=True)), 12, keep=True)
    return [net.dense(net.mean(net.pair("ADD", x, y), 1), 3)]


KINDS: dict[str, Callable[[Net], list[int]]] = {
    made.__name__: made
    for made in (
        plain_cnn, resnet, padded_resnet, mobilenet, unet, inception, detector, squeezed, shuffled, conv1d,
        pixel_shuffle, siamese, decoder, text, rare, attention,
    )
}  # fmt: skip


def kind(name: str, seed: int = 0) -> bytes:
    """Return a model of a kind."""
    net = Net(seed)
    return net.build(*KINDS[name](net))


def random_net(choose: Any) -> bytes:
    """Return a random graph: a few inputs, layers and joins of all sorts, one or two heads. `choose` is a Random."""
    net = Net(choose.randrange(1 << 30))
    maps = [net.input(1, 8, 8, choose.randint(1, 4)) for _ in range(choose.choice((1, 1, 2)))]
    for _ in range(choose.randint(3, 9)):
        x = choose.choice(maps[-3:])
        maps.append(choose.choice(STEPS)(net, x, maps, choose))
    heads = [_head(net, x, choose) for x in maps[-1 : -1 - choose.choice((1, 1, 2)) : -1]]
    return net.build(*dict.fromkeys(heads))


def _layer(net: Net, x: int, maps: list[int], choose: Any) -> int:
    return net.conv(x, choose.randint(2, 9), choose.choice((1, 3)), act=choose.choice((0, 1, 3)))


def _strided(net: Net, x: int, maps: list[int], choose: Any) -> int:
    return net.conv(x, choose.randint(2, 9), stride=2 if net.shape(x)[1] % 2 == 0 else 1)


def _depthwise(net: Net, x: int, maps: list[int], choose: Any) -> int:
    return net.depthwise(x, choose.choice((1, 1, 2)))


def _residual(net: Net, x: int, maps: list[int], choose: Any) -> int:
    y = net.conv(net.conv(x, choose.randint(2, 6)), net.shape(x)[3], act=0)
    return net.pair(choose.choice(("ADD", "SUB", "MUL", "MAXIMUM")), x, y)


def _joined(net: Net, x: int, maps: list[int], choose: Any) -> int:
    alike = [m for m in maps if net.shape(m)[1] == net.shape(x)[1]]
    return net.concat(x, choose.choice(alike), net.conv(x, choose.randint(1, 5)))


def _vector(net: Net, x: int, maps: list[int], choose: Any) -> int:
    shape = choose.choice(([1, 1, 1, net.shape(x)[3]], [net.shape(x)[3]], [1]))
    y = net.weights(*shape)
    name = choose.choice(("ADD", "MUL", "SUB", "MAXIMUM"))
    return net.pair(name, *choose.choice(((x, y), (y, x))))


def _unary(net: Net, x: int, maps: list[int], choose: Any) -> int:
    return net.unary(choose.choice(("RELU", "TANH", "LOGISTIC", "HARD_SWISH", "ABS")), x)


def _prelu(net: Net, x: int, maps: list[int], choose: Any) -> int:
    return net.prelu(x)


def _parts(net: Net, x: int, maps: list[int], choose: Any) -> int:
    channels = net.shape(x)[3]
    if channels < 4:
        return net.conv(x, 8)
    if channels % 2 == 0 and choose.random() < 0.5:
        a, b = net.split(x, 2)
        return net.concat(net.conv(b, 3), a)
    a, b = net.split_v(x, 2, channels - 2)
    return net.concat(net.strided(x, 1, choose.choice((-1, channels))), net.slice(x, 1, 2), b)


def _squeeze(net: Net, x: int, maps: list[int], choose: Any) -> int:
    s = net.conv(net.mean(x, 1, 2, keep=True), 3, 1)
    return net.pair("MUL", x, net.unary("LOGISTIC", net.conv(s, net.shape(x)[3], 1, act=0)))


def _groups(net: Net, x: int, maps: list[int], choose: Any) -> int:
    x = net.conv(x, 6 * choose.randint(1, 2), 1)
    n, high, wide, _ = net.shape(x)
    x = net.conv(x, 6, 3, groups=choose.choice((2, 3)))
    x = net.transpose(net.reshape(x, n, high, wide, 2, 3), 0, 1, 2, 4, 3)
    return net.reshape(x, n, high, wide, 6)


def _space(net: Net, x: int, maps: list[int], choose: Any) -> int:
    _, high, _, c = net.shape(x)
    way = choose.randrange(4)
    if way == 0 and high % 2 == 0 and c < 9:
        return net.blocks(x, "SPACE_TO_DEPTH")
    if way == 1 and high < 8:
        return net.up(x, choose.randint(2, 5))
    if way == 2 and high < 8:
        return net.resize(x)
    if way == 3 and high % 2 == 0:
        return net.pool(x, choose.choice(("MAX_POOL_2D", "AVERAGE_POOL_2D")))
    return net.pad(net.conv(x, 4), (0, 0), (0, 0), (0, 0), (choose.randint(0, 2), choose.randint(0, 2)))


def _mixed(net: Net, x: int, maps: list[int], choose: Any) -> int:
    """What cannot be followed."""
    return net.softmax(x)


STEPS = (
    _layer, _layer, _strided, _depthwise, _residual, _joined, _vector, _unary, _prelu, _parts, _squeeze, _groups,
    _space, _space, _mixed,
)  # fmt: skip


def _head(net: Net, x: int, choose: Any) -> int:
    way = choose.randrange(5)
    if way == 0:
        return net.conv(x, 3, 1, act=0)
    if way == 1:
        return net.dense(net.dense(net.flat(x), 5, act=1), 3)
    if way == 2:
        return net.dense(x, 4)
    if way == 3:
        return net.dense(net.reshape(x, 1, -1, net.shape(x)[3]), 3, keep=True)
    return net.dense(net.mean(x, 1, 2), 3, bias=False)
