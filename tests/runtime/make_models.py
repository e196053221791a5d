"""Writes tiny models for the runtime's tests, with the public schema and without TensorFlow. Run as a program: DIR."""

import itertools
import sys
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

F32, I8, I16, I32 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.INT8,
    schema.TensorType.INT16,
    schema.TensorType.INT32,
)


class Graph:
    """One subgraph under construction."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "edgeship test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, name, shape, kind, scale=None, zero=0, data=None):
        """Add a tensor and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, code, inputs, outputs, options_type=0, options=None, version=1):
        """Add an operation."""
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), version
        self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.graph.operators.append(operator)

    def add(self, a, b, out):
        """Add an ADD."""
        options = schema.AddOptionsT()
        self.operator(schema.BuiltinOperator.ADD, [a, b], [out], schema.BuiltinOptions.AddOptions, options)

    def save(self, path, inputs, outputs):
        """Write the model file."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        self.write(path, [self.graph])

    def write(self, path, subgraphs):
        """Write the model file of these subgraphs, the main one first."""
        self.model.subgraphs = subgraphs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def dense(folder, kind):
    """A fully connected layer: 6 -> 3, float or int8 (weights per tensor, scale 0.05; in 0.1/3, out 0.2/-5)."""
    rng = np.random.default_rng(7)
    graph = Graph()
    options = schema.FullyConnectedOptionsT()
    shape, weights, bias = (3, 6), rng.integers(-100, 100, (3, 6)), rng.integers(-50, 50, 3)
    if kind == "f32":
        x = graph.tensor("x", [1, 6], F32)
        w = graph.tensor("w", shape, F32, data=(weights * 0.05).astype(np.float32))
        b = graph.tensor("b", [3], F32, data=(bias * 0.005).astype(np.float32))
        y = graph.tensor("y", [1, 3], F32)
    else:
        x = graph.tensor("x", [1, 6], I8, 0.1, 3)
        w = graph.tensor("w", shape, I8, 0.05, 0, weights.astype(np.int8))
        b = graph.tensor("b", [3], I32, 0.1 * 0.05, 0, bias.astype(np.int32))
        y = graph.tensor("y", [1, 3], I8, 0.2, -5)
    code, options_type = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOptions.FullyConnectedOptions
    graph.operator(code, [x, w, b], [y], options_type, options, version=1 if kind == "f32" else 4)
    graph.save(folder / f"dense_{kind}.tflite", [x], [y])


def several(folder):
    """Two inputs of different shapes, two outputs in an own order: total = a + b (broadcast), twice = b + b."""
    graph = Graph()
    a, b = graph.tensor("a", [1, 2, 3], F32), graph.tensor("b", [1, 3], F32)
    total, twice = graph.tensor("total", [1, 2, 3], F32), graph.tensor("twice", [1, 3], F32)
    graph.add(a, b, total)
    graph.add(b, b, twice)
    graph.save(folder / "several.tflite", [b, a], [twice, total])


def image(folder):
    """int8 image in, the same out (x + 0): [1, 4, 4, 3], scale 1/0 on both sides."""
    graph = Graph()
    x = graph.tensor("x", [1, 4, 4, 3], I8, 1.0, 0)
    zero = graph.tensor("zero", [1], I8, 1.0, 0, np.zeros(1, np.int8))
    y = graph.tensor("y", [1, 4, 4, 3], I8, 1.0, 0)
    graph.add(x, zero, y)
    graph.save(folder / "image.tflite", [x], [y])


def accumulate(folder):
    """A model with a variable (a resource): total = total + x, answered, begun at 1 by CALL_ONCE."""
    graph = Graph()
    handle, x = graph.tensor("handle", [1], schema.TensorType.RESOURCE), graph.tensor("x", [1, 2], F32)
    before, after = graph.tensor("before", [1, 2], F32), graph.tensor("after", [1, 2], F32)
    code, kinds = schema.BuiltinOperator, schema.BuiltinOptions

    def named(into, output):
        options = schema.VarHandleOptionsT()
        options.container, options.sharedName = "", "total"
        into.operator(code.VAR_HANDLE, [], [output], kinds.VarHandleOptions, options)

    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = 1
    graph.operator(code.CALL_ONCE, [], [], kinds.CallOnceOptions, once)
    named(graph, handle)
    graph.operator(
        code.READ_VARIABLE, [handle], [before], kinds.ReadVariableOptions, schema.ReadVariableOptionsT()
    )
    graph.add(before, x, after)
    assign = (kinds.AssignVariableOptions, schema.AssignVariableOptionsT())
    graph.operator(code.ASSIGN_VARIABLE, [handle, after], [], *assign)
    main = graph.graph
    main.inputs, main.outputs = [x], [after]
    graph.graph = schema.SubGraphT()
    graph.graph.tensors, graph.graph.operators = [], []
    handle = graph.tensor("handle1", [1], schema.TensorType.RESOURCE)
    one = graph.tensor("one", [1, 2], F32, data=np.ones((1, 2), np.float32))
    named(graph, handle)
    graph.operator(code.ASSIGN_VARIABLE, [handle, one], [], *assign)
    graph.graph.inputs, graph.graph.outputs = [], []
    graph.write(folder / "accumulate.tflite", [main, graph.graph])


def svdf(folder):
    """A model with a variable tensor: y is the sum of the newest three inputs (SVDF with a memory of three)."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 1], F32), graph.tensor("y", [1, 1], F32)
    feature = graph.tensor("feature", [1, 1], F32, data=np.ones((1, 1), np.float32))
    times = graph.tensor("times", [1, 3], F32, data=np.ones((1, 3), np.float32))
    state = graph.tensor("state", [1, 3], F32)
    graph.graph.tensors[state].isVariable = True
    options = schema.SVDFOptionsT()
    options.rank = 1
    graph.operator(
        schema.BuiltinOperator.SVDF,
        [x, feature, times, -1, state],
        [y],
        schema.BuiltinOptions.SVDFOptions,
        options,
    )
    graph.save(folder / "svdf.tflite", [x], [y])


