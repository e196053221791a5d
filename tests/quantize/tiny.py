"""Small `.tflite` files made without TensorFlow, for tests: a classifier with every kind of layer that matters here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils


class Builder:
    """Adds tensors and operations to a model of one graph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "tiny"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.name = "main"
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, name: str, shape: list[int], data: np.ndarray[Any, Any] | None = None, kind: str = "FLOAT32"
    ) -> int:
        """Return the index of a new tensor."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), shape
        tensor.type = getattr(schema.TensorType, kind)
        if data is None:
            tensor.buffer = 0
        else:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operation(
        self, name: str, inputs: list[int], outputs: list[int], options: Any = None, custom: str | None = None
    ) -> None:
        """Add an operation at the end."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        code.customCode = custom.encode() if custom else None
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self.graph.operators.append(operator)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """Write the model, with a signature that names its inputs and outputs after their tensors."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self._named(i) for i in inputs]
        signature.outputs = [self._named(i) for i in outputs]
        self.model.signatureDefs = [signature]
        path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(self.model)))
        return path

    def _named(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.graph.tensors[index].name, index
        return entry


def classifier(path: Path, *, seed: int = 7, batch: int = 1, classes: int = 4) -> Path:
    """Write conv, depthwise, pool, dense and softmax over `[batch, 8, 8, 3]`; return `path`."""
    random = np.random.default_rng(seed)
    build = Builder()
    x = build.tensor("x", [batch, 8, 8, 3])
    a = build.tensor("a", [batch, 8, 8, 8])
    b = build.tensor("b", [batch, 8, 8, 8])
    c = build.tensor("c", [batch, 1, 1, 8])
    d = build.tensor("d", [batch, classes])
    y = build.tensor("y", [batch, classes])

    def constant(name: str, shape: list[int], spread: float) -> int:
        return build.tensor(name, shape, (spread * random.normal(size=shape)).astype(np.float32))

    conv = schema.Conv2DOptionsT()
    conv.padding, conv.strideW, conv.strideH = schema.Padding.SAME, 1, 1
    conv.dilationWFactor = conv.dilationHFactor = 1
    conv.fusedActivationFunction = schema.ActivationFunctionType.RELU
    build.operation(
        "CONV_2D", [x, constant("conv_w", [8, 3, 3, 3], 0.4), constant("conv_b", [8], 0.1)], [a], conv
    )
    depthwise = schema.DepthwiseConv2DOptionsT()
    depthwise.padding, depthwise.strideW, depthwise.strideH = schema.Padding.SAME, 1, 1
    depthwise.depthMultiplier = depthwise.dilationWFactor = depthwise.dilationHFactor = 1
    depthwise.fusedActivationFunction = schema.ActivationFunctionType.RELU
    build.operation(
        "DEPTHWISE_CONV_2D",
        [a, constant("depth_w", [1, 3, 3, 8], 0.4), constant("depth_b", [8], 0.1)],
        [b],
        depthwise,
    )
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.strideW, pool.strideH = schema.Padding.VALID, 8, 8
    pool.filterWidth = pool.filterHeight = 8
    build.operation("AVERAGE_POOL_2D", [b], [c], pool)
    build.operation(
        "FULLY_CONNECTED",
        [c, constant("dense_w", [classes, 8], 2.0), constant("dense_b", [classes], 0.1)],
        [d],
        schema.FullyConnectedOptionsT(),
    )
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    build.operation("SOFTMAX", [d], [y], softmax)
    return build.write(path, [x], [y])


def adder(path: Path) -> Path:
    """Write a model of two inputs `[1, 4]` that are added; return `path`."""
    build = Builder()
    one, other, total = (build.tensor(name, [1, 4]) for name in ("one", "other", "total"))
    build.operation("ADD", [one, other], [total], schema.AddOptionsT())
    return build.write(path, [one, other], [total])


def decider(path: Path, *, outputs: int = 2, shift: float = 0.0, logits: bool = False) -> Path:
    """Write a dense layer over four numbers: class 1 where the first two are above 0 together; return `path`.

    The fourth number hardly counts. With one output a sigmoid says it, moved by `shift`.
    """
    build = Builder()
    x, dense, y = (
        build.tensor(n, s) for n, s in (("x", [1, 4]), ("dense", [1, outputs]), ("y", [1, outputs]))
    )
    row = np.array([4.0, 4.0, 0.0, 0.0], np.float32)
    weights = np.stack([row] if outputs == 1 else [-row, row])
    held = build.tensor("dense_w", [outputs, 4], weights)
    bias = build.tensor("dense_b", [outputs], np.full(outputs, shift, np.float32))
    build.operation("FULLY_CONNECTED", [x, held, bias], [dense], schema.FullyConnectedOptionsT())
    if logits:
        return build.write(path, [x], [dense])
    if outputs == 1:
        build.operation("LOGISTIC", [dense], [y])
        return build.write(path, [x], [y])
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    build.operation("SOFTMAX", [dense], [y], softmax)
    return build.write(path, [x], [y])


def decisions(
    count: int, *, wide: float = 1.0, seed: int = 5
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return samples `[count, 4]` float32 for `decider` and their classes; the fourth number runs from 0 to `wide`."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32)
    x[:, 3] = random.uniform(0.0, wide, count)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64)


def with_outputs(source: Path, path: Path, names: list[str]) -> Path:
    """Write `source` to `path` with the tensors called `names` as its outputs, in this order; return `path`."""

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.outputs = [[t.name.decode() for t in graph.tensors].index(name) for name in names]
        entries = []
        for name, index in zip(names, graph.outputs, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), index
            entries.append(entry)
        model.signatureDefs[0].outputs = entries

    return edited(source, path, change)


def edited(source: Path, path: Path, change: Callable[[Any], None]) -> Path:
    """Write `source` to `path` with its object form changed by `change`; return `path`."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(source.read_bytes()))
    change(model)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


