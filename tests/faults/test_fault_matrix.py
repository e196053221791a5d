"""The state matrix: what it found before, and a sample. All of it: python -m benchmarks.faults.matrix."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from benchmarks.faults.matrix import FAULTS, SIDES, STEPS, Case, all_cases

# What each found, is in docs/reliability.md.
PINNED = (
    "full-leave-arm",
    "full-enter-status",
    "full-leave-activate",
    "eio-leave-arm",
    "readonly-leave-activate",
    "stall-arm",
    "orphaned-supervisor",
    "dead-man-meets-failing-storage",
    "dead-man-cannot-start",
)
SAMPLE = 5
SEED = int(os.environ.get("EDGESHIP_FAULT_SEED", "1"))


def chosen() -> list[Any]:
    """Return the pinned cases and a seeded draw of the others; those on a file system of their own need root."""
    cases = {case.name: case for case in all_cases()}
    others = [case for name, case in cases.items() if name not in PINNED and not name.startswith("stall")]
    drawn = [cases[name] for name in PINNED] + random.Random(SEED).sample(others, SAMPLE)
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.root] if case.mounted else []) for case in drawn
    ]


def test_the_matrix_is_whole() -> None:
    names = [case.name for case in all_cases()]
    assert len(names) == len(set(names)) >= 150
    assert all(f"{fault}-{side}-{step}" in names for fault in FAULTS for side in SIDES for step in STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("case", chosen())
def test_old_or_new_and_the_truth_told(case: Case, park: Any) -> None:
    park.run(case)
