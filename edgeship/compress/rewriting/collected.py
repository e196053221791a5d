"""Operations that are to come into a graph together, some day: `Collected`.

Their tensors are in it at once; where the operations do not come they go with all that nobody refers to.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.draft import Draft
from edgeship.tflite.repeats import operator_code


class Collected:
    """New operations of a draft's main graph, in the order they are to run."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.found: list[Any] = []
        self._names = {self._name(tensor) for tensor in draft.graph.tensors}

    def tensor(self, like: Any, what: str, shape: Sequence[int] | None = None, *, keep: bool = False) -> int:
        """Return the index of a new tensor of the main graph, of the type and shape of one of any graph, named after
        it; with `keep` it is the same constant."""
        tensor = copy.deepcopy(like)
        if not keep:
            tensor.buffer, tensor.quantization, tensor.isVariable = 0, None, False
        if shape is not None:
            tensor.shape, tensor.shapeSignature = list(shape), None
        wanted = name = f"{self._name(like)}/{what}" if what else self._name(like)
        number = 0
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        tensor.name = name.encode()
        self.draft.graph.tensors.append(tensor)
        return len(self.draft.graph.tensors) - 1

    def constant(self, value: NDArray[Any], name: str) -> int:
        """Return the index of a new constant."""
        tensor = self.draft.schema.TensorT()
        tensor.type = getattr(self.draft.schema.TensorType, value.dtype.name.upper())
        tensor.name = name.encode()
        index = self.tensor(tensor, "numbers")
        self.draft.store(index, np.ascontiguousarray(value).reshape(value.shape))
        return index

    def add(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: str, **fields: Any
    ) -> None:
        """Add an operation; `options` is its table."""
        op = self.draft.schema.OperatorT()
        number = getattr(self.draft.schema.BuiltinOperator, name)
        op.opcodeIndex = operator_code(self.draft.model, self.draft.schema, number)
        op.builtinOptions = getattr(self.draft.schema, f"{options}T")()
        op.builtinOptionsType = getattr(self.draft.schema.BuiltinOptions, options)
        for field, value in fields.items():
            setattr(op.builtinOptions, field, value)
        op.inputs, op.outputs = list(inputs), list(outputs)
        self.found.append(op)

    @staticmethod
    def _name(tensor: Any) -> str:
        name = tensor.name or b""
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
