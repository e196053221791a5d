"""What is said of a chosen variant that lost much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeship.score.choice import choose_best
from edgeship.score.warn import warnings
from edgeship.values import Goals, Signature, TensorSpec, Unavailable

NONE = Unavailable(reason="no labels")


def test_a_collapse_that_no_limit_stops_is_told_with_the_way_out(make_variant: Any) -> None:
    int8, dynamic = make_variant("int8", 50, drop=50.8), make_variant("dynamic", 60, drop=-0.1)
    best, why = choose_best([int8, dynamic], ["int8", "dynamic"], Goals())
    assert best is int8 and "what the target wants first; no goal was set; the order is the target's" in why
    (said,) = warnings(best, [int8, dynamic])
    assert said == (
        "int8 loses 50.8 points of top1 (39.2, float 90), and no limit was set; dynamic has top1 90.1: "
        "--recipe dynamic takes it; --max-drop 2 stops what loses more"
    )


def test_goals_that_are_not_of_accuracy_are_named_as_such(make_variant: Any) -> None:
    goals = Goals(max_kb=1)
    int8 = make_variant("int8", 50, goals, drop=50.8)
    best, why = choose_best([int8], ["int8"], goals)
    assert why.endswith("passes every gate, none of them on accuracy")
    (said,) = warnings(best, [int8])
    assert "no other variant is known to be better: look at the calibration data" in said


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"drop": 2.0}, None),
        ({"drop": 2.1}, "loses 2.1 points of top1"),
        ({"drop": 9.0, "metric": "mse", "unit": "%", "higher": False}, None),
        ({"drop": 11.0, "metric": "mse", "unit": "%", "higher": False}, "has 11 % more mse"),
        ({"drop": 3.0, "metric": "my:f1", "unit": "%"}, "loses 3 % of my:f1"),
        (
            {"drop": 0.1, "metric": "auc", "argmax": 0.6},
            "only 60.0 % of the samples into the float model's class",
        ),
        ({"drop": 0.1, "argmax": 0.6}, None),
        ({"drop": NONE, "argmax": 0.94}, "only 94.0 % of the samples"),
        ({"drop": NONE, "argmax": 0.96, "cosine": 0.5}, None),
        ({"drop": NONE, "argmax": 0.85, "ties": 0.14}, None),
        (
            {"drop": NONE, "argmax": 0.6, "ties": 0.2},
            "only 75.0 % of the samples into the float model's class",
        ),
        (
            {"drop": NONE, "argmax": 0.0, "ties": 1.0},
            "100.0 % of the samples into another class than the float model, which rates both alike there",
        ),
        ({"drop": 0.5, "argmax": 0.0, "ties": 1.0}, None),
        ({"drop": NONE, "cosine": 0.895}, "cosine 0.895 in the worst sample"),
        ({"drop": NONE, "cosine": 0.96}, None),
        ({"drop": NONE, "argmax": 0.96, "correlation": -0.12}, "(correlation -0.12), and no limit was set"),
        ({"drop": NONE, "argmax": 0.96, "correlation": 0.8}, None),
        (
            {"drop": NONE, "cosine": 1.0, "correlation": 0.8},
            "does not follow the float model (correlation 0.80)",
        ),
        ({"drop": NONE, "cosine": 1.0, "correlation": NONE}, None),
        ({"drop": NONE, "correlation": 0.8}, "does not follow the float model (correlation 0.80)"),
        ({"drop": 0.1, "correlation": 0.8}, None),
        ({"drop": NONE}, "how accurate int8 is was not measured: labelled data with --eval would tell"),
    ],
)
def test_what_is_much(make_variant: Any, card: dict[str, Any], words: str | None) -> None:
    variant = make_variant("int8", 50, **card)
    said = warnings(variant, [variant])
    assert (words in said[0]) if words else said == (), said


def test_a_limit_that_was_set_says_what_may_be_lost(make_variant: Any) -> None:
    variant = make_variant("int8", 50, Goals(max_drop=5.0), drop=4.0)
    assert warnings(variant, [variant]) == ()
    blind = make_variant("int8", 50, Goals(max_drop=5.0), drop=0.0, metric="auc", argmax=0.5)
    (said,) = warnings(blind, [blind])
    assert "float model's class" in said and "limit" not in said, "what a limit on ranks cannot see"


def test_a_better_one_is_described_by_what_the_chosen_is_bad_at(make_variant: Any) -> None:
    int8 = make_variant("int8", 50, drop=NONE, argmax=0.5, cosine=0.3)
    fp16 = make_variant("fp16", 90, drop=NONE, argmax=0.99, cosine=0.999)
    assert "; fp16 agrees in 99.0 %: --recipe fp16 takes it" in warnings(int8, [int8, fp16])[0]
    far = make_variant("int8", 50, drop=NONE, cosine=0.3)
    assert "; fp16 has cosine 0.999: --recipe fp16 takes it" in warnings(far, [far, fp16])[0]
    noise = make_variant("int8", 50, drop=NONE, argmax=0.97, cosine=0.1, correlation=0.1)
    near = make_variant("fp16", 90, drop=NONE, argmax=1.0, cosine=0.9, correlation=0.998)
    assert "; fp16 has correlation 0.998: --recipe fp16 takes it" in warnings(noise, [noise, near])[0]


def test_one_of_several_outputs_that_strays_is_told_whatever_the_labels_say(make_variant: Any) -> None:
    variant = make_variant("int8", 50, Goals(max_drop=1.0), drop=0.0, argmax=1.0, cosine=0.4)
    assert warnings(variant, [variant]) == ()
    output = TensorSpec(name="y", shape=(1, 4), dtype="float32")
    two = replace(variant.artifact, signature=Signature(inputs=(), outputs=(output, output)))
    variant = replace(variant, artifact=two)
    (said,) = warnings(variant, [variant])
    assert "in one of its outputs (cosine 0.400 in the worst sample)" in said


def test_nothing_chosen_nothing_to_worry_about(make_variant: Any) -> None:
    assert warnings(None, [make_variant("int8", 50, drop=50.0)]) == ()
