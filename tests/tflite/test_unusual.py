"""Files that are whole and unusual: what a runtime takes is read, converted and never called damaged."""

from __future__ import annotations

import copy
import io
import re
import struct
import zipfile
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
from edgeship.tflite.attach import files_of
from edgeship.tflite.flat import parse
from edgeship.tflite.normalise import normalised
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.schema import tflite_schema


def changed(content: bytes, change: Callable[[Any, Any], object]) -> bytes:
    """Return a model with its object form changed."""
    import flatbuffers

    schema = tflite_schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(model, schema)
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    return bytes(packer.Output())


def run(content: bytes) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], np.ones(entry["shape"], entry["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]).tolist() for d in interpreter.get_output_details()]


def nameless(content: bytes) -> bytes:
    def change(model: Any, _: Any) -> None:
        model.description = model.subgraphs[0].name = None
        for tensor in model.subgraphs[0].tensors:
            tensor.name = None

    return changed(content, change)


def stray_metadata(content: bytes) -> bytes:
    def change(model: Any, schema: Any) -> None:
        model.metadata = [schema.MetadataT(), schema.MetadataT()]
        model.metadata[0].name, model.metadata[0].buffer = b"lost", 77

    return changed(content, change)


def unread_tensors(content: bytes) -> bytes:
    """Add what no operation reads: a tensor of no elements, a scalar without a shape, a variant, an empty string."""

    def change(model: Any, schema: Any) -> None:
        for name, kind, shape in (
            ("none", "FLOAT32", [0]),
            ("scalar", "INT32", None),
            ("text", "STRING", [0]),
        ):
            tensor = schema.TensorT()
            tensor.name, tensor.type, tensor.shape = name, getattr(schema.TensorType, kind), shape
            model.subgraphs[0].tensors.append(tensor)

    return changed(content, change)


def strange_options(content: bytes) -> bytes:
    raw = bytearray(content)
    operator = tflite_schema().Model.GetRootAs(raw, 0).Subgraphs(0).Operators(0)
    raw[operator._tab.Pos + operator._tab.Offset(10)] = 200
    return bytes(raw)


def empty_signature(content: bytes) -> bytes:
    def change(model: Any, schema: Any) -> None:
        signature = schema.SignatureDefT()
        signature.signatureKey = b"nothing"
        model.signatureDefs = [signature]

    return changed(content, change)


def with_labels(content: bytes) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("labels.txt", "yes\nno\n")
    return stream.getvalue()


def weights_behind(content: bytes) -> bytes:
    """Put the weights behind the flatbuffer, as files beyond 2 GB have them."""
    data = struct.pack("<12f", *range(12))

    def change(model: Any, _: Any) -> None:
        buffer = model.buffers[model.subgraphs[0].tensors[1].buffer]
        buffer.data, buffer.offset, buffer.size = None, 1 << 20, len(data)

    packed = changed(content, change)
    place = (len(packed) + 63) // 64 * 64
    return packed.replace(struct.pack("<Q", 1 << 20), struct.pack("<Q", place)).ljust(place, b"\0") + data


def old_codes(content: bytes) -> bytes:
    def change(model: Any, _: Any) -> None:
        for code in model.operatorCodes:
            code.builtinCode = 0

    return changed(content, change)


def shared_weights(content: bytes) -> bytes:
    """Let a second tensor stand on the buffer of the weights, as tied embeddings do."""

    def change(model: Any, schema: Any) -> None:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = b"again", [12], model.subgraphs[0].tensors[1].buffer
        model.subgraphs[0].tensors.append(tensor)

    return changed(content, change)


def shapeless_output(content: bytes) -> bytes:
    return changed(content, lambda model, _: setattr(model.subgraphs[0].tensors[3], "shape", None))


def one_name_for_all(content: bytes) -> bytes:
    def change(model: Any, _: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"same"

    return changed(content, change)


def no_text_for_a_name(content: bytes) -> bytes:
    raw = changed(content, lambda model, _: setattr(model.subgraphs[0].tensors[1], "name", b"gewicht-xx"))
    return raw.replace(b"gewicht-xx", b"gewicht-\xe4\xff")


KINDS: list[Callable[[bytes], bytes]] = [
    nameless, stray_metadata, unread_tensors, strange_options, empty_signature, with_labels, weights_behind, old_codes,
    shared_weights, shapeless_output, one_name_for_all, lambda content: content + bytes(1000),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_whole_and_unusual(kind: Callable[[bytes], bytes], make_dense: Any, tmp_path: Path) -> None:
    """What LiteRT runs is read and becomes a float model that computes the same."""
    content = kind(make_dense())
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    model = to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert model.is_float
    assert run(model.path.read_bytes()) == run(content) == run(make_dense())
    assert inspect_model(path).operations == {"FULLY_CONNECTED": 1}


def test_tensors_get_names_that_the_quantizer_can_tell_apart(make_dense: Any) -> None:
    """It knows them by their names, over all graphs of the file; what people ask and read keeps its own."""

    def twice(model: Any, schema: Any) -> None:
        model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))

    def names(content: bytes) -> list[list[str]]:
        return [[t.name for t in graph.tensors] for graph in parse(Path("m"), content, "").subgraphs]

    assert names(normalised(one_name_for_all(make_dense()))) == [["same", "same_2", "same_3", "same_1"]]
    assert names(normalised(nameless(make_dense()))) == [["tensor_0", "tensor_1", "tensor_2", "tensor_3"]]
    assert names(normalised(no_text_for_a_name(make_dense()))) == [["x", "gewicht-__", "b", "y"]]
    two = [["x", "w", "b", "y"], ["x_1", "w_1", "b_1", "y_1"]]
    assert names(normalised(changed(make_dense(), twice))) == two
    given = one_name_for_all(make_dense(dtype="INT8"))
    assert normalised(given) == given, "no quantizer sees it"


def test_an_output_whose_size_the_file_leaves_out(make_dense: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.tflite"
    path.write_bytes(shapeless_output(make_dense()))
    model = to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert model.signature.outputs[0].shape == (1, 3)


def test_a_graph_without_operations(builder: Any, tmp_path: Path) -> None:
    x = builder.tensor("x", [1, 4])
    path = tmp_path / "same.tflite"
    path.write_bytes(builder.build([x], [x]))
    model = to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert run(model.path.read_bytes()) == [[[1.0] * 4]]


@pytest.mark.parametrize(
    ("shapes", "inputs", "outputs", "says"),
    [
        ([[1, 4]], [], [0], "the model takes no input"),
        ([[1, 4]], [0], [], "the model gives no output"),
        ([], [], [], "the model gives no output"),
        ([[1, 4], [1, 0]], [0, 1], [0], "the input 't1' of shape [1, 0] holds no number"),
    ],
)
def test_nothing_to_ask_or_to_answer(
    shapes: list[list[int]], inputs: list[int], outputs: list[int], says: str, builder: Any, tmp_path: Path
) -> None:
    for number, shape in enumerate(shapes):
        builder.tensor(f"t{number}", shape)
    path = tmp_path / "none.tflite"
    path.write_bytes(builder.build(inputs, outputs))
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert f"hint: edgeship inspect {path}" in caught.value.render()
    assert inspect_model(path).operations == {}


def test_packed_int4_weights(builder: Any, tmp_path: Path) -> None:
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 3])
    w = builder.tensor("w", [3, 4], "INT4", data=bytes([0x21] * 6), scales=[0.5])
    builder.op("FULLY_CONNECTED", [x, w, -1], [y], builder.schema.FullyConnectedOptionsT())
    path = tmp_path / "int4.tflite"
    path.write_bytes(builder.build([x], [y]))
    assert read_tflite(path).main.tensors[w].dtype == "int4"
    assert inspect_model(path).parameters.count == 12


def test_an_old_float_file_keeps_what_is_packed_behind_it(make_dense: Any) -> None:
    content = normalised(old_codes(with_labels(make_dense())[: len(make_dense())]) + b"")
    packed = normalised(with_labels(old_codes(make_dense())))
    assert files_of(packed) == {"labels.txt": b"yes\nno\n"}
    assert packed.startswith(content)
    code = tflite_schema().Model.GetRootAs(packed, 0).OperatorCodes(0)
    assert (
        code.BuiltinCode() == code.DeprecatedBuiltinCode() == tflite_schema().BuiltinOperator.FULLY_CONNECTED
    )


def test_an_old_quantized_file_keeps_its_bytes(make_dense: Any) -> None:
    """No quantizer sees it, and what does read it (runtimes, compilers) knows both fields."""
    content = old_codes(make_dense(dtype="INT8"))
    assert normalised(content) == content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m.operatorCodes[0], "builtinCode", 999), "operation number 999"),
        (lambda m: setattr(m.subgraphs[0].tensors[3], "type", 99), "tensor type number 99"),
        (lambda m: setattr(m, "version", 2), "version 2 of the format (runtimes take 3)"),
    ],
)
def test_what_is_unknown_is_named(
    change: Callable[[Any], object], says: str, make_dense: Any, tmp_path: Path
) -> None:
    path = tmp_path / "newer.tflite"
    path.write_bytes(changed(make_dense(), lambda model, _: change(model)))
    with pytest.raises(InputError) as caught:
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    text = caught.value.render()
    assert text.startswith("error: model-unknown-parts\n") and says in text
    assert "damaged" not in text and "hint: pip install --upgrade edgeship" in text
    found = inspect_model(path)
    assert found.warnings[0].code == "unknown-parts" and says in found.warnings[0].message
    assert found.signature.inputs[0].shape == (1, 4)


