"""Losses of every kind of output, and of the user's own. The checks run in one worker: `loss_forms.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeship.toolchain import run_worker

CHECKS = (
    "regression",
    "segmentation",
    "detection",
    "shares",
    "classes",
    "several_outputs",
    "a_loss_of_ones_own",
)


@pytest.fixture(scope="session")
def found(once: Callable[..., Path]) -> dict[str, str]:
    """What `loss_forms.run_all` says."""

    def fill(folder: Path) -> None:
        value = run_worker("loss_forms:run_all", {}, python_path=(Path(__file__).parent,)).value
        (folder / "found.json").write_text(json.dumps(value))

    told: dict[str, str] = json.loads((once("losses", fill) / "found.json").read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_loss(name: str, found: dict[str, str]) -> None:
    assert found.keys() == set(CHECKS)
    assert not found[name], found[name]
