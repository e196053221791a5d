"""Turn the bytes of a `.tflite` into values, believing nothing in them.

The generated classes follow offsets wherever they lead. Here every vector is measured against the file before
it is walked, the work is bounded by the size of the file (a damaged file may claim that a million tensors
share one table), and every index is checked: what `parse` returns can be used without further care.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from edgeship.tflite.file import ITEM_BITS, Operator, SignatureDef, Subgraph, Tensor, TfliteFile
from edgeship.tflite.options import option_values
from edgeship.tflite.schema import enum_names, tflite_schema
from edgeship.values import Quantization


class Corrupt(Exception):
    """Why a file cannot be a whole .tflite."""


class Inconsistent(Corrupt):
    """What a whole file says of itself that cannot all be true; no runtime takes it."""


VERSION = 3
"""The one version of the file format that runtimes take."""


def parse(path: Path, content: bytes, sha256: str) -> TfliteFile:
    """Return the file's content as values. Raises Corrupt, and nothing else, where it does not hold
    together."""
    try:
        return _Reader(content).file(path, sha256)
    except (
        struct.error,
        IndexError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
        MemoryError,
        AssertionError,
    ) as error:  # fmt: skip - what the generated classes raise when an offset leads out of the file
        raise Corrupt(f"an offset leads out of the file ({type(error).__name__})") from error


class _Reader:
    """One pass over one file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.schema = tflite_schema()
        # Each element of an honest file has bytes of its own; a few tables may be shared.
        self.budget = 4 * len(content) + 10_000
        self.types = {value: name.lower() for value, name in enum_names(self.schema.TensorType).items()}
        self.ops = enum_names(self.schema.BuiltinOperator)
        self.options_seen: dict[tuple[str, int], dict[str, Any]] = {}
        self.unknown: dict[str, None] = {}

    def spend(self, count: int, what: str) -> int:
        """Return `count`, or raise Corrupt where the file cannot hold that many elements."""
        self.budget -= count
        if count * 4 > len(self.content) or self.budget < 0:
            raise Corrupt(f"it claims {count} {what}, more than it has room for")
        return count

    def file(self, path: Path, sha256: str) -> TfliteFile:
        model = self.schema.Model.GetRootAs(self.content, 0)
        buffers = tuple(
            self.buffer(model.Buffers(i), i) for i in range(self.spend(model.BuffersLength(), "buffers"))
        )
        codes = [
            self.operator_code(model.OperatorCodes(i))
            for i in range(self.spend(model.OperatorCodesLength(), "operator codes"))
        ]
        subgraphs = tuple(
            self.subgraph(model.Subgraphs(i), i, codes, buffers)
            for i in range(self.spend(model.SubgraphsLength(), "subgraphs"))
        )
        if not subgraphs:
            raise Corrupt("it holds no graph")
        metadata = []
        for i in range(self.spend(model.MetadataLength(), "metadata entries")):
            entry = model.Metadata(i)
            if entry.Buffer() < len(buffers):  # an entry that leads nowhere troubles no runtime
                metadata.append((_text(entry.Name()), entry.Buffer()))
        if model.Version() != VERSION:
            self.unknown[f"version {model.Version()} of the format (runtimes take {VERSION})"] = None
        return TfliteFile(
            path=path,
            size=len(self.content),
            sha256=sha256,
            version=model.Version(),
            description=_text(model.Description()),
            subgraphs=subgraphs,
            buffers=buffers,
            metadata=tuple(metadata),
            signature_defs=tuple(
                self.signature_def(model.SignatureDefs(i), subgraphs)
                for i in range(self.spend(model.SignatureDefsLength(), "signatures"))
            ),
            content=self.content,
            unknown=tuple(self.unknown),
        )

    def buffer(self, buffer: Any, index: int) -> tuple[int, int]:
        """Return (offset, size) of a buffer's data: inside the flatbuffer, or behind it in files beyond 2
        GB."""
        size = buffer.DataLength()
        offset = buffer._tab.Vector(buffer._tab.Offset(4)) if size else 0
        if not size and buffer.Offset() > 1:  # 0 and 1 both mean: not there
            offset, size = buffer.Offset(), buffer.Size()
        if offset + size > len(self.content):
            raise Corrupt(f"buffer {index} ends at byte {offset + size} of {len(self.content)}")
        return offset, size

    def operator_code(self, code: Any) -> tuple[str, bool, int]:
        """Return (name, is custom, version). Old files keep the code in a byte, new ones in a wider field."""
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number not in self.ops:
            self.unknown[f"operation number {number}"] = None
            return f"OPERATION_{number}", False, code.Version()
        custom = self.ops[number] == "CUSTOM"
        return (_text(code.CustomCode()) or "CUSTOM") if custom else self.ops[number], custom, code.Version()

    def subgraph(
        self, graph: Any, index: int, codes: list[tuple[str, bool, int]], buffers: tuple[tuple[int, int], ...]
    ) -> Subgraph:
        tensors = tuple(
            self.tensor(graph.Tensors(i), i, buffers)
            for i in range(self.spend(graph.TensorsLength(), "tensors"))
        )
        operators = tuple(
            self.operator(graph.Operators(i), i, codes, len(tensors))
            for i in range(self.spend(graph.OperatorsLength(), "operations"))
        )
        inputs, outputs = self.integers(graph, "Inputs"), self.integers(graph, "Outputs")
        for tensor in (*inputs, *outputs):
            _check(tensor, len(tensors), f"subgraph {index}", "tensor")
        return Subgraph(
            index=index,
            name=_text(graph.Name()),
            tensors=tensors,
            operators=operators,
            inputs=inputs,
            outputs=outputs,
        )

    def integers(self, table: Any, field: str) -> tuple[int, ...]:
        """Return a vector of integers, measured before it is read."""
        self.spend(getattr(table, f"{field}Length")(), field.lower())
        values = getattr(table, f"{field}AsNumpy")()
        return () if isinstance(values, int) else tuple(values.tolist())

    def tensor(self, tensor: Any, index: int, buffers: tuple[tuple[int, int], ...]) -> Tensor:
        name = _text(tensor.Name())
        where = f"tensor {index} ({name})"
        if tensor.Buffer() or buffers:
            _check(tensor.Buffer(), len(buffers), where, "buffer")
        if tensor.Type() not in self.types:
            self.unknown[f"tensor type number {tensor.Type()}"] = None
        dtype = self.types.get(tensor.Type(), f"type_{tensor.Type()}")
        shape = self.integers(tensor, "Shape")
        signature = self.integers(tensor, "ShapeSignature")
        if any(size < 0 for size in shape) or any(size < -1 for size in signature):
            raise Inconsistent(f"{where} has the shape {list(shape)}")
        quantization, minimum, maximum, blockwise = self.quantization(tensor.Quantization(), shape, where)
        size = buffers[tensor.Buffer()][1] if buffers else 0
        sparse = tensor.Sparsity() is not None
        wanted = 1
        for length in shape:
            wanted *= length
        if size and not sparse and dtype in ITEM_BITS and size < (wanted * ITEM_BITS[dtype] + 7) // 8:
            raise Corrupt(
                f"{where} needs {(wanted * ITEM_BITS[dtype] + 7) // 8} bytes of data and has {size}"
            )
        return Tensor(
            index=index,
            name=name,
            dtype=dtype,
            shape=shape,
            shape_signature=signature if len(signature) == len(shape) else shape,
            quantization=quantization,
            minimum=minimum,
            maximum=maximum,
            blockwise=blockwise,
            buffer=tensor.Buffer(),
            has_data=size > 0,
            is_variable=bool(tensor.IsVariable()),
            is_sparse=sparse,
        )

    def quantization(
        self, parameters: Any, shape: tuple[int, ...], where: str
    ) -> tuple[Quantization | None, tuple[float, ...], tuple[float, ...], int | None]:
        """Return (quantization, minimum, maximum, block size); scales are the float32 values widened
        exactly."""
        if parameters is None:
            return None, (), (), None
        blockwise = None
        if parameters.DetailsType() == self.schema.QuantizationDetails.BlockwiseQuantization:
            union = parameters.Details()
            block = self.schema.BlockwiseQuantization()
            block.Init(union.Bytes, union.Pos)
            blockwise = int(block.BlockSize())
        minimum = tuple(float(v) for v in self.integers(parameters, "Min"))
        maximum = tuple(float(v) for v in self.integers(parameters, "Max"))
        scales, zeros = self.integers(parameters, "Scale"), self.integers(parameters, "ZeroPoint")
        if not scales:
            return None, minimum, maximum, blockwise
        axis = parameters.QuantizedDimension() if len(scales) > 1 else None
        if axis is not None and len(shape) == 1:
            axis = 0  # a vector has no other; old converters wrote the axis of the weights into its bias
        if len(zeros) not in (0, 1, len(scales)):
            raise Inconsistent(f"{where} has {len(scales)} scales and {len(zeros)} zero points")
        if axis is not None and (not 0 <= axis < len(shape) or shape[axis] != len(scales)):
            raise Inconsistent(f"{where} of shape {list(shape)} has {len(scales)} scales along axis {axis}")
        padded = zeros if len(zeros) == len(scales) else (zeros or (0,)) * len(scales)
        return Quantization(scales=scales, zero_points=padded, axis=axis), minimum, maximum, blockwise

    def operator(
        self, operator: Any, index: int, codes: list[tuple[str, bool, int]], tensors: int
    ) -> Operator:
        _check(operator.OpcodeIndex(), len(codes), f"operation {index}", "operator code")
        op, custom, version = codes[operator.OpcodeIndex()]
        inputs, outputs = self.integers(operator, "Inputs"), self.integers(operator, "Outputs")
        intermediates = self.integers(operator, "Intermediates")
        for tensor in (*inputs, *outputs, *intermediates):
            _check(tensor, tensors, f"operation {index} ({op})", "tensor", lowest=-1)
        size = operator.CustomOptionsLength()
        span = (operator._tab.Vector(operator._tab.Offset(14)), size) if size else None
        if not size and operator.LargeCustomOptionsOffset() > 1:
            span = (operator.LargeCustomOptionsOffset(), operator.LargeCustomOptionsSize())
        if span and sum(span) > len(self.content):
            raise Corrupt(f"the options of operation {index} ({op}) end at byte {sum(span)}")
        return Operator(
            index=index,
            op=op,
            custom=custom,
            version=version,
            inputs=inputs,
            outputs=outputs,
            intermediates=intermediates,
            options=self.options(operator),
            custom_options=span,
        )

    def options(self, operator: Any) -> dict[str, Any]:
        """Return the built-in options of an operation, from whichever of the two unions it uses."""
        for union, number, table in (
            ("BuiltinOptions", operator.BuiltinOptionsType(), operator.BuiltinOptions()),
            ("BuiltinOptions2", operator.BuiltinOptions2Type(), operator.BuiltinOptions2()),
        ):
            if not number or table is None:
                continue
            name = enum_names(getattr(self.schema, union)).get(number)
            if name is None:  # runtimes ask the operation what its options are, not this number
                continue
            key = (name, table.Pos)
            if key not in self.options_seen:
                self.spend(1, "options")
                self.options_seen[key] = option_values(self.schema, name, table)
            return dict(self.options_seen[key])
        return {}

    def signature_def(self, definition: Any, subgraphs: tuple[Subgraph, ...]) -> SignatureDef:
        key = _text(definition.SignatureKey())
        _check(definition.SubgraphIndex(), len(subgraphs), f"signature '{key}'", "subgraph")
        tensors = len(subgraphs[definition.SubgraphIndex()].tensors)
        maps: dict[str, tuple[tuple[str, int], ...]] = {}
        for field in ("Inputs", "Outputs"):
            entries = []
            for i in range(self.spend(getattr(definition, f"{field}Length")(), f"signature {field.lower()}")):
                entry = getattr(definition, field)(i)
                _check(entry.TensorIndex(), tensors, f"signature '{key}'", "tensor")
                entries.append((_text(entry.Name()), entry.TensorIndex()))
            maps[field] = tuple(entries)
        return SignatureDef(
            key=key, subgraph=definition.SubgraphIndex(), inputs=maps["Inputs"], outputs=maps["Outputs"]
        )


def _check(index: int, count: int, where: str, what: str, *, lowest: int = 0) -> None:
    if not lowest <= index < count:
        raise Corrupt(f"{where} refers to {what} {index} of {count}")


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
