"""Small changes to a `.tflite` that quantizer, runtimes and compilers want and that mean the same: `refitted`.

The file is taken apart and put together again only where there is something to change, so a model that is fine
keeps its bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.tflite.attach import files_of, with_files
from edgeship.tflite.file import Subgraph, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.folding import fold_shapes
from edgeship.tflite.precision import is_float, precision_of
from edgeship.tflite.repeats import REPEATS, resize_repeats
from edgeship.tflite.schema import FILE_IDENTIFIER, tflite_schema

ALIGNMENT = 16
"""Bytes; what TensorFlow Lite's own writer aligns constants to."""
BIAS = {
    "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "CONV_3D": 2, "TRANSPOSE_CONV": 3,
    "CONV_3D_TRANSPOSE": 3,
}  # fmt: skip
"""Operation -> position of its bias among the inputs."""
ORDERED = "model_control_dependencies"
"""Metadata that refers to operations by their place."""


def refitted(content: bytes) -> bytes:
    """Return the file with shape arithmetic folded, pixels repeated by one resize, biases as vectors, a tensor
    of its own for every output, and, in a float model, what today's quantizer reads: operator codes in the wider
    field, a name of its own for every tensor, no empty data; the same bytes where nothing of that is to be done.

    Files packed behind the model stay.
    """
    file = parse(Path("model.tflite"), content, "")
    graph = file.main
    biases, shared = _long_biases(graph), _shared_outputs(graph)
    shapes = any(op.op == "SHAPE" and not graph.tensors[op.inputs[0]].is_dynamic for op in graph.operators)
    repeats = any(op.op in REPEATS for op in graph.operators)
    schema = tflite_schema()
    view = schema.Model.GetRootAs(content, 0)
    old = (_has_old_codes(view) or _has_empty_data(view) or _names_taken(file)) and is_float(
        precision_of(file)
    )
    if not (biases or shared or shapes or repeats or old) or cannot_be_moved(file):
        return content
    model = schema.ModelT.InitFromObj(view)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    if old:
        for buffer in model.buffers:
            buffer.data = buffer.data if buffer.data is not None and len(buffer.data) else None
        for (graph_index, index), name in _names_taken(file).items():
            model.subgraphs[graph_index].tensors[index].name = name.encode()
    for index in biases:
        tensor = model.subgraphs[0].tensors[index]
        tensor.shape, tensor.shapeSignature = [int(tensor.shape[-1])], None
        if tensor.quantization is not None:
            tensor.quantization.quantizedDimension = 0
    folded = fold_shapes(model, schema)
    resized = resize_repeats(model, schema)
    if shared:
        _part_outputs(model, schema, set(shared))
    if folded or resized:
        _prune(model)
    if not (biases or shared or folded or resized or old):
        return content
    return packed(model, schema, content)


def _has_old_codes(view: Any) -> bool:
    """Return whether an operation's code stands only in the byte that it had before TensorFlow 2.4.

    The quantizer reads the wider field alone and takes such an operation for the first there is, ADD. Runtimes and
    compilers read both, so a file that came quantized, which the quantizer never sees, keeps its bytes.
    """
    codes = [view.OperatorCodes(i) for i in range(view.OperatorCodesLength())]
    return any(code.BuiltinCode() < code.DeprecatedBuiltinCode() for code in codes)


def _has_empty_data(view: Any) -> bool:
    """Return whether a buffer holds data of no bytes, which the quantizer takes for the value of its tensors."""
    buffers = (view.Buffers(i) for i in range(view.BuffersLength()))
    return any(not buffer.DataIsNone() and not buffer.DataLength() for buffer in buffers)


def _names_taken(file: TfliteFile) -> dict[tuple[int, int], str]:
    """Return (graph, tensor) -> a name of its own, for tensors called as one before them: the quantizer and its ranges
    tell tensors apart by name."""
    held = {tensor.name for graph in file.subgraphs for tensor in graph.tensors}
    seen: set[str] = set()
    renamed: dict[tuple[int, int], str] = {}
    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if tensor.name not in seen:
                seen.add(tensor.name)
                continue
            number = 1
            while (name := f"{tensor.name}_{number}") in held:
                number += 1
            held.add(name)
            renamed[graph.index, tensor.index] = name
    return renamed


def with_output_shapes(content: bytes, shapes: Sequence[Sequence[int]]) -> bytes:
    """Return the file with the shape of each output of its main graph written down; the same bytes where they are."""
    schema = tflite_schema()
    view = schema.Model.GetRootAs(content, 0)
    file = parse(Path("model.tflite"), content, "")
    graph = file.main
    told = {
        index: list(shape)
        for index, shape in zip(graph.outputs, shapes, strict=True)
        if graph.tensors[index].shape != tuple(shape)
    }
    if not told or cannot_be_moved(file):
        return content
    model = schema.ModelT.InitFromObj(view)
    for index, shape in told.items():
        model.subgraphs[0].tensors[index].shape = shape
        model.subgraphs[0].tensors[index].shapeSignature = None
    return packed(model, schema, content)


def with_shapes(content: bytes, shapes: Mapping[int, Sequence[int]]) -> bytes:
    """Return the file with the shapes of tensors of its main graph written down, and open sizes of these closed.

    Tensors of constants and indices that the file does not have are left alone.
    """
    schema = tflite_schema()
    file = parse(Path("model.tflite"), content, "")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for tensor in file.main.tensors:
        shape = shapes.get(tensor.index)
        if shape is None or tensor.has_data or (tensor.shape == tuple(shape) and not tensor.is_dynamic):
            continue
        model.subgraphs[0].tensors[tensor.index].shape = list(shape)
        model.subgraphs[0].tensors[tensor.index].shapeSignature = None
    return packed(model, schema, content)