def pictures(count: int, *, seed: int = 3) -> np.ndarray[Any, Any]:
    """Return smooth random pictures `[count, 8, 8, 3]` float32 in 0..1: neighbours correlate, as in real ones."""
    random = np.random.default_rng(seed)
    coarse = random.random((count, 2, 2, 3))
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.float32) * 0.9 + 0.1 * random.random(
        (count, 8, 8, 3)
    ).astype(np.float32)


def embedder(path: Path, *, words: int = 20) -> Path:
    """Write a classifier of texts: six int32 token ids `[1, 6]`, looked up, averaged, dense and softmax."""
    random = np.random.default_rng(5)
    build = Builder()
    ids = build.tensor("ids", [1, 6], kind="INT32")
    table = build.tensor("table", [words, 8], random.normal(size=(words, 8)).astype(np.float32))
    looked, mean, dense, y = (
        build.tensor(name, shape)
        for name, shape in (("looked", [1, 6, 8]), ("mean", [1, 8]), ("dense", [1, 4]), ("y", [1, 4]))
    )
    build.operation("GATHER", [table, ids], [looked], schema.GatherOptionsT())
    axis = build.tensor("axis", [1], np.array([1], np.int32), kind="INT32")
    build.operation("MEAN", [looked, axis], [mean], schema.ReducerOptionsT())
    weights = build.tensor("dense_w", [4, 8], (2 * random.normal(size=(4, 8))).astype(np.float32))
    build.operation("FULLY_CONNECTED", [mean, weights, -1], [dense], schema.FullyConnectedOptionsT())
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    build.operation("SOFTMAX", [dense], [y], softmax)
    return build.write(path, [ids], [y])


def activated(path: Path, name: str) -> Path:
    """Write a convolution, the named operation, and the largest value of each channel, as a detector ends."""
    random = np.random.default_rng(7)
    build = Builder()
    x = build.tensor("x", [1, 8, 8, 3])
    a, b, c, y = (
        build.tensor(n, s)
        for n, s in (("a", [1, 8, 8, 8]), ("b", [1, 8, 8, 8]), ("c", [1, 8]), ("y", [1, 4]))
    )
    conv = schema.Conv2DOptionsT()
    conv.padding, conv.strideW, conv.strideH = schema.Padding.SAME, 1, 1
    conv.dilationWFactor = conv.dilationHFactor = 1
    weights = build.tensor("conv_w", [8, 3, 3, 3], random.normal(size=(8, 3, 3, 3)).astype(np.float32))
    bias = build.tensor("conv_b", [8], random.normal(size=8).astype(np.float32) - 2)
    build.operation("CONV_2D", [x, weights, bias], [a], conv)
    options: Any = {"LEAKY_RELU": "LeakyReluOptionsT", "L2_NORMALIZATION": "L2NormOptionsT"}.get(name)
    options = getattr(schema, options)() if options else None
    if name == "LEAKY_RELU":
        options.alpha = 0.3
    slopes = [build.tensor("slopes", [1, 1, 8], np.linspace(-0.2, 0.4, 8, dtype=np.float32).reshape(1, 1, 8))]
    build.operation(name, [a, *(slopes if name == "PRELU" else [])], [b], options)
    axes = build.tensor("axes", [2], np.array([1, 2], np.int32), kind="INT32")
    build.operation("REDUCE_MAX", [b, axes], [c], schema.ReducerOptionsT())
    dense = build.tensor("dense_w", [4, 8], random.normal(size=(4, 8)).astype(np.float32))
    build.operation("FULLY_CONNECTED", [c, dense, -1], [y], schema.FullyConnectedOptionsT())
    return build.write(path, [x], [y])


