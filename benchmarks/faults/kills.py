"""SIGKILL of the helper at each call on the device's files, and at random times.

python -m benchmarks.faults.kills [--part I/N] [--jobs N]   at each call of stage, activate, confirm, revert
python -m benchmarks.faults.kills --random 1000 [--seed S]  at random times of random calls
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults import matrix
from benchmarks.faults.devices import Device, WrongState
from benchmarks.faults.runner import parser_of, run_cases
from benchmarks.faults.workers import can_mount
from edgeship.deploy.session import Session

ATTEMPTS = 4
VERBS = ("stage", "activate", "confirm", "revert")
SECONDS = {"hello": 0.06, "lease": 0.06, "put": 0.07, "stage": 0.08, "prove": 0.12, "arm": 0.14, "activate": 0.25,
           "status": 0.06, "confirm": 0.06, "collect": 0.06, "revert": 0.25}  # fmt: skip
"""What each call takes on a device whose pace is 1; kills are drawn from 0 to 1.4 times that."""


@contextmanager
def known_facts() -> Iterator[None]:
    """Probe a device once only: what it is does not change, and nothing is killed there."""
    whole, known = Session.probe, _FACTS

    def probe(self: Session, *interpreter: str) -> Any:
        key = (self.root, *interpreter)
        if key not in known:
            known[key] = whole(self, *interpreter)
        return known[key]

    Session.probe = probe  # type: ignore[method-assign]
    try:
        yield
    finally:
        Session.probe = whole  # type: ignore[method-assign]


_FACTS: dict[tuple[str, ...], Any] = {}


def kill_at(verb: str, call: str, number: int) -> Callable[[Device], str]:
    """Return the case of a helper that is killed at the entry of one of its system calls.

    How often it looks whether a service is ready, differs from run to run. A run with fewer calls of the name than the
    recorded one is through before the kill; then the call is counted from the end.
    """

    def go(device: Device) -> str:
        at = number
        with known_facts():
            for _ in range(ATTEMPTS):
                old = device.serve_old()
                new = device.bundle()
                device.faults.plan(f"{verb} inject -e trace={call} -e inject={call}:signal=KILL:when={at}")
                report = matrix.deploy_and_stop(device, new) if verb == "revert" else device.deploy(new)
                if not device.faults.clear():
                    raise WrongState(f"{verb} was never asked for: {report.state}: {report.reason}")
                seen = (device.faults.folder / "injected").read_text()
                device.old = device.judge(report, old, new)
                device.converge(new)
                if "killed by SIGKILL" in seen:
                    return "killed"
                calls = sum(line.startswith(f"{call}(") for line in seen.splitlines())
                at = max(1, min(at - 1, calls - (matrix.TOTAL[verb][call] - number)))
        raise WrongState(f"it was never killed: {report.state}: {report.reason}")

    return go


def kill_later(verb: str, part: float) -> Callable[[Device], str]:
    """Return the case of a helper call that is killed after a part of the time it takes, if it still runs then."""

    def go(device: Device) -> str:
        with known_facts():
            old = device.serve_old()
            new = device.bundle()
            device.faults.plan(f"{verb} later {part * SECONDS[verb] * device.pace:.4f}")
            report = matrix.deploy_and_stop(device, new) if verb == "revert" else device.deploy(new)
            if not device.faults.clear():
                raise WrongState(f"{verb} was never asked for: {report.state}: {report.reason}")
            killed = (device.faults.folder / "killed").exists()
            device.old = device.judge(report, old, new)
            device.converge(new)
        return "killed" if killed else "through before the kill"

    return go


def each_call(*, changing: bool) -> list[matrix.Case]:
    """Return one case a call, from a recording on this machine; `changing`: those that change files or lock only."""
    with tempfile.TemporaryDirectory(prefix="edgeship-faults-") as folder:
        device = Device(Path(folder) / "recorded", mounted=can_mount())
        try:
            matrix.recorded(device)
        finally:
            device.close()
    calls = matrix.CHANGING if changing else matrix.RECORDED
    return [
        matrix.Case(f"kill-{verb}-{index:03d}-{call}-{number}", kill_at(verb, call, number))
        for verb in VERBS
        for index, (call, number) in enumerate(calls[verb])
    ]


def at_random(count: int, seed: int) -> list[matrix.Case]:
    """Return `count` cases with a verb and a part of its time drawn by seed, verbs by how long they take."""
    draw = random.Random(seed)
    cases = []
    for number in range(count):
        (verb,) = draw.choices(list(SECONDS), list(SECONDS.values()))
        part = draw.uniform(0, 1.4)
        cases.append(matrix.Case(f"random-{seed}-{number:04d}-{verb}-{part:.2f}", kill_later(verb, part)))
    return cases


def main(arguments: list[str]) -> int:
    """Run one of the two campaigns."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--random", type=int, metavar="N", help="N kills at random times instead")
    parser.add_argument(
        "--changing", action="store_true", help="only at calls that change files or take a lock"
    )
    given = parser.parse_args(arguments)
    if given.random:
        return run_cases(at_random(given.random, given.seed), given, must="killed")
    return run_cases(each_call(changing=given.changing), given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
