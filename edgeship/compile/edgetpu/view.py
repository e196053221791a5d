"""One operation with its tensors at hand, as the rules look at it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgeship.compile.edgetpu.table import Row
from edgeship.tflite.file import Operator, Tensor, TfliteFile

INTEGER_FORMATS = {"int8": "b", "uint8": "B", "int16": "h", "int32": "i", "int64": "q"}
DATA = frozenset({"int8", "uint8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the compiler will be told and which one it is."""

    compiler: int = 16
    """Major release of edgetpu_compiler."""
    runtime: int = 14
    """Runtime number the model must not ask more of (`-m`); 14 is the last there is."""
    all_subgraphs: bool = False
    """Whether every partition is kept (`-a`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An operation, its row of the table (None: not in it) and its file."""

    model: TfliteFile
    operator: Operator
    row: Row | None
    settings: Settings

    def tensor(self, position: int) -> Tensor | None:
        """Return the input at a position, or None where it is left out."""
        inputs = self.operator.inputs
        if position >= len(inputs) or inputs[position] < 0:
            return None
        return self.model.main.tensors[inputs[position]]

    @property
    def data(self) -> tuple[Tensor, ...]:
        """Inputs that are data, not weights, sizes or states kept between steps; constants among them too."""
        aside = {*self.row.parameters, *self.row.shapes} if self.row else set()
        tensors = [self.tensor(i) for i in range(len(self.operator.inputs)) if i not in aside]
        return tuple(t for t in tensors if t is not None and not t.is_variable)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Output tensors."""
        return tuple(self.model.main.tensors[i] for i in self.operator.outputs if i >= 0)

    def integers(self, position: int) -> tuple[int, ...] | None:
        """Return the values of a constant integer input, or None where it is not constant."""
        tensor = self.tensor(position)
        if tensor is None or not tensor.has_data or tensor.dtype not in INTEGER_FORMATS:
            return None
        content = self.model.tensor_bytes(tensor.index)
        code = INTEGER_FORMATS[tensor.dtype]
        return struct.unpack(f"<{tensor.elements}{code}", content[: tensor.elements * struct.calcsize(code)])

    def axes(self, position: int) -> tuple[int, ...] | None:
        """Return constant axes counted from the front, or None where they are not constant."""
        values, tensor = self.integers(position), self.tensor(0)
        if values is None or tensor is None:
            return None
        rank = len(tensor.shape)
        return tuple(v + rank if v < 0 else v for v in values)
