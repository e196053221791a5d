"""What the float model's tensors hold on the calibration samples: ranges, histograms and means.

Runs inside a worker. Samples are streamed from disk twice (first the ranges, then histograms within them),
one at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.batches import batch_of

BINS = 2048
SHRINK_STEPS = 36
"""Candidates for each end of a range: from its full extent down to 30 % of it."""
SMALLEST_SHARE = 0.3
HISTOGRAM_VALUES = 1 << 16
"""Values of one tensor that a sample adds to its histogram at most (evenly spaced), so that big images stay
quick.
"""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Tensor:
    """What was seen in one tensor."""

    name: str
    is_boundary: bool
    """Input or output of the model: its full range is kept, because rare values there are what a user asked
    about.
    """
    low: float = math.inf
    high: float = -math.inf
    total: Floats | float = 0.0
    histogram: Floats = field(default_factory=lambda: np.zeros(BINS))


@dataclass(frozen=True, slots=True)
class Observation:
    """Every float tensor that is no constant, by its index in the file, over `runs` runs of the model."""

    tensors: dict[int, Tensor]
    runs: int

    def ranges(self, how: str) -> dict[str, tuple[float, float]]:
        """Return (low, high) by tensor name; `how` as in a recipe's row: full or narrowed."""
        found = {}
        for tensor in self.tensors.values():
            if how == "narrowed" and not tensor.is_boundary:
                found[tensor.name] = narrowed(tensor.low, tensor.high, tensor.histogram)
            else:
                found[tensor.name] = (tensor.low, tensor.high)
        return found

    def mean(self, index: int) -> Floats | None:
        """Return the mean of each element of a tensor over all runs, or None where it was not seen."""
        tensor = self.tensors.get(index)
        return None if tensor is None else np.asarray(tensor.total) / self.runs


def observe(
    model: bytes,
    paths: Sequence[Path],
    constants: set[int],
    advance: Callable[[int, int], None] | None = None,
) -> Observation:
    """Return what the model's tensors hold over the samples in `paths`, an `.npy` of `[n, ...]` in model units for each
    input in its order.

    `constants` are tensor indices to leave out; so are tensors that only a loop's body ever holds. A model with
    a batch axis above 1 is fed in blocks of that size; the last block is filled up with the first samples.
    """
    samples = [np.load(path, mmap_mode="r") for path in paths]
    interpreter = _interpreter(model)
    entries = interpreter.get_input_details()
    boundary = {d["index"] for d in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    tensors = {
        d["index"]: Tensor(name=d["name"], is_boundary=d["index"] in boundary)
        for d in interpreter.get_tensor_details()
        if d["dtype"] == np.float32 and d["name"] and d["index"] not in constants and np.all(d["shape"])
    }
    batch = batch_of(entries, samples)
    runs = math.ceil(len(samples[0]) / batch)
    for number, _ in enumerate(_run(interpreter, entries, samples, batch), start=1):
        if number == 1:
            tensors = {i: t for i, t in tensors.items() if _is_held(interpreter, i)}
        for index, tensor in tensors.items():
            values = interpreter.get_tensor(index)
            tensor.low = min(tensor.low, float(values.min()))
            tensor.high = max(tensor.high, float(values.max()))
            tensor.total = tensor.total + values.astype(np.float64)
        if advance is not None:
            advance(math.ceil(number / 2), runs)
    inner = {i: t for i, t in tensors.items() if not t.is_boundary and t.high > t.low}
    for number, _ in enumerate(_run(interpreter, entries, samples, batch), start=1):
        for index, tensor in inner.items():
            values = interpreter.get_tensor(index).reshape(-1)
            values = values[:: 1 + values.size // HISTOGRAM_VALUES]
            tensor.histogram += np.histogram(values, bins=BINS, range=(tensor.low, tensor.high))[0]
        if advance is not None:
            advance(math.ceil((runs + number) / 2), runs)
    return Observation(tensors=tensors, runs=runs)


def _interpreter(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _is_held(interpreter: Any, index: int) -> bool:
    """Return whether a tensor can be read after a run: what WHILE hands on from turn to turn cannot."""
    try:
        interpreter.get_tensor(index)
    except ValueError:
        return False
    return True


def _run(
    interpreter: Any, entries: Sequence[dict[str, Any]], samples: Sequence[NDArray[Any]], batch: int
) -> Iterator[None]:
    """Run block after block. A fused layer over whole sequences begins each with a fresh state, as it is served; a
    model that is fed frame by frame keeps its state, for its range shows only over many frames."""
    fresh = any("SEQUENCE" in str(op.get("op_name")) for op in interpreter._get_ops_details())
    count = len(samples[0])
    for start in range(0, count, batch):
        if fresh:
            interpreter.reset_all_variables()
        for entry, held in zip(entries, samples, strict=True):
            block = np.asarray(held[start : start + batch], dtype=entry["dtype"])
            if len(block) < batch:
                block = np.concatenate([block, *(held[i % count][None] for i in range(batch - len(block)))])
            interpreter.set_tensor(entry["index"], block.reshape(entry["shape"]))
        interpreter.invoke()
        yield


def narrowed(low: float, high: float, histogram: Floats, levels: int = 255) -> tuple[float, float]:
    """Return the range within [low, high] in which `levels` steps give the least expected squared error.

    The error has two parts: what is cut off outside the range, and step^2 / 12 for rounding inside it (Banner
    et al., 2019). Zero always stays representable. `histogram` counts values in equal bins over [low, high].
    """
    if not high > low or not histogram.any():
        return low, high
    edges = np.linspace(low, high, len(histogram) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    share = histogram / histogram.sum()

    def error(bottom: float, top: float) -> float:
        step = (top - bottom) / levels
        cut = centres - np.clip(centres, bottom, top)
        return float(share @ (cut * cut)) + step * step / 12

    bottom, top = min(low, 0.0), max(high, 0.0)
    least = error(bottom, top)
    low0, high0 = bottom, top
    for _ in range(3):
        before = least
        for part in np.linspace(SMALLEST_SHARE, 1.0, SHRINK_STEPS):
            for candidate in ((low0 * float(part), top), (bottom, high0 * float(part))):
                value = error(*candidate)
                if value < least:
                    least, (bottom, top) = value, candidate
        if least == before:
            break
    return bottom, top