def int16_add(folder):
    """int16 ADD, for which XNNPACK has no kernel."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 4], I16, 1 / 1024, 0), graph.tensor("y", [1, 4], I16, 1 / 512, 0)
    options = schema.AddOptionsT()
    options.potScaleInt16 = False
    graph.operator(
        schema.BuiltinOperator.ADD, [x, x], [y], schema.BuiltinOptions.AddOptions, options, version=2
    )
    graph.save(folder / "int16.tflite", [x], [y])


def divide(folder):
    """y = 1 / x, so that zero gives an infinity."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 4], F32), graph.tensor("y", [1, 4], F32)
    one = graph.tensor("one", [1], F32, data=np.ones(1, np.float32))
    graph.operator(
        schema.BuiltinOperator.DIV, [one, x], [y], schema.BuiltinOptions.DivOptions, schema.DivOptionsT()
    )
    graph.save(folder / "divide.tflite", [x], [y])


def pairs(folder):
    """Batch 2: [2, 3] in; out is the two samples' sum, once for each of them."""
    graph = Graph()
    x, y = graph.tensor("x", [2, 3], F32), graph.tensor("y", [2, 3], F32)
    axes = graph.tensor("axes", [1], I32, data=np.zeros(1, np.int32))
    turned = graph.tensor("turned", [2, 3], F32)
    graph.operator(
        schema.BuiltinOperator.REVERSE_V2,
        [x, axes],
        [turned],
        schema.BuiltinOptions.ReverseV2Options,
        schema.ReverseV2OptionsT(),
    )
    graph.add(x, turned, y)
    graph.save(folder / "pairs.tflite", [x], [y])


def whole(folder):
    """[1, 4] in, [4] out without a batch axis: y = x + x."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 4], F32), graph.tensor("y", [4], F32)
    shape = graph.tensor("shape", [1], I32, data=np.array([4], np.int32))
    flat = graph.tensor("flat", [4], F32)
    options = schema.ReshapeOptionsT()
    options.newShape = [4]
    graph.operator(
        schema.BuiltinOperator.RESHAPE, [x, shape], [flat], schema.BuiltinOptions.ReshapeOptions, options
    )
    graph.add(flat, flat, y)
    graph.save(folder / "whole.tflite", [x], [y])


def tiled(folder):
    """A small request with a large answer: one number, two million times."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 1], F32), graph.tensor("y", [1, 2_000_000], F32)
    multiples = graph.tensor("multiples", [2], I32, data=np.array([1, 2_000_000], np.int32))
    graph.operator(schema.BuiltinOperator.TILE, [x, multiples], [y])
    graph.save(folder / "tiled.tflite", [x], [y])