def moved(path: Path, name: str, *, place: str = "middle") -> Path:
    """Write two convolutions with the named operation, which moves values about, between, before or behind them."""
    random = np.random.default_rng(7)
    build = Builder()

    def conv(source: int, before: list[int], depth: int, word: str, kind: int) -> tuple[int, list[int]]:
        options = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = kind
        w = random.normal(size=(depth, 3, 3, before[3])).astype(np.float32)
        after = [*before[:3], depth]
        weights = build.tensor(f"{word}_w", list(w.shape), w)
        bias = build.tensor(f"{word}_b", [depth], random.normal(size=depth).astype(np.float32))
        made = build.tensor(word, after)
        build.operation("CONV_2D", [source, weights, bias], [made], options)
        return made, after

    def ints(word: str, *values: Any) -> int:
        held = np.array(values, np.int32)
        return build.tensor(word, list(held.shape), held, kind="INT32")

    def move(source: int, before: list[int]) -> tuple[int, list[int]]:
        n, h, w, c = before
        after, constants, options = {
            "TILE": ([n, 2 * h, w, 3 * c], [("times", (1, 2, 1, 3))], None),
            "DEPTH_TO_SPACE": ([n, 2 * h, 2 * w, c // 4], [], schema.DepthToSpaceOptionsT()),
            "SPACE_TO_BATCH_ND": (
                [4 * n, h // 2, w // 2, c],
                [("block", (2, 2)), ("pads", ((0, 0), (0, 0)))],
                None,
            ),
            "BATCH_TO_SPACE_ND": (
                [n // 4, 2 * h, 2 * w, c],
                [("block", (2, 2)), ("crops", ((0, 0), (0, 0)))],
                None,
            ),
            "REVERSE_V2": (before, [("axis", (1,))], None),
        }[name]
        if name == "DEPTH_TO_SPACE":
            options.blockSize = 2
        made = build.tensor("moved", after)
        build.operation(name, [source, *(ints(word, *values) for word, values in constants)], [made], options)
        return made, after

    shape = [4 if name == "BATCH_TO_SPACE_ND" else 1, 8, 8, 4]
    x = current = build.tensor("x", shape)
    for step in {"middle": "cmc", "first": "mc", "last": "cm"}[place]:
        if step == "m":
            current, shape = move(current, shape)
        else:
            word = f"conv{len(build.graph.operators)}"
            current, shape = conv(current, shape, 8, word, schema.ActivationFunctionType.RELU)
    return build.write(path, [x], [current])


def before_tensorflow_2_4(content: bytes) -> bytes:
    """Return a model as converters before TensorFlow 2.4 wrote it: operator codes in the byte of those days only."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode, code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode), 0
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def gated(path: Path) -> Path:
    """Write gates as an unrolled recurrent layer has them: a product split in four, of which one part is read by
    nobody.
    """
    random = np.random.default_rng(5)
    build = Builder()
    x, wide, y = build.tensor("x", [1, 8]), build.tensor("wide", [1, 16]), build.tensor("y", [1, 4])
    weights = build.tensor("dense_w", [16, 8], random.normal(size=(16, 8)).astype(np.float32))
    build.operation("FULLY_CONNECTED", [x, weights, -1], [wide], schema.FullyConnectedOptionsT())
    axis = build.tensor("axis", [], np.array(1, np.int32), kind="INT32")
    parts = [build.tensor(name, [1, 4]) for name in ("input", "forget", "cell", "output")]
    split = schema.SplitOptionsT()
    split.numSplits = 4
    build.operation("SPLIT", [axis, wide], parts, split)
    opened, closed, state = (build.tensor(name, [1, 4]) for name in ("opened", "closed", "state"))
    build.operation("LOGISTIC", [parts[0]], [opened])
    build.operation("LOGISTIC", [parts[3]], [closed])
    build.operation("MUL", [opened, parts[2]], [state], schema.MulOptionsT())
    build.operation("MUL", [closed, state], [y], schema.MulOptionsT())
    return build.write(path, [x], [y])


def huge(path: Path) -> Path:
    """Write a dense layer whose weights are beyond float16 and cancel out: 0 in float32, NaN in float16."""
    build = Builder()
    x, wide, y = build.tensor("x", [1, 8]), build.tensor("wide", [1, 16]), build.tensor("y", [1, 4])
    first = build.tensor("first_w", [16, 8], np.full((16, 8), 1e5, np.float32))
    signs = np.where(np.arange(64).reshape(4, 16) % 2, 1e-5, -1e-5).astype(np.float32)
    second = build.tensor("second_w", [4, 16], signs)
    build.operation("FULLY_CONNECTED", [x, first, -1], [wide], schema.FullyConnectedOptionsT())
    build.operation("FULLY_CONNECTED", [wide, second, -1], [y], schema.FullyConnectedOptionsT())
    return build.write(path, [x], [y])


def looping(path: Path, *, endless: bool = False) -> Path:
    """Write a dense layer behind a WHILE that adds `x` to itself until a counter is 3: what an RNN is made of.

    With `endless` the loop's body is that very loop: preparing it never ends, and runs out of stack.
    """
    random = np.random.default_rng(5)
    build = Builder()
    x = build.tensor("x", [1, 8])
    zero = build.tensor("zero", [], np.array(0, np.int32), kind="INT32")
    count, kept, total, y = (
        build.tensor("count", [], kind="INT32"),
        build.tensor("kept", [1, 8]),
        build.tensor("total", [1, 8]),
        build.tensor("y", [1, 4]),
    )
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    build.operation("WHILE", [zero, x, x], [count, kept, total], options)
    weights = build.tensor("dense_w", [4, 8], random.normal(size=(4, 8)).astype(np.float32))
    build.operation("FULLY_CONNECTED", [total, weights, -1], [y], schema.FullyConnectedOptionsT())
    main = build.graph
    for name in ("cond", "body"):
        build.graph = schema.SubGraphT()
        build.graph.name, build.graph.tensors, build.graph.operators = name, [], []
        build.model.subgraphs.append(build.graph)
        i = build.tensor(f"{name}_i", [], kind="INT32")
        a, b = build.tensor(f"{name}_a", [1, 8]), build.tensor(f"{name}_b", [1, 8])
        step = build.tensor(f"{name}_n", [], np.array(3 if name == "cond" else 1, np.int32), kind="INT32")
        build.graph.inputs = [i, a, b]
        if name == "cond":
            build.graph.outputs = [build.tensor("go", [], kind="BOOL")]
            build.operation("LESS", [i, step], build.graph.outputs, schema.LessOptionsT())
        else:
            after, sum_ = build.tensor("after", [], kind="INT32"), build.tensor("sum", [1, 8])
            build.graph.outputs = [after, build.tensor("same", [1, 8]) if endless else a, sum_]
            if endless:
                build.operation("WHILE", [i, a, b], build.graph.outputs, options)
                continue
            build.operation("ADD", [i, step], [after], schema.AddOptionsT())
            build.operation("ADD", [a, b], [sum_], schema.AddOptionsT())
    build.graph = main
    return build.write(path, [x], [y])


def upsampler(path: Path) -> Path:
    """Write a transposed convolution to one channel, its bias `[1, 1, 1, 1]` as TensorFlow's converter leaves it."""
    random = np.random.default_rng(5)
    build = Builder()
    x, y = build.tensor("x", [1, 4, 4, 2]), build.tensor("y", [1, 8, 8, 1])
    sizes = build.tensor("sizes", [4], np.array([1, 8, 8, 1], np.int32), kind="INT32")
    weights = build.tensor("w", [1, 3, 3, 2], random.normal(size=(1, 3, 3, 2)).astype(np.float32))
    bias = build.tensor("b", [1, 1, 1, 1], np.array([-0.3], np.float32))
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 2, 2
    build.operation("TRANSPOSE_CONV", [sizes, weights, x, bias], [y], options)
    build.model.operatorCodes[-1].version = 3
    return build.write(path, [x], [y])


def unequal(path: Path, *, factor: float = 200.0) -> Path:
    """Write the classifier with a channel of its convolution that many times as large, and the depthwise one behind it
    as many times smaller there: the same answers; return `path`."""
    from edgeship.tflite.reader import read_tflite
    from edgeship.tflite.weights import constant, layers_of, with_weights

    file = read_tflite(classifier(path))
    conv, depthwise, _ = layers_of(file.main)
    assert conv.bias is not None
    weight, bias, after = (np.array(constant(file, i)) for i in (conv.weight, conv.bias, depthwise.weight))
    weight[2], bias[2], after[..., 2] = weight[2] * factor, bias[2] * factor, after[..., 2] / factor
    changed = {conv.weight: weight, conv.bias: bias, depthwise.weight: after}
    path.write_bytes(with_weights(file.content, changed))
    return path