def cannot_be_moved(file: TfliteFile) -> bool:
    """Return whether something counts on its place: constants behind the flatbuffer (files beyond 2 GB), or
    metadata that numbers operations."""
    view = tflite_schema().Model.GetRootAs(file.content, 0)
    behind = any(view.Buffers(i).Offset() > 1 for i in range(view.BuffersLength()))
    return behind or any(name == ORDERED for name, _ in file.metadata)


def _long_biases(graph: Subgraph) -> list[int]:
    """Return constant biases of one value a channel that have axes of size 1 before it.

    The converter leaves [1, 1, 1, 1] for the bias of a transposed convolution to one channel; a quantizer that
    gives it one scale a channel wants a vector.
    """
    uses: dict[int, set[bool]] = {}
    for op in graph.operators:
        for position, index in enumerate(op.inputs):
            uses.setdefault(index, set()).add(position == BIAS.get(op.op))
    return [
        index
        for index, kinds in uses.items()
        if kinds == {True} and index >= 0
        for tensor in (graph.tensors[index],)
        if tensor.has_data and len(tensor.shape) > 1 and tensor.elements == tensor.shape[-1]
    ]


def _shared_outputs(graph: Subgraph) -> list[int]:
    """Return the positions of outputs whose tensor is an input, or an output before.

    A runtime binds a buffer to a tensor: of two outputs in one tensor only one is filled, and of an input that
    is an output as well neither need be.
    """
    return [
        position
        for position, index in enumerate(graph.outputs)
        if (index in graph.inputs or index in graph.outputs[:position])
        and graph.tensors[index].shape
        and not graph.tensors[index].is_dynamic
    ]


def _part_outputs(model: Any, schema: Any, positions: set[int]) -> None:
    """Give the outputs at `positions` tensors of their own, by a RESHAPE to the shape they have: every runtime
    and accelerator has it, and it changes no scale."""
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    model.operatorCodes.append(code)
    parted: dict[int, list[int]] = {}
    outputs = []
    for position, index in enumerate(int(i) for i in graph.outputs):
        made = index
        if position in positions:
            source = graph.tensors[index]
            sizes = np.array(source.shape, np.int32)
            buffer, shape = schema.BufferT(), schema.TensorT()
            buffer.data = np.frombuffer(sizes.tobytes(), np.uint8)
            model.buffers.append(buffer)
            name = bytes(source.name or b"") + b"/output_%d" % position
            shape.name, shape.type = name + b"/shape", schema.TensorType.INT32
            shape.shape, shape.buffer = [len(sizes)], len(model.buffers) - 1
            target = copy.deepcopy(source)
            target.name, target.buffer, target.isVariable = name, 0, False
            made = len(graph.tensors) + 1
            graph.tensors += [shape, target]
            operator, options = schema.OperatorT(), schema.ReshapeOptionsT()
            options.newShape = sizes.tolist()
            operator.opcodeIndex = len(model.operatorCodes) - 1
            operator.inputs, operator.outputs = [index, made - 1], [made]
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = options
            graph.operators = [*graph.operators, operator]
        parted.setdefault(index, []).append(made)
        outputs.append(made)
    graph.outputs = outputs
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == 0:
            left = {index: list(made) for index, made in parted.items()}
            for entry in signature.outputs or ():
                if left.get(entry.tensorIndex):
                    entry.tensorIndex = left[entry.tensorIndex].pop(0)


def _prune(model: Any) -> None:
    """Drop tensors and operator codes that nothing refers to any more."""
    graph = model.subgraphs[0]
    maps = [d for d in model.signatureDefs or () if d.subgraphIndex == 0]
    entries = [entry for d in maps for entry in (*(d.inputs or ()), *(d.outputs or ()))]
    lists = [(op, field) for op in graph.operators for field in ("inputs", "outputs", "intermediates")]
    lists += [(graph, "inputs"), (graph, "outputs")]
    used = {int(i) for owner, field in lists for i in _integers(owner, field)} - {-1}
    used |= {int(entry.tensorIndex) for entry in entries}
    place = {old: new for new, old in enumerate(sorted(used))}
    place[-1] = -1
    for owner, field in lists:
        if getattr(owner, field) is not None:
            setattr(owner, field, [place[int(i)] for i in _integers(owner, field)])
    for entry in entries:
        entry.tensorIndex = place[int(entry.tensorIndex)]
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    codes = sorted({op.opcodeIndex for each in model.subgraphs for op in each.operators or ()})
    for each in model.subgraphs:
        for op in each.operators or ():
            op.opcodeIndex = codes.index(op.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[old] for old in codes]


def _integers(owner: Any, field: str) -> list[int]:
    values = getattr(owner, field)
    return [] if values is None else [int(value) for value in values]


def unpacked(content: bytes) -> tuple[Any, Any]:
    """Return (the object form of a file, the schema's classes), for changes that move things."""
    schema = tflite_schema()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)), schema


def packed(model: Any, schema: Any, content: bytes) -> bytes:
    """Return the changed object form of the file `content` as a file: constants aligned as TensorFlow Lite's own
    writer does, and behind it the files that were packed behind it before."""
    import flatbuffers

    class Aligned(schema.BufferT):  # type: ignore[misc]
        """A buffer whose data begins where a kernel likes to read."""

        def Pack(self, builder: Any) -> Any:
            data = None if self.data is None else bytes(bytearray(self.data))
            if data:
                builder.StartVector(1, len(data), ALIGNMENT)
                builder.head -= len(data)
                builder.Bytes[builder.head : builder.head + len(data)] = data
                vector = builder.EndVector()
            schema.BufferStart(builder)
            if data:
                schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    for buffer in model.buffers:
        buffer.__class__ = Aligned
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return with_files(bytes(builder.Output()), files_of(content))
