"""Parts of outputs: what died is found and named, and nothing is called dead that people would not miss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeship.score.gates import alive
from edgeship.score.parts import group, named, parts_of, worst_of
from edgeship.score.warn import warnings
from edgeship.values import Agreement, OutputPart, Unavailable

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def int8(values: Array, *, unit: bool = False) -> Array:
    """Return what one 8-bit scale over all values (with 0) leaves of them; `unit`: that of a sigmoid."""
    low, high = (0.0, 255 / 256) if unit else (min(0.0, values.min()), max(0.0, values.max()))
    step = (high - low) / 255 or 1.0
    return low + np.clip(np.rint((values - low) / step), 0, 255) * step


def softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def detector(count: int = 30, places: int = 50, classes: int = 3, box: float = 640.0) -> Array:
    boxes = box * RANDOM.uniform(0.05, 1.0, (count, places, 4))
    scores = sigmoid(RANDOM.normal(-2, 2, (count, places, classes)))
    return np.concatenate([boxes, scores], axis=-1)


def keypoints(count: int = 30, places: int = 20) -> Array:
    """Boxes, a score, and 17 times x, y and how sure, as pose models give them."""
    score = sigmoid(RANDOM.normal(0, 2, (count, places, 18)))
    points = 640 * RANDOM.uniform(0, 1, (count, places, 17, 2))
    joined = np.concatenate([points, score[:, :, 1:, None]], axis=-1).reshape(count, places, 51)
    return np.concatenate([640 * RANDOM.uniform(0, 1, (count, places, 4)), score[:, :, :1], joined], axis=-1)


@pytest.mark.parametrize(
    ("exact", "axis", "columns"),
    [
        pytest.param(detector(), 2, "4-6", id="yolo"),
        pytest.param(detector().transpose(0, 2, 1), 1, "4-6", id="channels first"),
        pytest.param(detector(classes=1), 2, "4", id="one class"),
        pytest.param(detector(classes=80), 2, "4-83", id="eighty classes"),
        pytest.param(detector()[:, :, [4, 5, 6, 0, 1, 2, 3]], 2, "0-2", id="scores first"),
        pytest.param(detector()[:, None], 3, "4-6", id="an axis of one"),
        pytest.param(detector(box=1300.0), 2, "4-6", id="large pictures"),
        pytest.param(keypoints(), 2, "4, 7, 10, 13, 16, 19, ... (18 in all)", id="keypoints"),
    ],
)
def test_scores_that_died_beside_boxes_are_found_and_named(exact: Array, axis: int, columns: str) -> None:
    parts = parts_of([("found", int8(exact), exact, True)])
    worst = worst_of(parts)
    assert len(parts) == 2 and worst is not None
    assert (worst.axis, worst.columns, bool(worst.dead)) == (axis, columns, True)
    (gate,) = alive(Agreement(argmax=1.0, cosine=1.0, max_abs=0.0, parts=parts))
    assert gate.stops and gate.name == "agreement"
    assert f"columns {columns} of output 'found'" in gate.reason
    kept = np.where(exact > 1.0, int8(exact), int8(np.minimum(exact, 1.0), unit=True))
    assert not any(part.dead for part in parts_of([("found", kept, exact, True)])), "scales of their own"


def test_a_small_target_beside_a_large_one_dies_in_a_shared_scale() -> None:
    exact = np.stack(
        [RANDOM.uniform(0, 1000, 80), RANDOM.uniform(0, 1, 80), RANDOM.uniform(0, 800, 80)], axis=-1
    )
    parts = parts_of([("y", int8(exact), exact, False)])
    assert [(p.columns, bool(p.dead)) for p in parts] == [("0, 2", False), ("1", True)]


def test_an_output_that_died_beside_one_that_did_not() -> None:
    alive_one, noise = RANDOM.normal(size=(60, 5)), RANDOM.normal(size=(60, 5))
    still = np.zeros_like(noise)
    told = parts_of([("a", int8(alive_one), alive_one, False), ("b", still, noise, False)])
    assert [(p.output, bool(p.dead)) for p in told] == [("a", False), ("b", True)]
    other = RANDOM.normal(size=noise.shape)
    told = parts_of([("a", int8(alive_one), alive_one, False), ("b", other, noise, False)])
    assert told[1].dead.startswith("its correlation with the float model's is ")
    alone = parts_of([("b", other, noise, False)])
    assert not alone[0].dead, "a model that is bad everywhere is told by its figures"


LOGITS = RANDOM.normal(0, 3, (60, 10))
RARE = np.where(np.arange(10) < 2, LOGITS - 12, LOGITS)
PADDED = np.concatenate([RANDOM.normal(size=(60, 6)), np.zeros((60, 3)), np.full((60, 1), 7.0)], axis=-1)
FEATURES = np.maximum(RANDOM.normal(size=(60, 256)) * np.exp(RANDOM.normal(0, 1.2, 256)), 0)
DEPTH = np.linspace(2, 80, 24)[:, None] + RANDOM.normal(0, 1, (12, 24, 32)).clip(-2, 2)


@pytest.mark.parametrize(
    ("exact", "unit"),
    [
        pytest.param(softmax(LOGITS), True, id="softmax"),
        pytest.param(softmax(RARE), True, id="classes the samples do not show"),
        pytest.param(softmax(0.004 * LOGITS), True, id="softmax, nearly constant"),
        pytest.param(sigmoid(RARE), True, id="several labels"),
        pytest.param(LOGITS, False, id="logits"),
        pytest.param(softmax(RANDOM.normal(0, 3, (6, 16, 16, 4))), True, id="segmentation"),
        pytest.param(DEPTH[..., None], False, id="depth"),
        pytest.param(DEPTH, False, id="depth without channels"),
        pytest.param(RANDOM.normal(size=(60, 1)), False, id="one number"),
        pytest.param(RANDOM.normal(size=60), False, id="one number, no axis"),
        pytest.param(1e-7 * RANDOM.normal(size=(60, 4)), False, id="tiny"),
        pytest.param(290 + RANDOM.normal(0, 0.2, (60, 1)), False, id="beyond 8 bits of any scale"),
        pytest.param(np.full((60, 4), 3.0), False, id="constant"),
        pytest.param(PADDED, False, id="padding"),
        pytest.param(FEATURES, False, id="features, some nearly dead"),
        pytest.param(detector(box=1.0), True, id="boxes in shares of the picture"),
        pytest.param(np.tanh(RANDOM.normal(size=(60, 8)) * np.logspace(-4, 0, 8)), True, id="tanh with a sigmoid"),
        pytest.param(RANDOM.normal(size=(2, 5)), False, id="two samples"),
        pytest.param(np.sign(RANDOM.normal(size=(60, 4))) * 1e30, False, id="huge"),
    ],
)  # fmt: skip
def test_no_false_alarm_where_one_scale_does(exact: Array, unit: bool) -> None:
    answers = int8(exact, unit=unit and exact.min() >= 0 and exact.max() <= 1)
    parts = parts_of([("y", answers, exact, unit)])
    assert not [part for part in parts if part.dead]
    assert len(parts) <= 1, "ranges alike are one part"


def test_what_8_bits_cannot_show_has_no_correlation() -> None:
    """A sigmoid that stays between 0.500 and 0.501 for all samples: its int8 form is noise, and nobody's fault."""
    exact = RANDOM.uniform(0.5, 0.501, (40, 1))
    (part,) = parts_of([("o", int8(exact, unit=True), exact, True)])
    assert isinstance(part.correlation, Unavailable) and "8 bits" in part.correlation.reason and not part.dead


