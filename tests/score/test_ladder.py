"""The ladder: Pareto's rule over anything, and over variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeship.pareto import front
from edgeship.score.ladder import as_quick, ladder
from edgeship.values import GateResult, Goals, Unavailable

NUMBERS = st.one_of(st.integers(0, 4).map(float), st.just(float("inf")))
COSTS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=12)
WHY = Unavailable(reason="no labels")


@given(COSTS)
def test_the_front_holds_exactly_what_nothing_beats(costs: list[tuple[float, float, float]]) -> None:
    kept = front(list(enumerate(costs)), lambda item: item[1])
    for place, mine in enumerate(costs):
        beaten = any(o != mine and all(a <= b for a, b in zip(o, mine, strict=True)) for o in costs)
        assert ((place, mine) in kept) == (not beaten and mine not in costs[:place])
    assert list(kept) == sorted(kept), "in the order they came"


def test_what_is_not_known_beats_nothing() -> None:
    unknown = float("nan")
    assert front([(unknown, 1.0), (2.0, 1.0)], tuple) == ((2.0, 1.0),)
    assert front([(unknown, 1.0), (2.0, 2.0)], tuple) == ((unknown, 1.0), (2.0, 2.0))


def test_a_ladder_goes_from_cheap_to_costly_and_leaves_out_what_is_beaten_or_stopped(
    make_variant: Any,
) -> None:
    int8 = make_variant("int8", 50, drop=1.0, p50=1.0)
    int8_full = make_variant("int8-full", 50, drop=1.4, p50=1.04)
    int16 = make_variant("int16x8", 60, drop=0.1, p50=3.0)
    fp32 = make_variant("fp32", 200, drop=0.0, p50=2.0)
    stop = GateResult(name="size", verdict="fail", limit=1.0, value=2.0, reason="too large")
    stopped = replace(make_variant("int4", 30, drop=9.0, p50=1.0), gates=(stop,))
    assert ladder([fp32, int16, stopped, int8_full, int8]) == (int8, fp32, int16)
    assert ladder([]) == ()


def test_noise_of_the_clock_makes_no_rung(make_variant: Any) -> None:
    better = make_variant("int8", 50, drop=1.0, p50=1.0)
    worse = make_variant("int8-full", 51, drop=1.0, p50=0.999)
    assert as_quick(1.0) == as_quick(0.999) and as_quick(WHY) == float("inf")
    assert ladder([worse, better]) == (better,)
    assert ladder([worse, make_variant("int16x8", 52, drop=1.0, p50=0.5)]) != (worse,)


def test_without_labels_the_outputs_say_what_was_lost(make_variant: Any) -> None:
    near = make_variant("fp32", 200, Goals(), drop=WHY, p50=2.0)
    far = make_variant("int8", 50, Goals(), drop=WHY, p50=1.0)

    def agreeing(variant: Any, share: float) -> Any:
        agreement = replace(variant.scorecard.agreement, argmax=share)
        return replace(variant, scorecard=replace(variant.scorecard, agreement=agreement))

    near, far = agreeing(near, 1.0), agreeing(far, 0.9)
    assert ladder([near, far]) == (far, near), "the smaller one lost something: both are rungs"
    assert ladder([near, agreeing(far, 1.0)]) == (agreeing(far, 1.0),)
