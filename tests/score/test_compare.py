"""The numeric comparison, with properties that hold for any arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeship.score.compare import argmax_share, cosines, has_classes, max_abs, max_lsb, near_ties

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


def test_near_ties_are_those_that_the_float_model_leaves_open() -> None:
    """Which class 8 bits show of a softmax is chance within a step; of 1,000 classes none reaches one, and that is no
    tie where the float model has one that is three times as likely."""
    even, clear = [0.1, 0.101, 0.099, 0.7 - 0.6], [0.05, 0.9, 0.03, 0.02]
    exact = np.array([even, even, clear, clear])
    first = np.eye(4)[[0, 1, 1, 0]]
    assert near_ties(first, exact, shares=True) == 0.25, (
        "one tie, one agrees, one agrees, one is another class"
    )
    many = np.full((1, 1000), 0.001)
    many[0, 7] = 0.003
    assert near_ties(np.zeros_like(many), many, shares=True) == 0.0
    assert near_ties(np.zeros_like(many), np.full((1, 1000), 0.001), shares=True) == 0.0, (
        "the first of equals"
    )


def test_near_ties_of_what_may_be_no_classes() -> None:
    """An embedding, logits: a step of what the model answers, or rows that are alike."""
    row = np.random.default_rng(0).normal(size=(1, 128))
    best = int(row.argmax())
    row[0, best - 1] = row[0, best] - 0.01
    other = row.copy()
    other[0, best - 1] += 0.02
    assert near_ties(other, row, shares=False) == 1.0
    logits = np.array([[8.0, 4.0, -8.0]])
    assert near_ties(np.array([[3.0, 4.0, -8.0]]), logits, shares=False) == 0.0
