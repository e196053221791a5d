"""Range narrowing and bias correction, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeship.quantize.finish import output_shift
from edgeship.quantize.observe import BINS, narrowed


def rounding_error(values: np.ndarray, low: float, high: float, levels: int = 255) -> float:
    step = (high - low) / levels
    steps = np.clip(np.rint((values - low) / step), 0, levels)
    return float(np.mean((values - (low + steps * step)) ** 2))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e4), st.booleans())
def test_a_narrowed_range_is_inside_holds_zero_and_errs_less(
    seed: int, spread: float, positive: bool
) -> None:
    # So many that two brute-force errors differ by what the ranges do, not by the draw.
    values = np.random.default_rng(seed).standard_t(df=3, size=40_000) * spread
    values = np.maximum(values, 0.0) if positive else values
    low, high = float(values.min()), float(values.max())
    histogram = np.histogram(values, bins=BINS, range=(low, high))[0].astype(float)
    bottom, top = narrowed(low, high, histogram)
    assert min(low, 0) <= bottom <= 0 <= top <= max(high, 0)
    assert rounding_error(values, bottom, top) <= 1.05 * rounding_error(values, min(low, 0), max(high, 0))


def test_thin_tails_are_cut_and_even_values_are_not() -> None:
    peaked = np.random.default_rng(1).laplace(size=1_000_000)
    low, high = float(peaked.min()), float(peaked.max())
    bottom, top = narrowed(low, high, np.histogram(peaked, BINS, (low, high))[0].astype(float))
    assert top - bottom < 0.85 * (high - low)
    assert rounding_error(peaked, bottom, top) < 0.9 * rounding_error(peaked, low, high)
    even = np.linspace(-1, 1, 100_000)
    bottom, top = narrowed(-1.0, 1.0, np.histogram(even, BINS, (-1, 1))[0].astype(float))
    assert (bottom, top) == pytest.approx((-1, 1), abs=0.03)


def test_a_constant_tensor_keeps_its_range() -> None:
    assert narrowed(2.0, 2.0, np.zeros(BINS)) == (2.0, 2.0)


def test_the_shift_of_a_convolution_is_what_convolving_gives() -> None:
    random = np.random.default_rng(0)
    change = random.normal(size=(5, 3, 3, 4))
    channels = random.normal(size=4)
    mean = np.broadcast_to(channels, (1, 6, 6, 4))  # the same everywhere: no border effect inside
    patch = np.broadcast_to(channels, (3, 3, 4))
    expected = [(change[o] * patch).sum() for o in range(5)]
    assert output_shift("CONV_2D", change, mean) == pytest.approx(expected)


def test_the_shift_of_grouped_depthwise_and_dense_layers() -> None:
    random = np.random.default_rng(0)
    channels = random.normal(size=4)
    mean = np.broadcast_to(channels, (1, 6, 6, 4))
    grouped = random.normal(size=(6, 1, 1, 2))  # two groups of two inputs and three outputs
    expected = [grouped[o, 0, 0] @ channels[2 * (o // 3) : 2 * (o // 3) + 2] for o in range(6)]
    assert output_shift("CONV_2D", grouped, mean) == pytest.approx(expected)
    depthwise = random.normal(size=(1, 3, 3, 8))  # multiplier 2: outputs 2k and 2k + 1 read input k
    expected = [depthwise[0, :, :, o].sum() * channels[o // 2] for o in range(8)]
    assert output_shift("DEPTHWISE_CONV_2D", depthwise, mean) == pytest.approx(expected)
    dense = random.normal(size=(3, 4))
    assert output_shift("FULLY_CONNECTED", dense, channels[None]) == pytest.approx(dense @ channels)
