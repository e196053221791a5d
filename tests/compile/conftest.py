"""Small real .tflite files made on the spot, and a compiler on the PATH that replays recorded outputs."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy
import pytest

from edgeship.assets import target_folders
from edgeship.profile import TargetProfile, load_profile
from edgeship.tflite.file import TfliteFile
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.schema import tflite_schema

CORAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coral"
FORMATS = {"int8": "b", "uint8": "B", "int16": "h", "int32": "i", "int64": "q", "float32": "f"}


@dataclass
class Graph:
    """Builds one .tflite, tensor by tensor, with the schema the runtime itself uses."""

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    read: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.schema = tflite_schema()
        self.buffers.append(self.schema.BufferT())

    def tensor(
        self, shape: Sequence[int], dtype: str = "int8", *, scale: float | Sequence[float] | None = 0.1, zero: int = 0,
        data: Sequence[float] | None = None, name: str = "", signature: Sequence[int] | None = None, axis: int = 0,
    ) -> int:  # fmt: skip
        """Add a tensor and return its index."""
        t = self.schema.TensorT()
        t.name = name or f"t{len(self.tensors)}"
        t.shape = list(shape)
        t.shapeSignature = list(signature) if signature is not None else None
        t.type = getattr(self.schema.TensorType, dtype.upper())
        if scale is not None and dtype != "float32":
            q = self.schema.QuantizationParametersT()
            q.scale = list(scale) if isinstance(scale, (list, tuple)) else [scale]
            q.zeroPoint = [zero] * len(q.scale)
            q.quantizedDimension = axis
            t.quantization = q
        if data is not None:
            buffer = self.schema.BufferT()
            content = bytes(data) if dtype == "uint8" else struct.pack(f"<{len(data)}{FORMATS[dtype]}", *data)
            buffer.data = numpy.frombuffer(content, dtype=numpy.uint8)
            self.buffers.append(buffer)
            t.buffer = len(self.buffers) - 1
        self.tensors.append(t)
        return len(self.tensors) - 1

    def input(self, shape: Sequence[int], dtype: str = "int8", **more: Any) -> int:
        index = self.tensor(shape, dtype, **more)
        self.inputs.append(index)
        return index

    def const(self, shape: Sequence[int], dtype: str = "int8", *, fill: float = 1, **more: Any) -> int:
        count = 1
        for size in shape:
            count *= size
        return self.tensor(shape, dtype, data=more.pop("data", None) or [fill] * count, **more)

    def ints(self, *values: int) -> int:
        return self.tensor([len(values)], "int32", scale=None, data=values)

    def scalar(self, value: int) -> int:
        return self.tensor([], "int32", scale=None, data=[value])

    def op(
        self, op: str, inputs: Sequence[int], shape: Sequence[int] | None = None, dtype: str = "int8", *,
        outputs: Sequence[int] | None = None, version: int = 1, options: str = "", custom: bytes | None = None,
        scale: float = 0.1, **values: Any,
    ) -> int:  # fmt: skip
        """Add an operation and return its first output's index; -1 where it has none."""
        if outputs is None:
            outputs = [self.tensor(shape or [], dtype, scale=scale, name=f"layer{len(self.operators)}")]
        code = self.schema.OperatorCodeT()
        builtin = getattr(self.schema.BuiltinOperator, op, None)
        code.builtinCode = self.schema.BuiltinOperator.CUSTOM if builtin is None else builtin
        code.customCode = op if builtin is None else None
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.codes.append(code)
        o = self.schema.OperatorT()
        o.opcodeIndex = len(self.codes) - 1
        o.inputs, o.outputs = list(inputs), list(outputs)
        if custom is not None:
            o.customOptions = list(custom)
        if options:
            o.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            o.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in values.items():
                assert hasattr(o.builtinOptions, key), f"{options} has no {key}"
                setattr(o.builtinOptions, key, value)
        self.operators.append(o)
        self.made |= set(outputs)
        self.read |= set(inputs)
        return outputs[0] if outputs else -1

    def conv(
        self, x: int, depth: int = 4, *, version: int = 3, dilation: tuple[int, int] = (1, 1), **more: Any
    ) -> int:
        shape = list(self.tensors[x].shape)
        w = self.const(
            [depth, 1, 1, shape[-1]], scale=more.pop("weight_scale", 0.01), data=more.pop("weights", None)
        )
        b = self.const([depth], "int32", scale=more.pop("bias_scale", 0.001), data=more.pop("bias", None))
        return self.op(
            "CONV_2D", [x, w, b], [*shape[:-1], depth], version=version, options="Conv2DOptions", strideH=1, strideW=1,
            dilationHFactor=dilation[0], dilationWFactor=dilation[1], **more,
        )  # fmt: skip

    def bytes(self) -> bytes:
        model, graph = self.schema.ModelT(), self.schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs = self.inputs
        graph.outputs = self.outputs or sorted(self.made - self.read)
        model.version, model.operatorCodes, model.subgraphs, model.buffers = (
            3,
            self.codes,
            [graph],
            self.buffers,
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


@pytest.fixture
def graph() -> Graph:
    """An empty graph to build on."""
    return Graph()


@pytest.fixture
def graph_maker() -> type[Graph]:
    """What makes empty graphs, for tests that need many."""
    return Graph


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph to a file and return its path."""

    def write(graph: Graph, name: str = "model.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(graph.bytes())
        return path

    return write


@pytest.fixture
def read(written: Callable[..., Path]) -> Callable[[Graph], TfliteFile]:
    """Write a graph and read it back."""
    return lambda graph: read_tflite(written(graph))


@pytest.fixture
def coral() -> Path:
    """The folder of public models with what Google's compiler made of them."""
    if not CORAL.is_dir():
        pytest.skip("needs the shared model and data folder beside the checkout")
    return CORAL


@pytest.fixture(scope="session")
def coral_profile() -> TargetProfile:
    """The Coral Dev Board's profile."""
    return load_profile("coral", folders=target_folders(environment={}))


@pytest.fixture
def fake_compiler(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Put an edgetpu_compiler on a PATH that prints a recorded text, writes recorded files, and ends with a status.

    Returns the environment that has it. `says` holds one text a call (the last repeats); the arguments of every call
    stand in `calls.txt` beside it.
    """

    def make(
        *says: str, files: dict[str, Path] | None = None, status: Sequence[int] = (0,), sleep: float = 0
    ) -> dict[str, str]:
        home = tmp_path / "fake"
        home.mkdir(exist_ok=True)
        for number, text in enumerate(says):
            (home / f"say{number}").write_text(text)
        lines = [
            "#!/bin/sh",
            f'home="{home}"',
            'if [ "$1" = --version ]; then echo "Edge TPU Compiler version 16.0.384591198"; exit 0; fi',
            'n=$(cat "$home/count" 2>/dev/null || echo 0); echo $((n + 1)) > "$home/count"',
            'printf "%s\\n" "$@" >> "$home/calls.txt"; echo "---" >> "$home/calls.txt"; pwd > "$home/cwd"',
            'for a in "$@"; do case "$a" in *.tflite) cp "$a" "$home/got.tflite";; esac; done',
            f"sleep {sleep}",
            f'last={len(says) - 1}; [ "$n" -gt "$last" ] && n=$last',
            'cat "$home/say$n"',
        ]
        codes = list(status) + [status[-1]] * (len(says) - len(status))
        lines += [f'[ "$n" = {n} ] && code={code}' for n, code in enumerate(codes)]
        for name, source in (files or {}).items():
            lines.append(f'[ "$code" = 0 ] && cp "{source}" "{name}"')
        lines.append("exit $code")
        bin_folder = tmp_path / "bin"
        bin_folder.mkdir(exist_ok=True)
        program = bin_folder / "edgetpu_compiler"
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)
        return {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    return make
