"""What a compiled `.tflite` holds for the Edge TPU: the packages inside its `edgetpu-custom-op` operations.

Layout as in google-coral/libedgetpu (executable.fbs, custom_op_data.cc): the operation's options are a flexbuffer map
whose key "4" is a `Package` (file identifier DWN1). A package holds a `MultiExecutable` of one or more `Executable`s.
Only the few fields needed are read, each checked against the end of the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from edgeship.compile.edgetpu.blockers import CUSTOM_OP
from edgeship.errors import ToolError
from edgeship.tflite.file import TfliteFile

IDENTIFIER = b"DWN1"
PACKAGE_KEY = "4"
TYPES: dict[int, Literal["STAND_ALONE", "PARAMETER_CACHING", "EXECUTION_ONLY"]] = {
    0: "STAND_ALONE",
    1: "PARAMETER_CACHING",
    2: "EXECUTION_ONLY",
}
PACKAGE = {"min_runtime_version": 0, "multi_executable": 1, "compiler_version": 4}
EXECUTABLE = {"parameters": 6, "type": 13, "token": 14}
"""Field numbers in executable.fbs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """One program for the chip."""

    kind: str
    """STAND_ALONE, PARAMETER_CACHING (run once to load parameters) or EXECUTION_ONLY."""
    parameter_bytes: int
    caching_token: int
    """Executables with the same token share what is cached on the chip; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What one custom operation carries."""

    operation: int
    min_runtime_version: int
    compiler_version: str
    """Usually empty: the version on the compiler's output counts."""
    executables: tuple[Executable, ...]

    @property
    def cached_bytes(self) -> int:
        """Parameter bytes kept on the chip between inferences."""
        return sum(e.parameter_bytes for e in self.executables if e.kind == "PARAMETER_CACHING")

    @property
    def streamed_bytes(self) -> int:
        """Parameter bytes sent with every inference."""
        return sum(e.parameter_bytes for e in self.executables if e.kind != "PARAMETER_CACHING")

    @property
    def caching_tokens(self) -> frozenset[int]:
        """Tokens of the executables, without 0."""
        return frozenset(e.caching_token for e in self.executables if e.caching_token)


def packages_of(model: TfliteFile) -> tuple[Package, ...]:
    """Return the package of every Edge TPU operation in a file; none where it was not compiled.

    Raises ToolError `edgetpu-output-corrupt` where an operation carries something else than a package: such a file
    cannot run (placeholders made by other tools look like that).
    """
    found = []
    for operator in model.main.operators:
        if operator.custom and operator.op == CUSTOM_OP:
            try:
                found.append(_package(model.custom_options(operator), operator.index))
            except (
                struct.error,
                IndexError,
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
            ) as error:
                raise ToolError(
                    "edgetpu-output-corrupt",
                    f"the Edge TPU operation {operator.index} carries no program that a device could run: {error}",
                    context={"file": model.path},
                    hint="compile again with Google's edgetpu_compiler; other tools only make placeholders",
                ) from None
    return tuple(found)


def _package(options: bytes, operation: int) -> Package:
    from flatbuffers import flexbuffers

    if not options:
        raise ValueError("its options are empty")
    fields = flexbuffers.GetRoot(options).AsMap
    if PACKAGE_KEY not in [key.AsKey for key in fields.Keys]:
        raise ValueError(f'its options have no key "{PACKAGE_KEY}"')
    value = fields[PACKAGE_KEY]
    content = bytes(value.AsStringBytes if value.IsString else value.AsBlob)
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"its package begins with {content[4:8]!r}, not {IDENTIFIER!r}")
    root = _Table.root(content)
    executables = _Table.root(root.block(PACKAGE["multi_executable"])).blocks(0)
    return Package(
        operation=operation,
        min_runtime_version=root.integer(PACKAGE["min_runtime_version"], "<i"),
        compiler_version=root.block(PACKAGE["compiler_version"]).decode(),
        executables=tuple(_executable(e) for e in executables),
    )


def _executable(content: bytes) -> Executable:
    table = _Table.root(content)
    kind = table.integer(EXECUTABLE["type"], "<h")
    return Executable(
        kind=TYPES[kind],
        parameter_bytes=len(table.block(EXECUTABLE["parameters"])),
        caching_token=table.integer(EXECUTABLE["token"], "<Q"),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table: `content` with the table at `position`."""

    content: bytes
    position: int

    @classmethod
    def root(cls, content: bytes) -> _Table:
        (offset,) = struct.unpack_from("<I", content, 0)
        return cls(content, offset)

    def _field(self, number: int) -> int:
        """Return where a field stands, or 0 where it is left out."""
        (back,) = struct.unpack_from("<i", self.content, self.position)
        vtable = self.position - back
        if vtable < 0:
            raise ValueError("a table begins before the data")
        (length,) = struct.unpack_from("<H", self.content, vtable)
        slot = 4 + 2 * number
        if slot >= length:
            return 0
        (offset,) = struct.unpack_from("<H", self.content, vtable + slot)
        return self.position + offset if offset else 0

    def integer(self, number: int, form: str) -> int:
        """Return an integer field; 0, its default, where it is left out."""
        at = self._field(number)
        return int(struct.unpack_from(form, self.content, at)[0]) if at else 0

    def _vector(self, at: int) -> tuple[int, int]:
        """Return (start, length) of the vector whose offset stands at `at`."""
        (offset,) = struct.unpack_from("<I", self.content, at)
        (length,) = struct.unpack_from("<I", self.content, at + offset)
        return at + offset + 4, length

    def block(self, number: int) -> bytes:
        """Return a vector of bytes or a string; empty where it is left out."""
        at = self._field(number)
        if not at:
            return b""
        start, length = self._vector(at)
        if start + length > len(self.content):
            raise ValueError("a vector ends behind the data")
        return self.content[start : start + length]

    def blocks(self, number: int) -> list[bytes]:
        """Return a vector of strings."""
        at = self._field(number)
        start, count = self._vector(at) if at else (0, 0)
        if start + 4 * count > len(self.content):
            raise ValueError("a vector ends behind the data")
        found = []
        for i in range(count):
            begin, length = self._vector(start + 4 * i)
            if begin + length > len(self.content):
                raise ValueError("a string ends behind the data")
            found.append(self.content[begin : begin + length])
        return found
