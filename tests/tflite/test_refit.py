"""What a `.tflite` is changed in so that quantizer, runtimes and compilers take it, and that it means the same."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.file import TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.normalise import normalised
from edgeship.tflite.refit import ALIGNMENT


def held(content: bytes) -> TfliteFile:
    return parse(Path("m.tflite"), content, "")


def run(content: bytes, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def shape_options(schema: Any) -> Any:
    options = schema.ShapeOptionsT()
    options.outType = schema.TensorType.INT32
    return options


def flattening(builder: Any, *, batch: int = -1, last: int = 6) -> bytes:
    """Return what the converter makes of Flatten with an open batch: SHAPE, STRIDED_SLICE, PACK, RESHAPE."""
    schema = builder.schema
    signature = [batch, 2, 3]
    x = builder.tensor("x", [1, 2, 3], signature=signature)
    shape, size = builder.tensor("shape", [3], "INT32"), builder.tensor("size", [], "INT32")
    wanted = builder.tensor("wanted", [2], "INT32")
    y = builder.tensor("y", [1, 6], signature=[batch, 6])
    z = builder.tensor("z", [1, 6], signature=[batch, 6])
    zero = builder.tensor("zero", [1], "INT32", data=ints(0))
    one = builder.tensor("one", [1], "INT32", data=ints(1))
    rest = builder.tensor("rest", [], "INT32", data=ints(last))
    options = schema.StridedSliceOptionsT()
    options.shrinkAxisMask = 1
    pack = schema.PackOptionsT()
    pack.valuesCount = 2
    builder.op("SHAPE", [x], [shape], shape_options(schema))
    builder.op("STRIDED_SLICE", [shape, zero, one, one], [size], options)
    builder.op("PACK", [size, rest], [wanted], pack)
    builder.op("RESHAPE", [x, wanted], [y])
    builder.op("ABS", [y], [z])
    return bytes(builder.build([x], [z]))


def test_shape_arithmetic_of_a_fixed_batch_becomes_a_constant(builder: Any) -> None:
    content = flattening(builder)
    after = held(normalised(content))
    assert [op.op for op in after.main.operators] == ["RESHAPE", "ABS"]
    wanted = after.main.operators[0].inputs[1]
    assert after.tensor_bytes(wanted) == ints(1, 6)
    assert not any(t.is_dynamic for t in after.main.tensors)
    assert [t.name for t in after.main.tensors] == ["x", "wanted", "y", "z"], "what nobody reads is gone"
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert np.array_equal(run(after.content, x)[0], run(content, x)[0])
    assert normalised(after.content) == after.content


def test_a_shape_that_stays_open_stays_a_question(builder: Any) -> None:
    schema = builder.schema
    x = builder.tensor("x", [1, 1, 3], signature=[-1, -1, 3])
    y = builder.tensor("y", [3], "INT32")
    builder.op("SHAPE", [x], [y], shape_options(schema))
    content = builder.build([x], [y])
    assert normalised(content) == content


def test_a_shape_that_is_the_models_output_is_computed(builder: Any) -> None:
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [2], "INT32")
    builder.op("SHAPE", [x], [y], shape_options(builder.schema))
    content = builder.build([x], [y])
    assert normalised(content) == content


@pytest.mark.parametrize(
    ("op", "constants", "options", "expected"),
    [
        ("GATHER", [("at", [2], ints(2, 0))], {"axis": 0}, ints(3, 1)),
        ("CONCATENATION", [("more", [1], ints(7))], {"axis": 0}, ints(1, 2, 3, 7)),
        ("REDUCE_PROD", [("axes", [1], ints(0))], {"keepDims": True}, ints(6)),
        ("MUL", [("two", [1], ints(2))], {}, ints(2, 4, 6)),
        ("STRIDED_SLICE", [("b", [1], ints(1)), ("e", [1], ints(0)), ("s", [1], ints(1))],
         {"endMask": 1}, ints(2, 3)),
    ],
)  # fmt: skip
def test_what_converters_ask_of_a_shape(
    builder: Any, op: str, constants: list[Any], options: dict[str, Any], expected: bytes
) -> None:
    """The folded value is the one that the runtime computes."""
    schema = builder.schema
    names = {"CONCATENATION": "Concatenation", "REDUCE_PROD": "Reducer", "STRIDED_SLICE": "StridedSlice"}
    chosen = getattr(schema, names.get(op, op.capitalize()) + "OptionsT")()
    for key, value in options.items():
        setattr(chosen, key, value)
    x, shape = builder.tensor("x", [1, 2, 3]), builder.tensor("shape", [3], "INT32")
    size = len(expected) // 4
    made, y = builder.tensor("made", [size], "INT32"), builder.tensor("y", [size], "INT32")
    given = [builder.tensor(n, s, "INT32", data=d) for n, s, d in constants]
    builder.op("SHAPE", [x], [shape], shape_options(schema))
    builder.op(op, [shape, *given], [made], chosen)
    builder.op("NEG", [made], [y])
    content = builder.build([x], [y])
    after = held(normalised(content))
    assert [o.op for o in after.main.operators] == ["NEG"]
    assert after.tensor_bytes(after.main.operators[0].inputs[0]) == expected
    sample = np.zeros((1, 2, 3), np.float32)
    assert np.array_equal(run(content, sample)[0], -np.frombuffer(expected, np.int32))


def transposed(builder: Any) -> bytes:
    """Return a transposed convolution to one channel, whose bias the converter leaves as [1, 1, 1, 1]."""
    options = builder.schema.TransposeConvOptionsT()
    options.strideH = options.strideW = 2
    options.padding = builder.schema.Padding.SAME
    x, y = builder.tensor("x", [1, 2, 2, 1]), builder.tensor("y", [1, 4, 4, 1])
    sizes = builder.tensor("sizes", [4], "INT32", data=ints(1, 4, 4, 1))
    weights = builder.tensor("w", [1, 3, 3, 1], data=struct.pack("<9f", *range(9)))
    bias = builder.tensor("b", [1, 1, 1, 1], data=struct.pack("<f", -0.3))
    builder.op("TRANSPOSE_CONV", [sizes, weights, x, bias], [y], options)
    builder.codes[-1].version = 3
    return bytes(builder.build([x], [y]))


def test_a_bias_is_a_vector(builder: Any) -> None:
    content = transposed(builder)
    after = held(normalised(content))
    assert next(t.shape for t in after.main.tensors if t.name == "b") == (1,)
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    assert np.array_equal(run(after.content, x)[0], run(content, x)[0])


def test_a_bias_that_something_else_reads_is_left_alone(builder: Any) -> None:
    x, w = builder.tensor("x", [1, 4]), builder.tensor("w", [3, 4], data=struct.pack("<12f", *range(12)))
    b = builder.tensor("b", [1, 3], data=struct.pack("<3f", 1, 2, 3))
    y, z = builder.tensor("y", [1, 3]), builder.tensor("z", [1, 3])
    builder.op("FULLY_CONNECTED", [x, w, b], [y], builder.schema.FullyConnectedOptionsT())
    builder.op("ADD", [y, b], [z], builder.schema.AddOptionsT())
    content = builder.build([x], [z])
    assert normalised(content) == content


def test_every_output_is_a_tensor_of_its_own(builder: Any) -> None:
    """An input that is an output, and an output listed twice: a runtime fills one buffer a tensor."""
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    builder.op("NEG", [x], [y])
    after = held(normalised(builder.build([x], [y, x, y])))
    assert len({*after.main.outputs, *after.main.inputs}) == 4
    value = np.array([[1, 2, 3, 4]], np.float32)
    assert [a.tolist() for a in run(after.content, value)] == [
        (-value).tolist(),
        value.tolist(),
        (-value).tolist(),
    ]
    assert normalised(after.content) == after.content


def test_signatures_follow_their_tensors(builder: Any) -> None:
    import flatbuffers

    schema = builder.schema
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 4])
    builder.op("NEG", [x], [y])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(builder.build([x], [y, x, y]), 0))
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.inputs, signature.outputs = "serving_default", [], []
    for entries, name, index in (
        (signature.inputs, "in", x), (signature.outputs, "first", y), (signature.outputs, "through", x),
        (signature.outputs, "again", y),
    ):  # fmt: skip
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        entries.append(entry)
    model.signatureDefs = [signature]
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    after = held(normalised(bytes(packer.Output())))
    assert [t.name for t in after.signature.inputs] == ["in"]
    assert [t.name for t in after.signature.outputs] == ["first", "through", "again"]


def test_constants_stay_aligned(builder: Any) -> None:
    after = held(normalised(transposed(builder)))
    assert {offset % ALIGNMENT for offset, size in after.buffers if size} == {0}


def test_what_numbers_operations_is_not_renumbered(builder: Any) -> None:
    import flatbuffers

    schema = builder.schema
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flattening(builder, batch=1), 0))
    entry = schema.MetadataT()
    entry.name, entry.buffer = "model_control_dependencies", 0
    model.metadata = [entry]
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    content = bytes(packer.Output())
    assert normalised(content) == content
