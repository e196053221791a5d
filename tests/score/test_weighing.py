"""What a candidate is worth: its expected loss, the gate on it, with labels and without, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from edgeship.pipeline.weighing import beside, brief, weighed
from edgeship.values import Candidate, Contents, Goals, Tried, Unavailable, Variant

Make = Callable[..., Variant]
NO_LABELS = Unavailable(reason="no evaluation set was given")
HELD_OUT = 100


@pytest.fixture
def tried(make_variant: Any) -> Callable[..., Tried]:
    def made(
        size: int = 50, download: int = 40, *, labelled: bool = True, goals: Goals, **card: Any
    ) -> Tried:
        variant = make_variant("static_wi8_ai8", size, goals, **card)
        if labelled:
            variant = replace(variant, scorecard=replace(variant.scorecard, evaluation_sha256="1" * 64))
        contents = Contents(download=download * 1000, sparsity=0.0, unique_weights=9, parameters=9)
        one = Tried(candidate=Candidate(recipe="static_wi8_ai8"), variant=variant, contents=contents)
        return weighed(one, HELD_OUT, goals)

    return made


def accuracy(one: Tried) -> str:
    return next(gate.verdict for gate in cast(Variant, one.variant).gates if gate.name == "accuracy")


def test_without_labels_the_limit_holds_of_what_agreement_says(tried: Callable[..., Tried]) -> None:
    told = {"labelled": False, "drop": NO_LABELS, "goals": Goals(max_drop=1.0)}
    near, far = tried(argmax=0.98, **told), tried(argmax=0.9, **told)
    assert near.loss == pytest.approx(2 / 3) and accuracy(near) == "pass"
    assert far.loss == pytest.approx(10 / 3) and accuracy(far) == "fail" and not far.admitted
    boxes = tried(cosine=0.97, **told)
    assert boxes.loss == pytest.approx(3.0) and accuracy(boxes) == "fail"
    assert "cosine 0.9700 beside the float model" in brief(boxes)


def test_labels_that_say_nothing_are_not_made_up_for_by_agreement(tried: Callable[..., Tried]) -> None:
    one = tried(argmax=1.0, drop=Unavailable(reason="shapes differ"), goals=Goals(max_drop=1.0))
    assert accuracy(one) == "no-data" and not one.admitted


def test_a_file_that_answers_as_the_float_model_loses_nothing(tried: Callable[..., Tried]) -> None:
    assert tried(argmax=1.0, cosine=1.0, drop=0.0, goals=Goals(max_drop=1.0)).loss == 0.0
    few = tried(argmax=1.0, cosine=0.99, drop=0.0, goals=Goals(max_drop=1.0)).loss
    assert few is not None and 0.0 < few < 0.5, "none of a hundred changed is not none of all"


def test_what_is_told_beside_plain_has_the_unit_of_the_metric_and_the_right_direction(
    tried: Callable[..., Tried],
) -> None:
    goals = Goals()
    plain = tried(50, 40, drop=1.0, goals=goals)
    same = beside(tried(50, 20, drop=1.0, goals=goals), plain)
    assert same == (
        "beside plain static_wi8_ai8: download 2.00 times smaller and file as large, "
        "as accurate as far as held-out samples tell"
    )
    worse = beside(tried(100, 41, drop=3.0, goals=goals), plain)
    assert "download 2.5% larger and file 2.00 times larger, 2.00 points worse" in worse
    errors = {"metric": "mse", "unit": "%", "higher": False, "goals": goals}
    better = beside(tried(50, 20, drop=-1.0, **errors), tried(50, 40, drop=1.5, **errors))
    assert "2.50 % of mse better" in better
    unknown = {"drop": NO_LABELS, "labelled": False, "goals": goals}
    assert beside(tried(50, 40, **unknown), plain).endswith("download and file as large")
