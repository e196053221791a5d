"""How good a variant is, as one number: accuracy where there are labels, else agreement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeship.score.quality import quality_of
from edgeship.values import Agreement, Metric, Unavailable

NONE = Unavailable(reason="-")


@pytest.mark.parametrize(
    ("name", "value", "reference", "higher", "accuracy", "measure"),
    [
        ("top1", 91.2, 93.0, True, 0.912, "top1 on evaluation data"),
        ("map", 40.0, NONE, True, 0.4, "map on evaluation data"),
        ("mse", 0.2, 0.1, False, 0.5, "the float model's mse over its own"),
        ("mse", 0.05, 0.1, False, 1.0, "the float model's mse over its own"),
        ("mae", 0.0, 0.0, False, 1.0, "the float model's mae over its own"),
        ("own:score", 3.0, 4.0, True, 0.75, "own:score over the float model's, on evaluation data"),
        ("own:score", 3.0, 4.0, None, None, "share of samples with the float model's class"),
        ("own:score", -3.0, 4.0, True, None, "share of samples with the float model's class"),
        ("mse", 0.2, NONE, False, None, "share of samples with the float model's class"),
        ("accuracy", NONE, NONE, True, None, "share of samples with the float model's class"),
    ],
)
def test_one_number(
    make_variant: Any, name: str, value: Any, reference: Any, higher: bool | None, accuracy: Any, measure: str
) -> None:
    card = make_variant("int8", 10, drop=1.0, p50=1.0).scorecard
    metric = Metric(name=name, value=value, float_value=reference, drop=NONE, higher_is_better=higher)
    card = replace(card, metric=metric, agreement=Agreement(argmax=0.98, cosine=0.9, max_abs=0.1))
    found = quality_of(card)
    assert found.accuracy == pytest.approx(accuracy) and found.agreement == 0.98 and found.measure == measure
    assert found.rank == (accuracy if accuracy is not None else 0.98)


def test_without_classes_the_outputs_tell(make_variant: Any) -> None:
    card = make_variant("int8", 10, drop=NONE, p50=1.0).scorecard
    card = replace(card, metric=replace(card.metric, value=NONE))
    far = replace(card, agreement=Agreement(argmax=NONE, cosine=-0.2, max_abs=0.1))
    assert quality_of(far).agreement == 0.0 and "cosine" in quality_of(far).measure
    none = replace(card, agreement=Agreement(argmax=NONE, cosine=NONE, max_abs=NONE))
    assert quality_of(none).agreement is None and quality_of(none).rank == 0.0