def test_columns_are_grouped_by_size_and_strays_join_the_next() -> None:
    high = np.array([640.0, 500.0, 1.0, 0.002, 0.0, 640e-9])
    low = np.zeros(6)
    assert [g.tolist() for g in group(low, high, unit=True)] == [[0, 1], [2, 3]]
    assert [g.tolist() for g in group(low, high, unit=False)] == [[0, 1], [2], [3]]
    many = np.full(200, 5.0)
    many[7] = 0.01
    assert len(group(np.zeros(200), many, unit=False)) == 1
    assert len(group(np.zeros(200), many, unit=True)) == 2, "one score beside many coordinates counts"
    assert group(np.zeros(3), np.zeros(3), unit=False) == []


def test_columns_are_named_as_people_read_them() -> None:
    assert named([4, 5, 6], 7) == "4-6"
    assert named([0, 1, 2], 3) == "all"
    assert named([1, 3, 4], 9) == "1, 3-4"


def test_a_part_that_is_poor_but_alive_is_told(make_variant: Any) -> None:
    from dataclasses import replace

    variant = make_variant("static_wi8_ai8", 10, cosine=1.0)
    parts = tuple(
        OutputPart(output="o", axis=2, columns=c, low=0.0, high=h, correlation=r)
        for c, h, r in (("0-3", 640.0, 0.999), ("4-8", 1.0, 0.7))
    )
    agreement = replace(variant.scorecard.agreement, parts=parts)
    told = replace(variant, scorecard=replace(variant.scorecard, agreement=agreement))
    (line,) = warnings(told, [told])
    assert "columns 4-8 of output 'o' (float 0 to 1): correlation 0.70" in line
    unknown = replace(agreement, parts=(replace(parts[0], correlation=Unavailable(reason="constant")),))
    quiet = replace(variant, scorecard=replace(variant.scorecard, agreement=unknown))
    assert warnings(quiet, [quiet]) == ()


def test_a_part_that_died_ships_where_its_owner_accepts_it() -> None:
    dead = OutputPart(output="y", axis=1, columns="3-5", low=0.0, high=1.0, correlation=0.0, dead="constant")
    agreement = Agreement(argmax=1.0, cosine=1.0, max_abs=0.0, parts=(dead,))
    (stopped,), (taken,) = alive(agreement), alive(agreement, ("agreement",))
    assert stopped.stops and "accept" not in stopped.reason
    assert not taken.stops and taken.value == 1.0
    assert taken.reason == "accepted: columns 3-5 of output 'y' (float 0 to 1) died: constant"
