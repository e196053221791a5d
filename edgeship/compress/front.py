"""What stands in front of the layers that are trained, computed by LiteRT: `runner`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.parts import Parts
from edgeship.tflite.refit import packed, pruned, unpacked

Array = NDArray[Any]


def runner(content: bytes, parts: Parts) -> Callable[..., list[Array]]:
    """Return a function of the model's inputs (arrays `[n, *shape]`) that returns `parts.fed` as LiteRT computes
    them, sample by sample, each from the first state of what keeps one."""
    model, schema = unpacked(content)
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[op.index] for op in parts.before]
    graph.outputs = list(parts.fed)
    model.signatureDefs = None
    pruned(model)
    front = packed(model, schema, content)
    held: list[Any] = []

    def run(*inputs: Array) -> list[Array]:
        from ai_edge_litert.interpreter import Interpreter

        if not held:
            held.append(Interpreter(model_content=front))
            held[0].allocate_tensors()
        interpreter = held[0]
        takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
        rows: list[list[Array]] = [[] for _ in gives]
        for sample in range(len(inputs[0])):
            interpreter.reset_all_variables()
            for detail, values in zip(takes, inputs, strict=True):
                interpreter.set_tensor(detail["index"], values[sample])
            interpreter.invoke()
            for row, detail in zip(rows, gives, strict=True):
                row.append(interpreter.get_tensor(detail["index"]))
        return [np.stack(row) for row in rows]

    return run
