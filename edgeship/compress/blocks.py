"""Parts of a graph that can be left out whole, because what comes out has the shape of what goes in: `blocks_of`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeship.errors import InputError
from edgeship.tflite.buffers import drop_unused
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.layer_names import layer_of
from edgeship.tflite.refit import cannot_be_moved, packed, pruned, unpacked
from edgeship.tflite.repeats import operator_code

MIXING = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"})
"""Layers that make channels of all channels: a block has one at least; a depthwise convolution alone is half of one."""
POINTWISE = frozenset({
    "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "LOGISTIC", "HARD_SWISH", "ELU", "GELU", "LEAKY_RELU", "PRELU",
})  # fmt: skip
LONGEST = 64
"""Operations of the longest block that is looked for."""
ALONE = {"RELU": "RELU", "RELU6": "RELU6", "RELU_N1_TO_1": "RELU_N1_TO_1"}
"""Activations fused to an ADD -> the operation that is one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part with one tensor in and one out, of the same shape."""

    kind: Literal["residual", "repeated"]
    name: str
    """Of its last layer with weights."""
    entry: int
    exit: int
    operators: tuple[int, ...]


def blocks_of(file: TfliteFile) -> tuple[Block, ...]:
    """Return the parts that can be left out, in the order of the graph; none shares an operation with another.

    Residual blocks first (an ADD of what went in and what became of it, the smallest that end there), then layers
    between tensors of one shape that lie in none of these.
    """
    found: list[Block] = []
    taken: set[int] = set()
    for kind in ("residual", "repeated"):
        for op in file.main.operators:
            if op.index in taken or len(op.outputs) != 1:
                continue
            block = _ending(file, op, kind)
            if block is not None and not taken & set(block.operators):
                found.append(block)
                taken |= set(block.operators)
    return tuple(sorted(found, key=lambda block: block.operators[-1]))


def _ending(file: TfliteFile, last: Operator, kind: Any) -> Block | None:
    """Return the smallest block that ends with an operation, with the depthwise convolutions before it."""
    graph, makers = file.main, _makers(file)
    out = last.outputs[0]
    if out in graph.outputs or (kind == "residual") != (last.op == "ADD"):
        return None
    if kind == "repeated" and last.op not in MIXING | POINTWISE:
        return None
    for entry, inside in _cones(file, out):
        if not _is_block(file, entry, out, inside):
            continue
        if kind == "residual" and entry not in last.inputs:
            continue
        if kind == "repeated":
            entry, inside = _with_depthwise(file, makers, entry, out, inside)
        name = layer_of(graph, graph.operators[max(i for i in inside if graph.operators[i].op in MIXING)])
        return Block(kind=kind, name=name, entry=entry, exit=out, operators=tuple(sorted(inside)))
    return None


def _cones(file: TfliteFile, out: int) -> Iterator[tuple[int, set[int]]]:
    """Yield (tensor, operations between it and `out`), nearest first, where all that leads to `out` goes through it."""
    graph, makers = file.main, _makers(file)
    inside: set[int] = set()
    border = {out}
    while border:
        # The tensor that is made last cannot be needed to make the others.
        newest = max(border, key=lambda i: makers[i].index if i in makers else -1)
        if newest not in makers:
            return
        op = makers[newest]
        border.discard(newest)
        inside.add(op.index)
        border -= set(op.outputs)
        border |= {i for i in op.inputs if i >= 0 and not graph.tensors[i].has_data and i not in op.outputs}
        if len(inside) > LONGEST:
            return
        if len(border) == 1:
            yield next(iter(border)), set(inside)


def _is_block(file: TfliteFile, entry: int, out: int, inside: set[int]) -> bool:
    """Return whether operations can be left out: something is mixed in them, shapes agree, nobody else reads what they
    make or uses their weights."""
    graph = file.main
    a, b = graph.tensors[entry], graph.tensors[out]
    if (a.shape, a.shape_signature, a.dtype) != (b.shape, b.shape_signature, b.dtype) or a.dtype != "float32":
        return False
    if entry in graph.inputs or not any(graph.operators[i].op in MIXING for i in inside):
        return False
    if any(graph.operators[i].custom or len(graph.operators[i].outputs) != 1 for i in inside):
        return False
    made = {t for i in inside for t in graph.operators[i].outputs} - {out}
    # Weights that are used elsewhere, too, are a cell's of a recurrence, or a twin's: one use cannot go alone.
    made |= {graph.operators[i].inputs[1] for i in inside if graph.operators[i].op in MIXING}
    read_outside = {t for op in graph.operators if op.index not in inside for t in op.inputs}
    return not made & (read_outside | set(graph.outputs))


def _with_depthwise(
    file: TfliteFile, makers: Mapping[int, Operator], entry: int, out: int, inside: set[int]
) -> tuple[int, set[int]]:
    """Extend a block by the depthwise convolutions (and activations) that only lead to it."""
    first, best = entry, (entry, inside)
    while (op := makers.get(first)) is not None and op.op in POINTWISE | {"DEPTHWISE_CONV_2D"}:
        first = op.inputs[0]
        inside = inside | {op.index}
        if not _is_block(file, first, out, inside):
            break
        if op.op == "DEPTHWISE_CONV_2D":
            best = (first, inside)
    return best


def _makers(file: TfliteFile) -> dict[int, Operator]:
    return {i: op for op in file.main.operators for i in op.outputs}


def without_blocks(file: TfliteFile, blocks: Sequence[Block]) -> tuple[bytes, dict[int, int]]:
    """Return (the file without some blocks, operation of the file -> where it now is): what read their results reads
    what went into them.

    An activation that an ADD ended in stays, as an operation of its own, unless what went in came through the same one.
    Raises InputError `tflite-cannot-be-moved`.
    """
    if not blocks:
        return file.content, {op.index: op.index for op in file.main.operators}
    if cannot_be_moved(file):
        raise InputError(
            "tflite-cannot-be-moved",
            "constants stand behind the end of the .tflite, or metadata numbers its operations: it stays in one piece",
            context={"model": file.path},
            hint="convert it again from the model that it was made of: edgeship inspect MODEL says what is read",
        )
    model, schema = unpacked(file.content)
    graph = model.subgraphs[0]
    goes = {i for block in blocks for i in block.operators}
    source = {block.exit: block.entry for block in blocks}
    makers = _makers(file)
    for block in blocks:
        last = file.main.operators[block.operators[-1]]
        act = last.options.get("fused_activation", "NONE")
        entry = block.entry
        while entry in source:
            entry = source[entry]
        if last.op == "ADD" and act in ALONE and makers[entry].options.get("fused_activation") != act:
            goes.discard(last.index)
            del source[block.exit]
            op = graph.operators[last.index]
            op.opcodeIndex = operator_code(model, schema, getattr(schema.BuiltinOperator, ALONE[act]))
            op.inputs, op.builtinOptions, op.builtinOptionsType = [block.entry], None, 0
    stays = [number for number in range(len(graph.operators)) if number not in goes]
    kept = [graph.operators[number] for number in stays]
    for op in kept:
        inputs = []
        for index in (int(i) for i in op.inputs):
            while index in source:
                index = source[index]
            inputs.append(index)
        op.inputs = inputs
    graph.operators = kept
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.quantization is not None and (data is None or not len(data)):
            tensor.quantization = None
    pruned(model)
    drop_unused(model)
    return packed(model, schema, file.content), {old: new for new, old in enumerate(stays)}