def test_a_bias_with_the_axis_of_its_weights_is_mended(make_dense: Any, tmp_path: Path) -> None:
    """Of old converters' depthwise layers, known from TensorFlow Lite Micro: a vector has but one axis."""

    def change(model: Any, schema: Any) -> None:
        held = model.subgraphs[0].tensors[2].quantization = schema.QuantizationParametersT()
        held.scale, held.zeroPoint, held.quantizedDimension = [1.0] * 3, [0] * 3, 3

    path = tmp_path / "old.tflite"
    path.write_bytes(changed(make_dense(), change))
    with pytest.raises(ValueError, match="quantized_dimension"):
        run(path.read_bytes())
    mended = normalised(path.read_bytes())
    assert run(mended) == run(make_dense())
    for content in (path.read_bytes(), mended):
        path.write_bytes(content)
        (bias,) = (t for t in read_tflite(path).main.tensors if t.name == "b")
        assert bias.quantization is not None and bias.quantization.axis == 0


def test_sizes_are_not_asked_for_where_no_device_runs_the_model(tflite_files: Any, tmp_path: Path) -> None:
    """Tokenizers and policies with TensorFlow's own operations, open sizes too: closing them leads nowhere."""
    build = tflite_files.Builder()
    x = build.tensor("x", [1, 1], signature=[-1, -1])
    y = build.tensor("y", [1, 1], signature=[-1, -1])
    build.op("CUSTOM", [x], [y], custom="FlexMultinomial")
    path = tmp_path / "flex.tflite"
    path.write_bytes(build.build([x], [y]))
    with pytest.raises(InputError) as caught:
        to_float_tflite(open_model(path), tmp_path / "work", progress=Silent())
    assert caught.value.hint is not None and "--input-shape" not in caught.value.hint
    assert (
        caught.value.message
        == "the model needs TensorFlow's own kernels for FlexMultinomial, which no device gets"
    )


def test_what_contradicts_itself_is_not_called_damaged(make_dense: Any, tmp_path: Path) -> None:
    def change(model: Any, schema: Any) -> None:
        held = model.subgraphs[0].tensors[1].quantization = schema.QuantizationParametersT()
        held.scale, held.zeroPoint, held.quantizedDimension = [1.0] * 3, [0] * 3, 1

    path = tmp_path / "odd.tflite"
    path.write_bytes(changed(make_dense(), change))
    with pytest.raises(InputError) as caught:
        read_tflite(path)
    text = caught.value.render()
    assert text.startswith("error: model-inconsistent\n")
    assert "tensor 1 (w) of shape [3, 4] has 3 scales along axis 1" in text and "damaged" not in text
