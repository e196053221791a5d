"""A bias is corrected alone, also where a converter wrote its bytes once for it and for something else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from edgeship.quantize.finish import correct_biases


def dense(weights: list[float]) -> Any:
    """A dense layer 2 -> 1 with a bias of 0; its four bytes are a loop's counter of another graph, too."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.buffers = [schema.BufferT(), schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.asarray(weights, np.float32).tobytes(), np.uint8)
    model.buffers[2].data = np.zeros(4, np.uint8)

    def tensor(shape: list[int], buffer: int = 0, kind: int = schema.TensorType.FLOAT32) -> Any:
        made = schema.TensorT()
        made.shape, made.buffer, made.type = shape, buffer, kind
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
    model.operatorCodes = [code]
    main = SimpleNamespace(
        tensors=[tensor([1, 2]), tensor([1, 2], 1), tensor([1], 2), tensor([1, 1])], operators=[op]
    )
    body = SimpleNamespace(tensors=[tensor([], 2, schema.TensorType.INT32)], operators=[])
    model.subgraphs = [main, body]
    return model


def test_a_loops_counter_keeps_its_value() -> None:
    """ConvLSTM2D with an untrained bias behind it: the loop's counter became 921,000,000, the answer a constant."""
    quantized, seen = dense([1.0, 2.0]), SimpleNamespace(mean=lambda index: np.asarray([[1.0, 1.0]]))
    assert correct_biases(quantized, dense([1.5, 2.25]), seen) == 1  # type: ignore[arg-type]
    bias, counter = quantized.subgraphs[0].tensors[2], quantized.subgraphs[1].tensors[0]
    assert np.frombuffer(bytes(quantized.buffers[bias.buffer].data), np.float32) == [0.75]
    assert bytes(quantized.buffers[counter.buffer].data) == bytes(4)
