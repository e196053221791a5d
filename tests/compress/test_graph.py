"""Whole trainable graphs against LiteRT: what is trained, what is held in front of it or left out behind it, and what
is refused. The checks run in one worker: `graph_forms.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.compress.in_parts import rows_for
from edgeship.errors import EdgeshipError
from edgeship.toolchain import run_worker

HERE = (Path(__file__).parent,)
CHECKS = (
    "a_detector",
    "a_segmentation",
    "what_is_in_front_is_computed",
    "several_inputs_and_outputs",
    "hooks_see_every_value",
    "a_step_learns",
    "an_unrolled_loop",
    "a_batch_in_parts_has_the_same_gradient",
)


@pytest.fixture(scope="session")
def found(once: Callable[..., Path]) -> dict[str, Any]:
    """What `graph_forms.run_all` says."""

    def fill(folder: Path) -> None:
        value = run_worker("graph_forms:run_all", {}, python_path=HERE).value
        (folder / "found.json").write_text(json.dumps(value))

    told: dict[str, Any] = json.loads((once("graphs", fill) / "found.json").read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_graph(name: str, found: dict[str, Any]) -> None:
    assert found["wrong"].keys() == set(CHECKS)
    assert not found["wrong"][name], found["wrong"][name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("between_layers_is_refused", "REVERSE_SEQUENCE is not known (2 times: stem, middle)"),
        ("a_custom_operation_between_layers_is_refused", "MyOperation is not known (y)"),
        (
            "a_custom_operation_in_front_is_refused",
            "MyOperation cannot be computed in front of the layers: Encountered unresolved custom op: MyOperation. (y)",
        ),
        (
            "a_state_in_front_is_refused",
            "ASSIGN_VARIABLE keeps what one sample leaves for the next, in front of the layers (y3)",
        ),
        (
            "a_shape_that_is_not_the_files_is_refused",
            "MEAN makes [1, 3], where the file says [1, 1, 1, 3] (y5)",
        ),
    ],
)
def test_what_cannot_be_trained_through_is_refused(name: str, operations: str, found: dict[str, Any]) -> None:
    error = EdgeshipError.from_json(found["refused"][name])
    assert error.render() == (
        "error: not-trainable\n"
        "  the model cannot be trained: its weights cannot be reached through some of its operations\n"
        f"  operations: {operations}\n"
        "hint: methods that do not train work: edgeship compress --help lists them"
    )


def test_parts_of_a_batch_fit_and_are_of_like_size() -> None:
    mb = 2**20
    assert rows_for(mb, 32, 512) == 32
    assert rows_for(27 * mb, 32, 512) == 16
    assert rows_for(30 * mb, 33, 512) == 17  # of 17 that fit: two parts, not 17 and 16 and a rest
    assert rows_for(900 * mb, 32, 512) == 1
    assert rows_for(0, 8) == 8
