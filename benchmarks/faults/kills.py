"""SIGKILL of the helper at each call that changes files, and at random times.

python -m benchmarks.faults.kills [--part I/N]              at each call of stage, activate, confirm, revert
python -m benchmarks.faults.kills --random 1000 [--seed S]                 at random times of random calls
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import matrix
from benchmarks.faults.devices import Device, WrongState
from benchmarks.faults.runner import can_mount, run_cases

VERBS = ("stage", "activate", "confirm", "revert")
SECONDS = {"hello": 0.1, "lease": 0.1, "put": 0.1, "stage": 0.1, "prove": 0.2, "arm": 0.2, "activate": 0.5,
           "status": 0.1, "confirm": 0.15, "collect": 0.1, "revert": 0.5}  # fmt: skip
"""About what each call takes on an idle x86; kills are drawn from 0 to 1.1 times that."""


def kill_at(verb: str, call: str, number: int) -> Callable[[Device], None]:
    """Return the case of a helper that is killed at the entry of one of its system calls."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        device.faults.plan(f"{verb} inject -e trace={call} -e inject={call}:signal=KILL:when={number}")
        report = matrix.deploy_and_stop(device, new) if verb == "revert" else device.deploy(new)
        if (
            not device.faults.clear()
            or "killed by SIGKILL" not in (device.faults.folder / "injected").read_text()
        ):
            raise WrongState(f"it was never killed: {report.state}: {report.reason}")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def kill_later(verb: str, seconds: float) -> Callable[[Device], None]:
    """Return the case of a helper call that is killed after some time, if it still runs then."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        device.faults.plan(f"{verb} later {seconds:.4f}")
        report = matrix.deploy_and_stop(device, new) if verb == "revert" else device.deploy(new)
        device.faults.clear()
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def each_call() -> list[matrix.Case]:
    """Return one case a call, from a recording on this machine."""
    with tempfile.TemporaryDirectory(prefix="edgeship-faults-") as folder:
        device = Device(Path(folder) / "recorded", mounted=can_mount())
        try:
            matrix.recorded(device)
        finally:
            device.close()
    return [
        matrix.Case(f"kill-{verb}-{index:03d}-{call}-{number}", kill_at(verb, call, number))
        for verb in VERBS
        for index, (call, number) in enumerate(matrix.CHANGING[verb])
    ]


def at_random(count: int, seed: int) -> list[matrix.Case]:
    """Return `count` cases with a verb and a time drawn by seed, verbs by how long they take."""
    draw = random.Random(seed)
    cases = []
    for number in range(count):
        (verb,) = draw.choices(list(SECONDS), list(SECONDS.values()))
        seconds = draw.uniform(0, 1.1 * SECONDS[verb])
        cases.append(
            matrix.Case(f"random-{seed}-{number:04d}-{verb}-{seconds:.3f}", kill_later(verb, seconds))
        )
    return cases


def main(arguments: list[str]) -> int:
    """Run one of the two campaigns."""
    if "--random" in arguments:
        at = arguments.index("--random")
        count, rest = int(arguments[at + 1]), arguments[:at] + arguments[at + 2 :]
        seed = int(rest[rest.index("--seed") + 1]) if "--seed" in rest else 1
        return run_cases(at_random(count, seed), rest, __doc__ or "")
    return run_cases(each_call(), arguments, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
