"""Negations and squares become products, which have an int8 form, and compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeship.tflite.normalise import normalised


@pytest.mark.parametrize("shape", [[1, 4], [2, 3, 4]])
def test_negations_and_squares_become_products(
    builder: Any, shape: list[int], run: Any, operations: Any
) -> None:
    x, a, b, y = (builder.tensor(name, shape) for name in "xaby")
    builder.op("NEG", [x], [a])
    builder.op("SQUARE", [a], [b])
    builder.op("NEG", [b], [y])
    content = builder.build([x], [y])
    made = normalised(content)
    assert operations(made) == ["MUL", "MUL", "MUL"]
    values = np.random.default_rng(0).normal(size=shape).astype("float32")
    assert np.array_equal(run(made, values), run(content, values))
    assert normalised(made) == made


def test_integers_stay(builder: Any) -> None:
    x, y = (builder.tensor(name, [1, 4], "INT32") for name in "xy")
    builder.op("NEG", [x], [y])
    content = builder.build([x], [y])
    assert normalised(content) == content
