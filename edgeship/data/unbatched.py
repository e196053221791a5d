"""Samples one at a time out of what yields batches: `one_by_one(...)`. Worker side; TensorFlow is only used where the
user's own code brought it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

THROUGH = ("_input_dataset", "_dataset")
"""Where TensorFlow's datasets keep the one that they were made from."""


def one_by_one(made: Any, report: Callable[..., None], wanted: int | None = None) -> Any:
    """Return `made`, or a `tf.data.Dataset` of batches as one of samples, which is told.

    `wanted`: how many axes a sample of the model's only input has, where that is known; else a dataset is of batches
    where one of the steps that it was made by is a batching one.
    """
    spec = getattr(made, "element_spec", None)
    if spec is None or not hasattr(made, "unbatch"):
        return made
    first = spec[0] if isinstance(spec, tuple) and spec else spec
    rank = getattr(getattr(first, "shape", None), "rank", None)
    batches = rank == wanted + 1 if wanted is not None and rank is not None else _is_batched(made)
    if not batches:
        return made
    report("the dataset yields batches: its samples are taken one at a time (dataset.unbatch())", note=True)
    return made.unbatch()


def _is_batched(made: Any) -> bool:
    """Return whether a step of a dataset makes batches and none after it takes them apart."""
    for _ in range(100):
        kind = type(made).__name__.lower()
        if "unbatch" in kind or "flatmap" in kind:
            return False
        if "batch" in kind:
            return True
        inner = next((getattr(made, name) for name in THROUGH if hasattr(made, name)), None)
        if inner is None:
            return False
        made = inner
    return False
