"""What is unsound and what of it could ever show in an output, against the arithmetic of the kernels."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeship.tflite.flaws import flaws, in_words
from edgeship.tflite.reader import read_tflite

CLIP = 2**31 - 1


def dense(
    builder: Any,
    *,
    weights: np.ndarray,
    bias: np.ndarray,
    scales: Any,
    bias_scales: Any,
    zero: int = 0,
    fused: int = 0,
) -> bytes:
    """Return a dense model of int8 `weights` [out, in], inputs of scale 0.1, outputs of scale 0.05."""
    x = builder.tensor("x", [1, weights.shape[1]], "INT8", scales=[0.1])
    w = builder.tensor(
        "layer/w", list(weights.shape), "INT8", data=weights.astype("i1").tobytes(), scales=scales
    )
    b = builder.tensor("layer/b", [len(bias)], "INT32", data=bias.astype("<i4").tobytes(), scales=bias_scales)
    y = builder.tensor("y", [1, len(bias)], "INT8", scales=[0.05])
    options = builder.schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = fused
    builder.op("FULLY_CONNECTED", [x, w, b], [y], options)
    return bytes(builder.build([x], [y]))


def found(tmp_path: Path, content: bytes) -> Any:
    (tmp_path / "m.tflite").write_bytes(content)
    return flaws(read_tflite(tmp_path / "m.tflite"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-127, 127), min_size=3, max_size=3),
    st.sampled_from([-CLIP - 1, CLIP]),
    st.floats(1e-12, 1e-2),
    st.sampled_from([0, 1, 3]),
)
def test_a_clipped_bias_without_effect_has_none(
    tflite_files: Any,
    tmp_path_factory: pytest.TempPathFactory,
    row: list[int],
    bias: int,
    scale: float,
    fused: int,
) -> None:
    """Whatever is fed, the output is the same with the clipped bias and with any that lies farther out."""
    made = dense(
        tflite_files.Builder(), weights=np.array([row]), bias=np.array([bias], np.int64), scales=[scale],
        bias_scales=[scale * 0.1], fused=fused,
    )  # fmt: skip
    (flaw,) = [f for f in found(tmp_path_factory.mktemp("f"), made) if f.code == "bias-overflow"]
    step = np.float64(np.float32(scale)) * np.float64(np.float32(0.1))
    low, high = {0: (-np.inf, np.inf), 1: (0, np.inf), 3: (0, 6)}[fused]
    corners = np.array(list(itertools.product((-128, 127), repeat=3)), np.float64) @ np.array(row, np.float64)

    def outputs(value: float) -> np.ndarray:
        real = np.clip((corners + value) * step, low, high)
        return np.clip(np.rint(real / np.float64(np.float32(0.05))), -128, 127)

    same = all(np.array_equal(outputs(bias), outputs(bias * more)) for more in (1.5, 10.0, 1e6))
    assert same or flaw.effect, "what is called harmless must be"
    if step * CLIP > 1e3:  # far beyond the output's range: nothing is called harmful there without need
        assert not flaw.effect


def test_a_scale_of_its_own_on_a_bias_of_zero_has_no_effect(
    builder: Any, tflite_files: Any, tmp_path: Path
) -> None:
    weights = np.ones((2, 2), np.int8)
    how = {"weights": weights, "scales": [0.01, 0.01], "bias_scales": [1.0, 1.0]}
    zeros = found(tmp_path, dense(builder, bias=np.array([0, 0]), **how))
    assert {(f.code, f.effect) for f in zeros} == {("bias-scale", False)}
    ones = found(tmp_path, dense(tflite_files.Builder(), bias=np.array([0, 5]), **how))
    assert [(f.code, f.channel, f.effect) for f in ones] == [
        ("bias-scale", 0, False),
        ("bias-scale", 1, True),
    ]


def test_words_count_and_say_what_to_do_once(builder: Any, tmp_path: Path) -> None:
    made = dense(
        builder, weights=np.zeros((3, 2)), bias=np.array([5, 5, 5]), scales=[0.01] * 3, bias_scales=[1.0] * 3
    )
    (line,) = in_words(found(tmp_path, made))
    assert line == (
        "3 channels in one layer have a bias of another scale than kernels take, the first 'y' (channel 0: its "
        "scale is 1, input times weight is 0.001): convert it again [bias-scale]"
    )
