"""What stands in front of the layers that are trained, computed by LiteRT: `Front`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.parts import Parts
from edgeship.tflite.refit import packed, pruned, unpacked

Array = NDArray[Any]


class Front:
    """The operations in front, as a function of the model's inputs."""

    shapes: tuple[tuple[int, ...], ...]
    """Of one sample of each tensor of `parts.fed`."""

    def __init__(self, content: bytes, parts: Parts) -> None:
        """Take `parts.before` out of the file. Raises ValueError where LiteRT does not run that, or where it makes
        tensors of other sizes from sample to sample."""
        from ai_edge_litert.interpreter import Interpreter

        model, schema = unpacked(content)
        graph = model.subgraphs[0]
        told = [graph.tensors[index].shapeSignature for index in parts.fed]
        graph.operators = [graph.operators[op.index] for op in parts.before]
        graph.outputs = list(parts.fed)
        model.signatureDefs = None
        pruned(model)
        try:
            self._interpreter = Interpreter(model_content=packed(model, schema, content), num_threads=1)
            self._interpreter.allocate_tensors()
            zeros = [np.zeros([1, *d["shape"]], d["dtype"]) for d in self._interpreter.get_input_details()]
            self.shapes = tuple(value.shape[1:] for value in self(*zeros))
        except RuntimeError as error:
            raise ValueError(str(error).partition("\n")[0]) from None
        if any(sizes is not None and -1 in list(sizes)[1:] for sizes in told):
            raise ValueError("its tensors have other sizes from sample to sample")

    def __call__(self, *inputs: Array) -> list[Array]:
        """Return `parts.fed` for inputs `[n, *shape]`, sample by sample, each from the first state of what keeps
        one."""
        interpreter = self._interpreter
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
