"""How sure a share is, and what a drop of few samples is worth."""

from __future__ import annotations

import pytest

from edgeship.score.interval import expected_drop, interval_of, wilson
from edgeship.values import Metric, Unavailable


def metric(value: float, float_value: float, name: str = "top1") -> Metric:
    return Metric(name=name, value=value, float_value=float_value, drop=float_value - value)


def test_wilson_is_what_the_tables_say() -> None:
    low, high = wilson(0.5, 10)  # Newcombe, 1998: 0.2366 to 0.7634
    assert (low, high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 20)[1] == 1.0 and wilson(0.0, 20)[0] == 0.0
    assert wilson(0.3, 0) == (0.0, 1.0)


def test_only_shares_have_an_interval() -> None:
    assert interval_of(metric(90.0, 91.0), 100) == pytest.approx((82.56, 94.48), abs=0.01)
    assert interval_of(metric(0.2, 0.1, "mse"), 100) is None


def test_many_samples_speak_for_themselves_and_few_hardly() -> None:
    told = metric(88.0, 93.0)
    assert expected_drop(told, 0.98, 1_000_000) == pytest.approx(5.0, abs=0.01)
    assert expected_drop(told, 0.95, 20) == pytest.approx(2.7, abs=0.1), "a third of 7 percent, mostly"
    assert 0.1 < expected_drop(metric(88.0, 88.0), 1.0, 60) < 0.5, "none of 60 changed is not none of all"
    assert expected_drop(metric(79.8, 79.8), 0.834, 1500) < 0.3, (
        "labels taught other answers, and the drop is seen"
    )
    assert expected_drop(metric(0.2, 0.1, "mse"), 0.9, 20) == pytest.approx(-0.1)
    none = Unavailable(reason="no labels")
    assert expected_drop(Metric(name="top1", value=none, float_value=none, drop=none), 0.9, 20) is none
