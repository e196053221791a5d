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
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.entry import read_entry
from edgeship.tflite.reader import read_tflite


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
