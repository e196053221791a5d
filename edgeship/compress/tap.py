"""What tensors of a float model hold on samples, run by LiteRT up to there and no further (`Tap`).

Blocks of samples go through the model at once where it takes them (and answers as for one sample alone); only the
tensors that are asked for are kept, so memory is that of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.samples import Samples
from edgeship.data.batches import sample_shape
from edgeship.tflite.flat import parse
from edgeship.tflite.refit import packed, pruned, unpacked

Array = NDArray[Any]
BLOCK = 32
"""Samples a run, where the model takes more than its own batch."""
SAME = 1e-3
"""Share of the largest value by which a block's answers may differ from those of samples alone."""


class Tap:
    """A model that ends at chosen tensors."""

    def __init__(
        self, content: bytes, tensors: Sequence[int], samples: Samples, *, widen: bool = True
    ) -> None:
        """`tensors` are indices in the main graph of `content`, none of a constant. `widen`: try blocks."""
        graph = parse(Path("model.tflite"), content, "").main
        self.samples = samples
        self.entries = [graph.tensors[i] for i in graph.inputs]
        self.at: list[tuple[str, int]] = []  # ("input", position) or ("output", position)
        ends: list[int] = []
        for index in tensors:
            if index in graph.inputs:
                self.at.append(("input", graph.inputs.index(index)))
                continue
            if index not in ends:
                ends.append(index)
            self.at.append(("output", ends.index(index)))
        self.content = ended(content, ends) if ends else None
        self.size = max(1, self._own_batch())
        self.interpreter = self._opened(None)
        if widen and self.interpreter is not None and self.size == 1 and len(samples) > 1:
            self._widen()

    def blocks(self) -> Iterator[list[Array]]:
        """Yield the values `[n, ...]` of the tensors for one block of samples after another; a last block that does
        not fill the model's batch is left out unless it is the only one (and then filled up)."""
        for number, (held, _) in enumerate(self.samples.batches(self.size)):
            if len(held[0]) < self.size:
                if number:
                    return
                held = tuple(np.resize(block, (self.size, *block.shape[1:])) for block in held)
            yield self._run(held)

    def _run(self, held: Sequence[Array]) -> list[Array]:
        fed = [
            np.ascontiguousarray(block, entry.dtype).reshape(self._shape(entry, block))
            for block, entry in zip(held, self.entries, strict=True)
        ]
        made = []
        if self.interpreter is not None:
            for detail, value in zip(self.interpreter.get_input_details(), fed, strict=True):
                self.interpreter.set_tensor(detail["index"], value)
            self.interpreter.invoke()
            made = [self.interpreter.get_tensor(d["index"]) for d in self.interpreter.get_output_details()]
        return [fed[place] if side == "input" else made[place] for side, place in self.at]

    def _own_batch(self) -> int:
        for entry, array in zip(self.entries, self.samples.inputs, strict=True):
            if len(entry.shape) and sample_shape(entry.shape, array.shape[1:]) != tuple(entry.shape):
                return int(entry.shape[0])
        return 1

    def _shape(self, entry: Any, block: Array) -> tuple[int, ...]:
        inner = sample_shape(entry.shape, block.shape[1:])
        return inner if inner == tuple(entry.shape) else (len(block), *inner)

    def _opened(self, batch: int | None) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        if self.content is None:
            return None
        interpreter = Interpreter(model_content=self.content, num_threads=1)
        if batch is not None:
            for detail, entry in zip(interpreter.get_input_details(), self.entries, strict=True):
                interpreter.resize_tensor_input(detail["index"], [batch, *entry.shape[1:]])
        interpreter.allocate_tensors()
        return interpreter

    def _widen(self) -> None:
        """Take a block of samples a run where that answers as one sample does."""
        inner = zip(self.entries, self.samples.inputs, strict=True)
        if any(not e.shape or sample_shape(e.shape, a.shape[1:]) == tuple(e.shape) for e, a in inner):
            return
        size = min(BLOCK, len(self.samples))
        held = self.samples.block(self.samples.rows[:size])[0]
        alone = [self._run([block[i : i + 1] for block in held]) for i in (0, size - 1)]
        alone = [[np.array(value) for value in values] for values in alone]
        narrow, self.interpreter = self.interpreter, None
        try:
            self.interpreter = self._opened(size)
            together = self._run(held)
        except (RuntimeError, ValueError):  # a RESHAPE to fixed sizes, for one
            self.interpreter = narrow
            return
        self.size = size
        for place, values in zip((0, size - 1), alone, strict=True):
            for one, many in zip(values, together, strict=True):
                near = SAME * max(float(np.abs(one).max(initial=0.0)), 1e-6)
                if len(many) != size * len(one) or np.abs(many[place : place + 1] - one).max() > near:
                    self.interpreter, self.size = narrow, 1
                    return


def side_by_side(
    one: bytes, other: bytes, tensors: Sequence[int], samples: Samples
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yield the values of the same tensors in two models of one graph, block by block."""
    taps = [Tap(content, tensors, samples) for content in (one, other)]
    if taps[0].size != taps[1].size:
        taps = [Tap(content, tensors, samples, widen=False) for content in (one, other)]
    return zip(*(tap.blocks() for tap in taps), strict=True)


def ended(content: bytes, tensors: Sequence[int]) -> bytes:
    """Return the model with `tensors` as its outputs, and no operation that they do without."""
    model, schema = unpacked(content)
    graph = model.subgraphs[0]
    graph.outputs, model.signatureDefs = list(tensors), None
    wanted, kept = set(tensors), []
    for op in reversed(graph.operators):
        if wanted & {int(i) for i in op.outputs}:
            kept.append(op)
            wanted |= {int(i) for i in op.inputs}
    graph.operators = kept[::-1]
    pruned(model)
    return packed(model, schema, content)
