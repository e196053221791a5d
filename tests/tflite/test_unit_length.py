"""Five operations that bring vectors to length 1 become the one that does, and compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeship.tflite.normalise import normalised


def unit(builder: Any, *, axis: int = -1, bound: float = 1e6, shown: bool = False) -> bytes:
    """Return what Keras 3 makes of UnitNormalization over an axis of [2, 3, 4]."""
    shape = [2, 3, 4]
    kept = [1 if n == axis % 3 else size for n, size in enumerate(shape)]
    x, y, square = (builder.tensor(name, shape) for name in ("x", "y", "square"))
    total, root, least = (builder.tensor(name, kept) for name in ("total", "root", "least"))
    over = builder.tensor("over", [], "INT32", data=np.int32(axis).tobytes())
    limit = builder.tensor("limit", [], data=np.float32(bound).tobytes())
    reduced = builder.schema.ReducerOptionsT()
    reduced.keepDims = True
    builder.op("SQUARE", [x], [square])
    builder.op("SUM", [square, over], [total], reduced)
    builder.op("RSQRT", [total], [root])
    builder.op("MINIMUM", [root, limit], [least])
    builder.op("MUL", [x, least], [y], builder.schema.MulOptionsT())
    return bytes(builder.build([x], [y, least] if shown else [y]))


@pytest.mark.parametrize(("axis", "bound"), [(-1, 1e12), (2, 1e6)])
def test_vectors_are_brought_to_length_1_at_once(
    builder: Any, axis: int, bound: float, run: Any, operations: Any
) -> None:
    content = unit(builder, axis=axis, bound=bound)
    made = normalised(content)
    assert operations(made) == ["L2_NORMALIZATION"]
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    assert run(made, x) == pytest.approx(run(content, x), abs=1e-6)
    x[0, 0], x[0, 1] = 0.0, 1e-8  # the five give no number for zeros with XNNPACK; Keras gives zeros
    length = np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), 1e-6)
    assert run(made, x) == pytest.approx(x / length, abs=1e-6)


@pytest.mark.parametrize("how", [{"axis": 1}, {"bound": 1000.0}, {"shown": True}])
def test_what_means_something_else_stays(builder: Any, how: dict[str, Any], operations: Any) -> None:
    assert operations(normalised(unit(builder, **how))) == ["MUL", "SUM", "RSQRT", "MINIMUM", "MUL"]
