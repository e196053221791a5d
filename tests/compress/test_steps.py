"""Steps as people write them, and what a candidate is known by."""

from __future__ import annotations

import pytest

from edgeship.compress.methods import ROWS, step_of
from edgeship.errors import InputError
from edgeship.values import Candidate


def test_a_label_says_the_first_setting_and_any_other_by_name() -> None:
    step = step_of("prune-80,epochs=3,rate=0.01", seed=4)
    assert step.method == "prune" and step.seed == 4
    assert (step.setting("percent"), step.setting("epochs"), step.setting("rate")) == (80, 3, 0.01)
    assert step.setting("batch") == 64, "what is not said has its default"


def test_the_longest_name_of_a_method_counts() -> None:
    assert step_of("prune-2x4").method == "prune-2x4"
    assert step_of("prune-blocks-60").setting("percent") == 60
    assert step_of("qat-int16x8").setting("precision") == "int16x8"


@pytest.mark.parametrize(
    ("label", "reference", "told"),
    [
        ("pruned-80", "unknown-method", "prune"),
        ("prune-80%", "bad-setting", "whole number"),
        ("prune-0", "bad-setting", "1 to 98"),
        ("qat-int2", "bad-setting", "int8, int4, int16x8"),
        ("cluster-16,epoch=3", "bad-setting", "no setting"),
        ("", "unknown-method", ""),
    ],
)
def test_what_cannot_be_is_said_with_what_can(label: str, reference: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        step_of(label)
    assert error.value.reference == reference
    assert told in str(error.value) + str(error.value.hint)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_names_a_function_that_is_there(row: object) -> None:
    import importlib

    module, name = row.function.split(":")  # type: ignore[attr-defined]
    assert callable(getattr(importlib.import_module(module), name))


def test_a_candidate_is_known_by_all_of_its_settings() -> None:
    one = Candidate(steps=(step_of("prune-80"), step_of("qat-int8")), recipe="static_wi8_ai8")
    same = Candidate(steps=(step_of("prune-80"), step_of("qat-int8")), recipe="static_wi8_ai8")
    other = Candidate(steps=(step_of("prune-80", seed=1), step_of("qat-int8")), recipe="static_wi8_ai8")
    assert one.name == other.name == "prune-80+qat-int8+static_wi8_ai8"
    assert one.digest == same.digest != other.digest
    assert Candidate(recipe="float_fp32").name == "float_fp32"
