"""Whether a model brings pixels to its own range, or leaves that to whoever sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.findings import unscaled_inputs
from edgeship.tflite.flat import parse


@pytest.mark.parametrize(
    ("before", "unscaled"), [((), True), (("RESHAPE",), True), (("MUL",), False), (("RESHAPE", "MUL"), False)]
)
def test_a_model_that_scales_nothing_is_told_from_one_that_does(
    builder: Any, before: tuple[str, ...], unscaled: bool
) -> None:
    x = current = builder.tensor("x", [1, 4])
    weights = builder.tensor("w", [3, 4], data=bytes(48))
    factor = builder.tensor("f", [1], data=np.float32(1 / 255).tobytes())
    for number, name in enumerate(before):
        made = builder.tensor(f"step{number}", [1, 4])
        builder.op(name, [current, *([factor] if name == "MUL" else [])], [made])
        current = made
    y = builder.tensor("y", [1, 3])
    builder.op("FULLY_CONNECTED", [current, weights, -1], [y], builder.schema.FullyConnectedOptionsT())
    assert unscaled_inputs(parse(Path("m.tflite"), builder.build([x], [y]), "")) == (unscaled,)
