"""Files of several signatures: each can be the model, and which one is taken is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.inspect import inspect_model
from edgeship.model.names import input_names
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.entry import read_entry
from edgeship.tflite.reader import read_tflite
from edgeship.values import ModelSource


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def two(tflite_files: Any, tmp_path: Path) -> Path:
    """`negate` is the first graph; `count`, the last, adds 1 in a loop over the graphs between until it is 10."""
    build = tflite_files.Builder()
    schema, graphs = build.schema, []

    def graph(make: Callable[[], tuple[int, int]]) -> None:
        build.graph = schema.SubGraphT()
        build.graph.tensors, build.graph.operators = [], []
        given, made = make()
        build.graph.inputs, build.graph.outputs = [given], [made]
        graphs.append(build.graph)

    def negate() -> tuple[int, int]:
        x, y = build.tensor("x", [1]), build.tensor("y", [1])
        build.op("NEG", [x], [y])
        return x, y

    def below() -> tuple[int, int]:
        x, y = build.tensor("i", [1]), build.tensor("less", [1], "BOOL")
        build.op("LESS", [x, build.tensor("ten", [1], data=np.float32([10]).tobytes())], [y])
        return x, y

    def more() -> tuple[int, int]:
        x, y = build.tensor("i", [1]), build.tensor("next", [1])
        one = build.tensor("one", [1], data=np.float32([1]).tobytes())
        build.op("ADD", [x, one], [y], schema.AddOptionsT())
        return x, y

    def count() -> tuple[int, int]:
        x, y = build.tensor("start", [1]), build.tensor("end", [1])
        loop = schema.WhileOptionsT()
        loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
        build.op("WHILE", [x], [y], loop)
        return x, y

    for make in (negate, below, more, count):
        graph(make)
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, graphs, build.buffers, build.codes
    model.signatureDefs = []
    for key, number in (("negate", 0), ("count", 3)):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, number
        signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
        signature.inputs[0].name, signature.inputs[0].tensorIndex = "value", graphs[number].inputs[0]
        signature.outputs[0].name, signature.outputs[0].tensorIndex = "answer", graphs[number].outputs[0]
        model.signatureDefs.append(signature)
    import flatbuffers

    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    path = tmp_path / "two.tflite"
    path.write_bytes(bytes(packer.Output()))
    return path


def answer(content: bytes) -> float:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.float32([3]))
    interpreter.invoke()
    return float(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])


def test_each_signature_can_be_the_model(two: Path, tmp_path: Path) -> None:
    first = read_entry(two, None)
    assert first.content == read_entry(two, "negate").content and len(first.subgraphs) == 1
    assert not any(size for _, size in first.buffers), "no weights of other signatures"
    two.with_name("one.tflite").write_bytes(first.content)
    assert read_entry(two.with_name("one.tflite"), None).content == first.content
    for key, wanted in (("negate", -3.0), ("count", 10.0)):
        made = to_float_tflite(open_model(two), tmp_path / "work", progress=Silent(), signature=key)
        assert answer(made.path.read_bytes()) == wanted
        assert [s.name for s in (*made.signature.inputs, *made.signature.outputs)] == ["value", "answer"]
    found = read_entry(two, "count")
    assert [len(g.operators) for g in found.subgraphs] == [1, 1, 1] and found.main.operators[0].op == "WHILE"
    assert found.main.operators[0].options["body_subgraph_index"] == 2


def test_a_tensor_that_is_input_and_output_has_a_name_as_each(two: Path, tflite_files: Any) -> None:
    """Models that pass on what they were given: the name of the output stood for the input, too."""
    model = tflite_files.Builder().schema.ModelT.InitFromObj(
        tflite_files.Builder().schema.Model.GetRootAs(two.read_bytes(), 0)
    )
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    graph.outputs = graph.inputs
    signature.outputs[0].tensorIndex = signature.inputs[0].tensorIndex
    import flatbuffers

    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    two.write_bytes(bytes(packer.Output()))
    found = read_tflite(two).signature
    assert (found.inputs[0].name, found.outputs[0].name) == ("value", "answer")


def test_data_is_read_for_the_signature_that_is_asked_for(tmp_path: Path) -> None:
    """Names of a signature's inputs, in the least of a saved_model.pb: field 2, in it field 5 a map of signatures."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def signature(key: str, name: str) -> bytes:
        return field(5, field(1, key.encode()) + field(2, field(1, field(1, name.encode()))))

    folder = tmp_path / "saved"
    folder.mkdir()
    told = signature("serving_default", "image") + signature("encode", "text")
    (folder / "saved_model.pb").write_bytes(field(2, told))
    source = ModelSource(path=folder, kind="saved_model", sha256="0" * 64)
    assert input_names(source) == ("image",)
    assert input_names(source, "encode") == ("text",) and input_names(source, "none") == ()


def test_what_is_taken_is_told(two: Path, tmp_path: Path) -> None:
    told = Told()
    to_float_tflite(open_model(two), tmp_path / "work", progress=told)
    assert told.notes == [
        "the .tflite has 2 signatures: 'negate' is taken; --signature count takes another",
    ]
    assert inspect_model(two).warnings[0].code == "several-signatures"
    assert "several-signatures" not in {w.code for w in inspect_model(two, signature="count").warnings}
    assert read_tflite(two).signature_defs[1].key == "count"


def test_a_signature_that_is_not_there_is_told(two: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_entry(two, "serve")
    assert caught.value.reference == "tflite-signature"
    assert caught.value.context["it has"] == "'negate', 'count'"
