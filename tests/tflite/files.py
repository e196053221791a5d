"""Small `.tflite` files built from the schema: `Builder`, and one dense model made with it."""

from __future__ import annotations

import struct
from typing import Any

from edgeship.tflite.schema import tflite_schema


class Builder:
    """Builds a `.tflite` of one graph from tensors and operations, through the generated schema classes."""

    def __init__(self) -> None:
        self.schema: Any = tflite_schema()
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.buffers: list[Any] = [self._buffer(None)]
        self.codes: list[Any] = []

    @staticmethod
    def _buffer(data: bytes | None) -> Any:
        buffer = tflite_schema().BufferT()
        buffer.data = list(data) if data is not None else None
        return buffer

    def tensor(
        self,
        name: str,
        shape: list[int],
        dtype: str = "FLOAT32",
        *,
        data: bytes | None = None,
        scales: list[float] | None = None,
        axis: int = 0,
        signature: list[int] | None = None,
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, shape, getattr(self.schema.TensorType, dtype)
        tensor.shapeSignature = signature
        if data is not None:
            self.buffers.append(self._buffer(data))
            tensor.buffer = len(self.buffers) - 1
        if scales is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = [0] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(
        self, name: str, inputs: list[int], outputs: list[int], options: Any = None, *, custom: str = ""
    ) -> None:
        code = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        code.customCode = custom or None
        self.codes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes) - 1, inputs, outputs
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def build(self, inputs: list[int], outputs: list[int]) -> bytes:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = inputs, outputs
        model = self.schema.ModelT()
        model.version, model.description = 3, "built by a test"
        model.subgraphs, model.buffers, model.operatorCodes = [self.graph], self.buffers, self.codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def dense(builder: Builder, *, dtype: str = "FLOAT32", batch: list[int] | None = None) -> bytes:
    """Return a model of one FULLY_CONNECTED, [1, 4] -> [1, 3], with a bias; int8 where `dtype` says so."""
    options = builder.schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = builder.schema.ActivationFunctionType.RELU
    is_float = dtype == "FLOAT32"
    quantized: dict[str, Any] = {} if is_float else {"scales": [0.5]}
    x = builder.tensor("x", [1, 4], dtype, signature=batch and [*batch, 4], **quantized)
    weights = struct.pack("<12f", *range(12)) if is_float else bytes(range(12))
    w = builder.tensor("w", [3, 4], dtype, data=weights, **quantized)
    bias = struct.pack("<3f", 1, 2, 3) if is_float else struct.pack("<3i", 1, 2, 3)
    b = builder.tensor(
        "b", [3], "FLOAT32" if is_float else "INT32", data=bias, **({} if is_float else {"scales": [0.25]})
    )
    y = builder.tensor("y", [1, 3], dtype, signature=batch and [*batch, 3], **quantized)
    builder.op("FULLY_CONNECTED", [x, w, b], [y], options)
    return builder.build([x], [y])
