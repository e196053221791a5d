"""What a `.tflite` file holds, as frozen values; `edgeship.tflite.reader` makes them.

Constant data stays in the file until `tensor_bytes` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeship.values import Quantization, Signature, TensorSpec

ITEM_BITS = {
    "float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "float8_e4m3fn": 8, "float8_e5m2": 8,
    "int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32,
    "uint32": 32, "int64": 64, "uint64": 64, "bool": 8, "complex64": 64, "complex128": 128,
}  # fmt: skip
"""Bits one element takes in a buffer; int4 and int2 are packed. Strings and resources have no fixed size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a subgraph."""

    index: int
    name: str
    dtype: str
    """NumPy's name, or `int4`, `string`, `resource`, ..."""
    shape: tuple[int, ...]
    """As stored; a size the file leaves open stands as 1 here and as -1 in `shape_signature`."""
    shape_signature: tuple[int, ...]
    """`shape` with -1 where the file leaves a size open."""
    quantization: Quantization | None
    minimum: tuple[float, ...]
    """Calibrated range that some converters leave behind; empty as a rule."""
    maximum: tuple[float, ...]
    blockwise: int | None
    """Values that share a scale, where quantization is by block (`quantization` is then None)."""
    buffer: int
    has_data: bool
    """Whether the file holds its value (a weight or another constant)."""
    is_variable: bool
    is_sparse: bool

    @property
    def elements(self) -> int:
        """Number of elements of `shape`."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is left open."""
        return -1 in self.shape_signature

    def spec(self, name: str | None = None) -> TensorSpec:
        """Return the tensor as the pipeline's value, under `name` where one is given.

        Floats are what they are, whatever scale a file gives them for clients that scale without asking.
        """
        return TensorSpec(
            name=name or self.name,
            shape=self.shape_signature,
            dtype=self.dtype,
            quantization=None if self.dtype.startswith("float") else self.quantization,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operation of a subgraph, in execution order."""

    index: int
    op: str
    """Built-in name such as CONV_2D, or the name of a custom operation."""
    custom: bool
    version: int
    inputs: tuple[int, ...]
    """Tensor indices; -1 is an optional input left out."""
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: dict[str, Any]
    """Built-in options by snake_case name; enumerations as their words, e.g. padding SAME, fused_activation
    RELU6."""
    custom_options: tuple[int, int] | None
    """(offset, size) in the file of a custom operation's own options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """One graph: subgraph 0 is the model, others are bodies of loops, branches or further signatures."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureDef:
    """A named entry point: argument name and tensor index, in the file's order."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteFile:
    """A parsed and checked `.tflite`: every index and extent in it is within bounds."""

    path: Path
    size: int
    """Bytes of the file."""
    sha256: str
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    buffers: tuple[tuple[int, int], ...]
    """(offset, size) of each buffer's data in the file; (0, 0) where it holds none."""
    metadata: tuple[tuple[str, int], ...]
    """(name, buffer index) in the file's order."""
    signature_defs: tuple[SignatureDef, ...]
    content: bytes = field(repr=False, compare=False)
    """All bytes of the file."""
    unknown: tuple[str, ...] = ()
    """What the file holds that the schema read with does not know, in words: it was made by something newer (or older).
    Such operations are called OPERATION_<number>, such types type_<number>."""

    @property
    def main(self) -> Subgraph:
        """The graph that runs when the model is called."""
        return self.subgraphs[0]

    @property
    def signature(self) -> Signature:
        """Inputs and outputs in the graph's order, by their signature names where the file has them; a tensor that is
        both has a name as each."""
        named = next((d for d in self.signature_defs if d.subgraph == 0), None)
        given = {index: name for name, index in named.inputs} if named else {}
        made = {index: name for name, index in named.outputs} if named else {}
        tensors = self.main.tensors
        return Signature(
            inputs=tuple(tensors[i].spec(given.get(i) or made.get(i)) for i in self.main.inputs),
            outputs=tuple(tensors[i].spec(made.get(i) or given.get(i)) for i in self.main.outputs),
        )

    def buffer_bytes(self, index: int) -> bytes:
        """Return the data of buffer `index`, empty where it holds none."""
        offset, size = self.buffers[index] if index < len(self.buffers) else (0, 0)
        return self.content[offset : offset + size]

    def tensor_bytes(self, index: int, subgraph: int = 0) -> bytes:
        """Return the constant data of a tensor (C order, little endian; int4 packed low half first), or
        nothing."""
        return self.buffer_bytes(self.subgraphs[subgraph].tensors[index].buffer)

    def metadata_bytes(self, name: str) -> bytes | None:
        """Return the content of the first metadata entry of that name, or None."""
        return next((self.buffer_bytes(buffer) for key, buffer in self.metadata if key == name), None)

    def custom_options(self, operator: Operator) -> bytes:
        """Return the options of a custom operation as stored (usually a flexbuffer), or nothing."""
        offset, size = operator.custom_options or (0, 0)
        return self.content[offset : offset + size]

    @property
    def min_runtime_version(self) -> str | None:
        """The oldest runtime that has every operation version in the file, as the converter noted it, e.g.
        1.14.0."""
        content = self.metadata_bytes("min_runtime_version")
        return content.rstrip(b"\0").decode("ascii", "replace") if content else None