def lookup(folder):
    """Rows of a table of five by their numbers: what lies beyond it no kernel computes."""
    graph = Graph()
    ids, rows = graph.tensor("ids", [1, 2], I32), graph.tensor("rows", [1, 2, 1], F32)
    table = graph.tensor("table", [5, 1], F32, data=np.arange(5, dtype=np.float32))
    options = schema.GatherOptionsT()
    graph.operator(
        schema.BuiltinOperator.GATHER, [table, ids], [rows], schema.BuiltinOptions.GatherOptions, options
    )
    graph.save(folder / "lookup.tflite", [ids], [rows])


def wide(folder):
    """Four megabytes in and out: y = x + x."""
    graph = Graph()
    x, y = graph.tensor("x", [1, 1_000_000], F32), graph.tensor("y", [1, 1_000_000], F32)
    graph.add(x, x, y)
    graph.save(folder / "wide.tflite", [x], [y])


def mlp(folder):
    """Three wide dense layers, 640 to 640, of an open batch: most of a run is the weights' way from memory."""
    rng = np.random.default_rng(5)
    graph = Graph()
    widths = [640, 1024, 1024, 640]
    first = last = graph.tensor("x", [1, widths[0]], F32)
    graph.graph.tensors[first].shapeSignature = [-1, widths[0]]
    for wide, out in itertools.pairwise(widths):
        weights = rng.normal(0, 0.05, (out, wide)).astype(np.float32)
        w = graph.tensor(f"w{out}", [out, wide], F32, data=weights)
        b = graph.tensor(f"b{out}", [out], F32, data=np.zeros(out, np.float32))
        after = graph.tensor(f"y{out}", [1, out], F32)
        graph.graph.tensors[after].shapeSignature = [-1, out]
        code, kinds = schema.BuiltinOperator, schema.BuiltinOptions
        options = schema.FullyConnectedOptionsT()
        graph.operator(code.FULLY_CONNECTED, [last, w, b], [after], kinds.FullyConnectedOptions, options)
        last = after
    graph.save(folder / "mlp.tflite", [first], [last])


def slow(folder, size=640, products=32, name="slow"):
    """A chain of matrix products over a tiled input: tenths of a second from a file of a kilobyte."""
    graph = Graph()
    x = graph.tensor("x", [1, 1], F32)
    multiples = graph.tensor("multiples", [2], I32, data=np.array([size, size], np.int32))
    wide = graph.tensor("wide", [size, size], F32)
    graph.operator(schema.BuiltinOperator.TILE, [x, multiples], [wide])
    code, options_type = schema.BuiltinOperator.BATCH_MATMUL, schema.BuiltinOptions.BatchMatMulOptions
    last = wide
    for number in range(products):
        product = graph.tensor(f"p{number}", [size, size], F32)
        graph.operator(code, [last, wide], [product], options_type, schema.BatchMatMulOptionsT())
        last = product
    axes = graph.tensor("axes", [2], I32, data=np.array([0, 1], np.int32))
    y = graph.tensor("y", [1, 1], F32)
    options = schema.ReducerOptionsT()
    options.keepDims = True
    graph.operator(
        schema.BuiltinOperator.MEAN, [last, axes], [y], schema.BuiltinOptions.ReducerOptions, options
    )
    graph.save(folder / f"{name}.tflite", [x], [y])


def main(folder):
    """Write every model."""
    for kind in ("f32", "i8"):
        dense(folder, kind)
    several(folder)
    image(folder)
    int16_add(folder)
    divide(folder)
    pairs(folder)
    whole(folder)
    wide(folder)
    tiled(folder)
    lookup(folder)
    slow(folder)
    slow(folder, 32, 1, "quick")
    slow(folder, 320, 14, "middle")
    mlp(folder)
    accumulate(folder)
    svdf(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
