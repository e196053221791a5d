"""The numeric comparison, with properties that hold for any arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeship.score.compare import argmax_share, cosines, has_classes, max_abs, max_lsb

FLOATS = arrays(np.float32, (3, 5), elements=st.floats(-(2.0**100), 2.0**100, width=32))
BYTES = arrays(np.int8, (2, 6), elements=st.integers(-128, 127))


@given(FLOATS, FLOATS)
def test_cosines_lie_between_minus_one_and_one_and_are_symmetric(a: np.ndarray, b: np.ndarray) -> None:
    found = cosines(a, b)
    assert ((found >= -1) & (found <= 1)).all()
    np.testing.assert_array_equal(found, cosines(b, a))


@given(FLOATS, st.floats(1e-3, 1e3))
def test_a_row_is_like_itself_at_any_scale(a: np.ndarray, factor: float) -> None:
    np.testing.assert_allclose(cosines(a.astype(np.float64), a.astype(np.float64) * factor), 1.0, atol=1e-9)


@given(FLOATS, FLOATS)
def test_max_abs_is_zero_only_for_equal_arrays(a: np.ndarray, b: np.ndarray) -> None:
    assert (max_abs(a, b) == 0) == np.array_equal(a, b)
    assert max_abs(a, b) == max_abs(b, a)


@given(BYTES, BYTES)
def test_steps_do_not_wrap_around(a: np.ndarray, b: np.ndarray) -> None:
    assert max_lsb(a, b) == max(abs(int(x) - int(y)) for x, y in zip(a.flat, b.flat, strict=True))


def test_zeros_and_infinities() -> None:
    zeros, ones = np.zeros((1, 3)), np.ones((1, 3))
    assert cosines(zeros, zeros)[0] == 1
    assert cosines(zeros, ones)[0] == 0
    infinite = np.array([[np.inf, 1.0]])
    assert max_abs(infinite, infinite) == 0
    assert max_abs(infinite, np.array([[1.0, 1.0]])) == np.inf
    assert np.isnan(max_abs(np.array([[np.nan]]), np.array([[1.0]])))


def test_argmax_share_takes_the_first_of_equals() -> None:
    assert argmax_share(np.array([[1, 1, 0], [0, 2, 1]]), np.array([[1, 0, 0], [0, 0, 2]])) == 0.5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 3), True), ((4, 1, 1, 3), True), ((4, 1), False), ((4,), False), ((4, 2, 3), False)],
)
def test_has_classes(shape: tuple[int, ...], expected: bool) -> None:
    assert has_classes(np.zeros(shape)) is expected
