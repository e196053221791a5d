"""Every operation of the trainable graph against LiteRT, with sizes and settings that hypothesis draws; gradients
against differences. All in one worker: TensorFlow takes seconds to load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeship.compress.operations import OPERATIONS
from edgeship.toolchain import run_worker

EXAMPLES = int(os.environ.get("EDGESHIP_EXAMPLES", "4"))
"""Files built of each operation; with more than a few they differ from run to run."""


@pytest.fixture(scope="session")
def found(once: Callable[..., Path]) -> dict[str, str]:
    """What is wrong by case ("" for one that holds), of all cases."""

    def fill(folder: Path) -> None:
        payload = {"examples": EXAMPLES, "random": EXAMPLES > 10}
        here = (Path(__file__).parent,)
        value = run_worker("operation_forms:run_all", payload, python_path=here).value
        (folder / "found.json").write_text(json.dumps(value))

    told: dict[str, str] = json.loads((once("operations", fill) / "found.json").read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_computes_what_litert_does(name: str, found: dict[str, str]) -> None:
    """At one sample and at three, whatever stands for the batch in the file; its gradient fits the differences."""
    own = {case: why for case, why in found.items() if case.split(" ")[0] == name}
    assert own, f"no case in operation_forms.py builds {name}"
    wrong = "\n".join(why for why in own.values() if why)
    assert not wrong, wrong
