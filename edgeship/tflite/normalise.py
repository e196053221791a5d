"""Take out of a converted `.tflite` what depends on the run, and close sizes that are open for no reason.

Both are done in place, on bytes whose meaning is known: nothing moves, so weights keep their alignment. What
cannot be done in place is in `refit.py`.
"""

from __future__ import annotations

import struct
from typing import Any

from edgeship.tflite.refit import refitted
from edgeship.tflite.schema import tflite_schema


def normalised(content: bytes) -> bytes:
    """Return the file with its conversion's model hash zeroed and an open batch size set to the stored one.

    The converter writes a hash of the in-memory graph and which of its interfaces was used into
    CONVERSION_METADATA; neither says anything about the model. A size that is open (-1) on the first axis
    only, of every tensor that has one, is a batch size: the shapes stored beside it are already those for one
    sample. A vector's scales lie along its only axis: old converters wrote that of the weights into the biases of
    depthwise convolutions, which TensorFlow Lite Micro never looks at and LiteRT refuses. Then `refitted`.
    """
    buffer = bytearray(content)
    model = tflite_schema().Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == b"CONVERSION_METADATA":
            _blank_environment(buffer, model.Buffers(entry.Buffer()))
    opens = list(_open_sizes(model))
    if all(axis == 0 for axis, _, _ in opens):
        for _, position, size in opens:
            struct.pack_into("<i", buffer, position, size)
    for position in _wrong_axes(model):
        struct.pack_into("<i", buffer, position, 0)
    return refitted(bytes(buffer))


def in_order(content: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """Return the file with the inputs and outputs of its first graph in the order of their signature names.

    The converter shuffles them; the model's own order is what its users count on. Left as they are where the
    file's signature does not name exactly these.
    """
    buffer = bytearray(content)
    model = tflite_schema().Model.GetRootAs(content, 0)
    if model.SignatureDefsLength() != 1:
        return content
    signature, graph = model.SignatureDefs(0), model.Subgraphs(0)
    for wanted, field, slot in (
        (inputs, "Inputs", 6),
        (outputs, "Outputs", 8),
    ):  # slots of SubGraph's fields 1, 2
        count = getattr(signature, f"{field}Length")()
        entries = [getattr(signature, field)(i) for i in range(count)]
        index_of = {entry.Name().decode("utf-8", "replace"): entry.TensorIndex() for entry in entries}
        present = [getattr(graph, field)(i) for i in range(getattr(graph, f"{field}Length")())]
        indices = [index_of[name] for name in wanted if name in index_of]
        if sorted(indices) == sorted(present):
            struct.pack_into(
                f"<{len(indices)}i", buffer, graph._tab.Vector(graph._tab.Offset(slot)), *indices
            )
    return bytes(buffer)


def _open_sizes(model: Any) -> Any:
    """Yield (axis, byte position, stored size) of each -1 in a shape signature."""
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for t in range(graph.TensorsLength()):
            tensor = graph.Tensors(t)
            if tensor.ShapeSignatureLength() != tensor.ShapeLength():
                continue
            for axis in range(tensor.ShapeSignatureLength()):
                if tensor.ShapeSignature(axis) == -1:
                    start = tensor._tab.Vector(tensor._tab.Offset(18))  # field 7: shape_signature
                    yield axis, start + 4 * axis, tensor.Shape(axis)


def _wrong_axes(model: Any) -> Any:
    """Yield the byte position of each quantized axis that a vector does not have."""
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for t in range(graph.TensorsLength()):
            tensor = graph.Tensors(t)
            scaled = tensor.Quantization()
            if (
                tensor.ShapeLength() == 1
                and scaled
                and scaled.ScaleLength() > 1
                and scaled.QuantizedDimension()
            ):
                yield scaled._tab.Pos + scaled._tab.Offset(16)  # field 6: quantized_dimension


def _blank_environment(buffer: bytearray, data: Any) -> None:
    """Zero `environment.model_type` and `.model_hash` (fields 2 and 3) of a ConversionMetadata flatbuffer."""
    from flatbuffers.table import Table

    if not data.DataLength():
        return
    base = data._tab.Vector(data._tab.Offset(4))
    root = Table(bytes(buffer[base : base + data.DataLength()]), 0)
    root.Pos = root.Indirect(0)
    if not (slot := root.Offset(4)):
        return
    environment = Table(root.Bytes, root.Indirect(root.Pos + slot))
    for field, size in ((8, 4), (10, 8)):
        if slot := environment.Offset(field):
            position = base + environment.Pos + slot
            buffer[position : position + size] = bytes(size)
