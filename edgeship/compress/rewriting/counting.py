"""Arithmetic on whole numbers that are known before any run: counters of loops and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.folding import FOLDED

Array = NDArray[Any]

PLAIN: dict[str, Callable[..., Any]] = {
    "RESHAPE": lambda x, shape: x.reshape(shape.reshape(-1)),
    "EXPAND_DIMS": lambda x, axis: np.expand_dims(x, int(axis.reshape(-1)[0])),
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
    "LOGICAL_NOT": np.logical_not,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
}
"""Operations without settings that matter -> their values."""


def known_of(name: str, options: Any, values: Sequence[Array], kind: str) -> Array | None:
    """Return what an operation makes of numbers, as NumPy type `kind`; None where it is not known here."""
    if kind not in ("int32", "int64", "bool"):
        return None
    made = (
        PLAIN[name](*values) if name in PLAIN else FOLDED[name](values, options) if name in FOLDED else None
    )
    return None if made is None else np.asarray(made).astype(kind)
