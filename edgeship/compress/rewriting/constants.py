"""What follows from constants alone, computed once: `fold_constants`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.draft import Draft
from edgeship.tflite.pure import PURE
from edgeship.tflite.refit import packed, pruned, unpacked

STORED = frozenset({"DEQUANTIZE", "FILL", "ZEROS_LIKE", "BROADCAST_TO", "TILE", "ONE_HOT", "RANGE"})
"""Operations that make more of a constant than the file holds: they were put there to keep it small."""
SMALL = 1024
"""Bytes that a constant may have even where what it was made of is less."""

Array = NDArray[Any]


def fold_constants(draft: Draft) -> None:
    """Replace operations whose inputs are all constant by what LiteRT makes of them; to the bit what it made on every
    run. What would make the file larger stays, and so does what is an output of the model."""
    kept: set[int] = set()
    while found := _foldable(draft, kept):
        gone = {id(op) for op in found}
        wanted = [
            index
            for op in found
            for index in op.outputs
            if any(id(reader) not in gone for reader in draft.readers(index))
        ]
        values = _computed(draft, found, wanted)
        large = [i for i, value in values.items() if value.nbytes > max(SMALL, _held(draft, i))]
        if not large:
            break
        kept |= {id(draft.maker(index)) for index in large}
    for op in found:
        draft.may(op)
    draft.drop(*found)
    for index, value in values.items() if found else ():
        draft.store(index, value)


def _foldable(draft: Draft, kept: set[int]) -> list[Any]:
    """Return the operations that can be folded, in order; not those of `kept` (ids), nor what needs them."""
    known: set[int] = set()
    found = []
    for op in draft.operators:
        name = draft.name(op)
        if name not in PURE or name in STORED or id(op) in kept or draft.refuses(op):
            continue
        if any(i in draft.shown for i in op.outputs):
            continue
        given = [i for i in op.inputs if i >= 0]
        if given and all(i in known or draft.constant(i) is not None for i in given):
            found.append(op)
            known.update(op.outputs)
    return found


def _held(draft: Draft, index: int) -> int:
    """Return the bytes of the constants that a tensor is made of."""
    op = draft.maker(index)
    if op is None:
        value = draft.constant(index)
        return 0 if value is None else value.nbytes
    return sum(_held(draft, i) for i in op.inputs if i >= 0)


def _computed(draft: Draft, operators: list[Any], wanted: list[int]) -> dict[int, Array]:
    """Return the values of tensors that operations make of constants, as LiteRT computes them."""
    if not wanted:
        return {}
    from ai_edge_litert.interpreter import Interpreter

    places = {id(op): n for n, op in enumerate(draft.operators)}
    model, schema = unpacked(draft.content)
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[places[id(op)]] for op in operators]
    graph.inputs, graph.outputs, model.signatureDefs = [], list(wanted), None
    pruned(model)
    interpreter = Interpreter(model_content=packed(model, schema, draft.content), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return {
        index: np.array(interpreter.get_tensor(told["index"]))
        for index, told in zip(wanted, interpreter.get_output_details(), strict=True)
    }
