"""Faults on the lab's devices: what found something, and a sample. All of it: python -m benchmarks.faults.lab."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.lab import CALLS, Case, all_cases

ROOT = Path(__file__).resolve().parents[2]
# See docs/reliability.md. What two others found is kept by faster tests: test_fault_crashes, test_deploy_ssh.
PINNED = (
    "first-power-leave-arm",
    "power-in-recovery-reverting",
    "cut-leave-confirm",
    "key-before-confirm-in-time",
)
SAMPLE = 2
SEED = int(os.environ.get("EDGESHIP_FAULT_SEED", "1"))
SLOW = ("past-the-trial", "arm64", "for-good")


def chosen() -> list[str]:
    """Return the pinned cases and a seeded draw of those that do not wait for long."""
    names = [case.name for case in all_cases()]
    others = [name for name in names if name not in PINNED and not any(word in name for word in SLOW)]
    return [*PINNED, *random.Random(SEED).sample(others, SAMPLE)]


def named(kind: str) -> list[Case]:
    return [case for case in all_cases() if case.name.startswith(kind)]


def test_the_campaign_is_whole() -> None:
    names = [case.name for case in all_cases()]
    assert len(names) == len(set(names)) and set(PINNED) <= set(names)
    for way in ("power", "first-power", "cut", "full", "controller-killed"):
        assert {f"{way}-{call}" for call in CALLS} <= set(names), way
    for way in (
        "reboot",
        "clock",
        "read-only",
        "io-error",
        "key",
        "two-controllers",
        "arm64",
        "signed",
        "frozen",
        "sshd-killed",
    ):
        assert len(named(way)) >= 5, way


@pytest.mark.devlab
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", chosen())
def test_old_or_new_and_the_truth_told(name: str, lab: Any) -> None:
    done = subprocess.run(  # a process of its own: it has mounts of its own
        [sys.executable, "-m", "benchmarks.faults.lab", "--case", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "LAB_WORK": str(lab.work)},
    )
    assert done.returncode == 0 and "1 cases, 0 wrong" in done.stdout, done.stdout + done.stderr
