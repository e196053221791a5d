"""Random I/O errors from libfiu: a sample. All of it: python -m benchmarks.faults.fiu."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.faults.fiu import INJECTED, LIBRARIES, PLAIN_PROBABILITIES, PROBABILITIES, Run, random_errors

SEED = os.environ.get("EDGESHIP_FAULT_SEED", "1")
RUNS = (
    ("lease", PROBABILITIES[-1], False),
    ("stage", PROBABILITIES[-1], False),
    ("activate", PROBABILITIES[-2], False),
    ("confirm", PROBABILITIES[-2], False),
    ("activate", PLAIN_PROBABILITIES[-1], True),
)


@pytest.mark.slow
def test_old_or_new_under_random_errors(park: Any) -> None:
    """Whatever fails, and something does: some call of the five runs would fail more surely than not."""
    if not LIBRARIES.is_dir():
        pytest.skip("needs fiu-utils and libfiu0")
    notes = []
    for begin, probability, plain in RUNS:
        run = Run(seed=f"{SEED}-{begin}", begin=begin, probability=probability, plain=plain, back=False)
        notes.append(park.run(matrix_case(run)))
    assert any(note.startswith(INJECTED) for note in notes), notes


def matrix_case(run: Run) -> Any:
    """Return a run as a case."""
    from benchmarks.faults.matrix import Case

    return Case(run.name, random_errors(run))
