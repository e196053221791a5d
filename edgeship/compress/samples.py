"""Samples for training, read from disk as they are needed: `Samples`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of arrays that stay on disk (memory-mapped), in model units; labels where there are some."""

    inputs: tuple[Array, ...]
    """`[n, ...]` for each input of the model, in the order of its signature."""
    labels: Array | None
    """`[n]` class indices, or `[n, ...]` targets."""
    rows: NDArray[np.int64]
    """The rows of these arrays that are meant."""

    @classmethod
    def opened(
        cls, paths: Sequence[str | Path], labels: str | Path | None = None, rows: Array | None = None
    ) -> Samples:
        """Return the samples of `.npy` files, one an input."""
        arrays = tuple(np.load(path, mmap_mode="r") for path in paths)
        chosen = np.arange(len(arrays[0])) if rows is None else rows
        return cls(
            inputs=arrays,
            labels=None if labels is None else np.load(labels, mmap_mode="r"),
            rows=np.asarray(chosen, np.int64),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, count: int, seed: int = 0) -> Samples:
        """Return `count` of the samples, drawn without repetition; all where there are not more."""
        if len(self) <= count:
            return self
        drawn = np.random.default_rng(seed).choice(self.rows, count, replace=False)
        return Samples(self.inputs, self.labels, np.sort(drawn))

    def block(self, rows: Array) -> tuple[tuple[Array, ...], Array | None]:
        """Return (inputs, labels) of rows of the arrays, as float32 where they are numbers with a fraction."""
        order = np.argsort(rows)  # a file is read forwards
        back = np.argsort(order)
        sorted_rows = np.asarray(rows)[order]
        held = tuple(np.asarray(array[sorted_rows])[back] for array in self.inputs)
        labels = None if self.labels is None else np.asarray(self.labels[sorted_rows])[back]
        return held, labels

    def batches(
        self, size: int, *, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[tuple[Array, ...], Array | None]]:
        """Yield blocks of `size` samples, shuffled by `rng` where one is given; the last one may be smaller."""
        rows = self.rows if rng is None else rng.permutation(self.rows)
        for start in range(0, len(rows), size):
            yield self.block(rows[start : start + size])
