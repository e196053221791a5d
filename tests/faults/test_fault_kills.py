"""SIGKILL at system calls and at random times: a sample. All of it: python -m benchmarks.faults.kills."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from benchmarks.faults.kills import VERBS, at_random, each_call

SEED = int(os.environ.get("EDGESHIP_FAULT_SEED", "1"))


@pytest.mark.slow
def test_killed_at_system_calls(park: Any) -> None:
    cases = each_call(changing=True)
    of = {verb: [case for case in cases if case.name.startswith(f"kill-{verb}-")] for verb in VERBS}
    assert min(len(found) for found in of.values()) >= 10, {verb: len(found) for verb, found in of.items()}
    draw = random.Random(SEED)
    for verb in VERBS:
        for case in draw.sample(of[verb], 1):
            park.run(case)


@pytest.mark.slow
def test_killed_at_random_times(park: Any) -> None:
    for case in at_random(5, SEED):
        park.run(case)
