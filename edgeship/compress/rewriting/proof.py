"""Whether two files compute the same, found out by running both: `Proof`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.samples import Samples

Array = NDArray[Any]
COUNT = 32
"""Real samples that are compared, and as many made of them by exchanging values between samples at every place."""
ROUNDING = 1e-5
"""Largest difference, as a share of the largest magnitude of that output over the samples, that is taken for float
rounding. Sums in another order differ by some 1e-7 a layer; so does LiteRT between two machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two files are apart."""

    largest: float
    """Largest absolute difference of any value; infinity where shapes, types or what is no number differ."""
    share: float
    """The same as a share of the largest magnitude of its output; 0 where they are equal to the bit."""

    @property
    def equal(self) -> bool:
        return self.share <= ROUNDING


class Proof:
    """What a file computes of samples, to compare others with. Runs LiteRT; each sample begins with fresh states."""

    def __init__(self, content: bytes, samples: Samples, seed: int) -> None:
        rows = samples.some(COUNT, seed)
        held, _ = rows.block(rows.rows)
        random = np.random.default_rng(seed)
        mixed = [random.permuted(values, axis=0) for values in held]
        self.inputs = [np.concatenate(pair) for pair in zip(held, mixed, strict=True)]
        self.wanted = answers(content, self.inputs)

    def difference(self, content: bytes) -> Difference:
        """Return how far another file is from this one; infinitely where LiteRT does not take it."""
        largest = share = 0.0
        try:
            given = answers(content, self.inputs)
        except (RuntimeError, ValueError):
            return Difference(largest=math.inf, share=math.inf)
        for was, now in zip(self.wanted, given, strict=True):
            far, size = _apart(was, now)
            largest = max(largest, far)
            share = max(share, far / size if far else 0.0)
        return Difference(largest=largest, share=share)


def _apart(was: Array, now: Array) -> tuple[float, float]:
    """Return (largest difference, largest magnitude) of two arrays."""
    if was.shape != now.shape or was.dtype != now.dtype:
        return math.inf, 1.0
    if was.dtype.kind not in "fc":
        return (0.0 if np.array_equal(was, now) else math.inf), 1.0
    finite = np.isfinite(was)
    if was.size and not finite.any():
        return math.inf, 1.0  # of what is no number nothing can be proven
    if not np.array_equal(was[~finite], now[~finite], equal_nan=True) or not np.isfinite(now[finite]).all():
        return math.inf, 1.0
    before, after = was[finite].astype(np.float64), now[finite].astype(np.float64)
    size = float(np.abs(before).max(initial=0.0))
    return float(np.abs(before - after).max(initial=0.0)), size or 1e-30


def answers(content: bytes, inputs: list[Array]) -> list[Array]:
    """Return every output of a file, `[runs, *shape]`, for `[n, ...]` of each input in the order of the graph. Raises
    RuntimeError or ValueError, as LiteRT does, where it does not run the file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    takes = interpreter.get_input_details()
    at_once = 1
    for told, values in zip(takes, inputs, strict=True):
        one, whole = math.prod(values.shape[1:]), math.prod(int(size) for size in told["shape"])
        if whole % one:
            interpreter.resize_tensor_input(told["index"], (1, *values.shape[1:]))
        else:
            at_once = whole // one
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details(), interpreter.get_output_details()
    rows: list[list[Array]] = [[] for _ in gives]
    for start in range(0, len(inputs[0]), at_once):
        interpreter.reset_all_variables()
        for told, values in zip(takes, inputs, strict=True):
            block = np.resize(values[start : start + at_once], (at_once, *values.shape[1:]))
            interpreter.set_tensor(
                told["index"], block.astype(told["dtype"], copy=False).reshape(told["shape"])
            )
        interpreter.invoke()
        for row, told in zip(rows, gives, strict=True):
            row.append(np.array(interpreter.get_tensor(told["index"])))
    return [np.stack(row) for row in rows]
