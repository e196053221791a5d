"""The cascade: which margin, what it costs, and that what is reported was never chosen by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeship.score.cascade import (
    FEWEST,
    MAY_LOSE,
    Answers,
    best_cascade,
    cascade_of,
    least_margin,
    read_answers,
)

SAMPLES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=40,
)


def lost_at(margin: float, margins: np.ndarray, right: np.ndarray, rights: np.ndarray) -> float:
    return float(np.mean(rights) - np.mean(np.where(margins < margin, rights, right)))


@settings(max_examples=150, deadline=None)
@given(SAMPLES)
def test_the_least_margin_is_the_least_of_those_that_lose_little_from_there_on(
    samples: list[tuple[float, bool, bool]],
) -> None:
    margins, right, rights = (np.array(column) for column in zip(*samples, strict=True))
    found = least_margin(margins, right, rights)
    cuts = sorted({*margins, np.inf})
    good = [
        all(lost_at(later, margins, right, rights) <= MAY_LOSE for later in cuts[k:])
        for k in range(len(cuts))
    ]
    wanted = cuts[good.index(True)]
    if wanted == cuts[0]:
        assert found == 0.0
    elif np.isinf(wanted):
        assert np.isinf(found)
    else:
        assert max(m for m in cuts if m < wanted) < found < wanted, (
            "between two that occur: rounding decides nothing"
        )


def made(count: int = 4000, seed: int = 1) -> tuple[Answers, float, float]:
    """Return answers of a little model that knows when it is unsure, its accuracy and the big one's."""
    draw = np.random.default_rng(seed)
    labels = np.sort(draw.integers(0, 10, count))  # sorted by class, as folders are read
    margins = draw.random(count)
    little = np.where(draw.random(count) < np.minimum(0.99, 0.4 + 2 * margins), labels, (labels + 1) % 10)
    big = np.where(draw.random(count) < 0.97, labels, (labels + 2) % 10)
    answers = Answers(
        classes={"l": little, "b": big},
        margins={"l": margins, "b": margins},
        labels=labels,
        reference=big,
        about="x",
    )
    return answers, float(np.mean(little == labels)), float(np.mean(big == labels))


def test_a_cascade_keeps_the_large_models_accuracy_at_a_part_of_its_cost() -> None:
    answers, little, big = made()
    cascade = cascade_of("l", "b", answers)
    assert cascade is not None and cascade.accuracy is not None and cascade.samples == 4000
    assert little < big - 0.03 and cascade.accuracy > big - 0.012 and abs(cascade.against_big) < 0.012
    assert 0.1 < cascade.share < 0.4 and cascade.margin == pytest.approx(0.25, abs=0.1)
    found = best_cascade({"l": 1.0, "b": 10.0}, {"l": little, "b": big}, answers)
    assert found is not None and found[0] == cascade and found[1] == 1.0 + 10.0 * cascade.share


def test_what_is_reported_was_not_chosen_by() -> None:
    """A little model that is right by chance: chosen and judged on the same samples it would look good."""
    better = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        labels, margins = draw.integers(0, 2, 300), draw.random(300)
        big = np.where(draw.random(300) < 0.8, labels, 1 - labels)
        little = np.where(draw.random(300) < 0.8, labels, 1 - labels)
        both = {"l": margins, "b": margins}
        classes = {"l": little, "b": big}
        answers = Answers(classes=classes, margins=both, labels=labels, reference=None, about="")
        if (found := cascade_of("l", "b", answers)) is not None:
            better.append(found.against_big)
    assert min(better) < -MAY_LOSE, "chosen and judged on the same samples none would lose more than that"
    assert abs(np.mean(better)) < 0.03, "neither flattered nor slandered"


def test_there_is_none_where_none_is_worth_it() -> None:
    answers, little, big = made()
    few = Answers(
        classes={k: v[: FEWEST - 1] for k, v in answers.classes.items()},
        margins={k: v[: FEWEST - 1] for k, v in answers.margins.items()},
        labels=np.asarray(answers.labels)[: FEWEST - 1],
        reference=None,
        about="",
    )
    assert cascade_of("l", "b", few) is None, "half a percent of so few is chance"
    assert cascade_of("b", "b", answers) is None, "the little one alone will do"
    costs = {"l": 1.0, "b": 10.0}
    assert best_cascade({"l": 1.0}, {"l": little}, answers) is None
    assert best_cascade({"l": 10.0, "b": 1.0}, {"l": little, "b": big}, answers) is None, (
        "the big one is cheaper"
    )
    between = {**costs, "m": 1.5}
    assert best_cascade(between, {"l": little, "b": big, "m": big}, answers) is None, "another one beats it"


def test_without_labels_the_large_model_is_the_truth() -> None:
    answers, _, _ = made()
    blind = Answers(
        classes=answers.classes, margins=answers.margins, labels=None, reference=answers.reference, about=""
    )
    cascade = cascade_of("l", "b", blind)
    assert cascade is not None and cascade.accuracy is None
    assert cascade.agreement is not None and cascade.agreement > 0.99 and -0.01 < cascade.against_big <= 0


def test_classes_and_margins() -> None:
    classes, margins = read_answers(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], np.float32))
    assert classes.tolist() == [1, 0] and margins == pytest.approx([0.5, 0.0])
