"""Gates and the choice: pure, so properties are checked over many values."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeship.score.choice import choose_best
from edgeship.score.gates import gate
from edgeship.values import Goals, Unavailable

FIGURES = st.floats(-1e6, 1e6)
COSTS = st.tuples(st.floats(-5, 50), st.integers(1, 10**6), st.floats(0.01, 100))
WHY = Unavailable(reason="no labels")


@given(FIGURES)
def test_a_limit_met_exactly_passes(limit: float) -> None:
    assert gate("size", limit, limit, "file", " kB").verdict == "pass"


@given(FIGURES, st.floats(1e-3, 1e3))
def test_over_is_over_and_under_is_under(limit: float, by: float) -> None:
    by = by + 1e-6 * abs(limit)
    assert gate("size", limit, limit + by, "file", " kB").verdict == "fail"
    assert gate("size", limit, limit - by, "file", " kB").verdict == "pass"


def test_a_drop_that_only_binary_fractions_push_over_passes() -> None:
    drop = 100 * (8 / 300) - 100 * (5 / 300)
    assert drop > 1.0
    assert gate("accuracy", 1.0, drop, "top1 drop", " points").verdict == "pass"


def test_no_figure_is_no_data_and_not_a_number_fails() -> None:
    found = gate("accuracy", 1.0, WHY, "top1 drop", " points")
    assert (found.verdict, found.reason) == ("no-data", "top1 drop: not known, no labels")
    found = gate("accuracy", 1.0, math.nan, "top1 drop", " points")
    assert found.verdict == "fail"
    assert isinstance(found.value, Unavailable)


def test_only_goals_that_are_set_are_gates(make_variant: Any) -> None:
    assert make_variant("int8", 50_000).gates == ()
    goals = Goals(max_drop=0.5, max_kb=50, max_ms=2, max_rss_mb=30)
    gates = make_variant("int8", 50_000, goals, drop=0.75, p50=2.0, rss=40.0).gates
    assert [(g.name, g.verdict) for g in gates] == [
        ("accuracy", "fail"),
        ("size", "pass"),
        ("latency", "pass"),
        ("memory", "fail"),
    ]
    assert gates[0].reason == "top1 drop 0.75 points is over the limit of 0.5 points"
    assert gates[1].reason == "model file 50 kB is within the limit of 50 kB"


def test_the_target_decides_among_those_admitted(make_variant: Any) -> None:
    goals = Goals(max_drop=1.0)
    int8 = make_variant("int8", 50, goals, drop=0.5, p50=2.0)
    fp16 = make_variant("fp16", 100, goals, drop=0.0, p50=1.0)
    best, why = choose_best([fp16, int8], ["int8", "fp16"], goals)
    assert best is int8
    assert why == (
        "int8, top1 89.5 (float 90), 50 bytes, p50 2 ms on this machine: "
        "what the target wants first; passes every gate; the order is the target's, nothing was measured there"
    )


def test_what_was_measured_on_the_target_decides(make_variant: Any) -> None:
    goals = Goals(max_drop=1.0)
    dynamic = make_variant("dynamic", 50, goals, drop=0.0, p50=9.8)
    fp32 = make_variant("fp32", 100, goals, drop=0.0, p50=2.5)
    wants = ["dynamic", "fp32"]
    assert choose_best([dynamic, fp32], wants, goals)[0] is dynamic
    best, why = choose_best([dynamic, fp32], wants, goals, measured_here=True)
    assert best is fp32
    assert why.endswith(
        "measured on this machine, which is the target: dynamic takes 9.8 ms, 3.9 times as long"
    )


def test_a_latency_that_is_as_good_leaves_the_order_to_the_target(make_variant: Any) -> None:
    near = [make_variant("int8", 50, p50=2.6), make_variant("fp32", 100, p50=2.5)]
    assert choose_best(near, ["int8", "fp32"], Goals(), measured_here=True)[0] is near[0]
    short = [make_variant("int8", 50, p50=0.05), make_variant("fp32", 100, p50=0.01)]
    assert choose_best(short, ["int8", "fp32"], Goals(), measured_here=True)[0] is short[0]
    unknown = [make_variant("int8", 50, p50=WHY), make_variant("fp32", 100, p50=WHY)]
    assert choose_best(unknown, ["int8", "fp32"], Goals(), measured_here=True)[0] is unknown[0]


def test_words_of_a_choice_say_what_was_made_and_measured(make_variant: Any) -> None:
    dynamic, fp16 = make_variant("dynamic", 50, p50=WHY), make_variant("fp16", 100, p50=WHY)
    wants = ["int8", "dynamic", "fp16"]
    _, why = choose_best([dynamic, fp16], wants, Goals(), measured_here=True)
    assert "the best of what was made; the target wants int8 first" in why
    assert why.endswith("the order is the target's, nothing could be measured")
    assert ": the only variant there is; " in choose_best([fp16], wants, Goals())[1]


def test_a_stopped_favourite_is_named(make_variant: Any) -> None:
    goals = Goals(max_drop=1.0)
    int8 = make_variant("int8", 50, goals, drop=3.0)
    fp16 = make_variant("fp16", 100, goals, drop=0.0)
    best, why = choose_best([int8, fp16], ["int8", "fp16"], goals)
    assert best is fp16
    assert "the best of what the target wants after int8 was stopped (top1 drop 3 points is over" in why


def test_when_none_is_admitted_the_best_found_is_described(make_variant: Any) -> None:
    goals = Goals(max_drop=1.0, max_kb=0.08)
    far = make_variant("int8", 50, goals, drop=3.0)
    near = make_variant("int16x8", 90, goals, drop=0.1)
    both = make_variant("fp16", 100, goals, drop=2.0)
    best, why = choose_best([both, far, near], ["int8"], goals)
    assert best is None
    assert why == (
        "no variant meets drop <= 1, size <= 0.08 kB; best found: int16x8, top1 89.9 (float 90), 90 bytes, "
        "p50 1 ms on this machine: model file 0.09 kB is over the limit of 0.08 kB"
    )
    assert choose_best([], ["int8"], goals) == (None, "there is no variant to choose from")


def test_what_shall_hold_and_cannot_be_told_stops(make_variant: Any) -> None:
    goals = Goals(max_drop=1.0)
    best, why = choose_best([make_variant("int8", 50, goals, drop=WHY)], ["int8"], goals)
    assert best is None
    assert "int8, top1 not known, 50 bytes" in why
    free, _ = choose_best([make_variant("int8", 50, Goals(), drop=WHY)], ["int8"], Goals())
    assert free is not None, "nothing was asked to hold"


@given(st.lists(COSTS, min_size=1, max_size=8), st.permutations(range(8)))
def test_the_choice_does_not_depend_on_order(
    make_variant: Any, costs: list[tuple[float, int, float]], order: list[int]
) -> None:
    goals = Goals(max_drop=10.0, max_kb=500)
    variants = [make_variant(str(i), size, goals, drop=d, p50=p) for i, (d, size, p) in enumerate(costs)]
    shuffled = [variants[i] for i in order if i < len(variants)]
    assert choose_best(variants, ["3", "1"], goals) == choose_best(shuffled, ["3", "1"], goals)
