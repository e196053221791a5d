"""The state matrix: {error, SIGKILL, hang, ENOSPC, EIO, read-only} x every step x {enter, leave}, races and loops.

python -m benchmarks.faults.matrix [--only TEXT] [--part I/N] [--seed S --sample K] [--jobs N]

Every case is a real deployment of a second release to a local device. It must end on the old release or the new one,
whole and answering; the report and its exit code must say which; and a clean second run must converge.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.faults import bakes, races
from benchmarks.faults.devices import Device, WrongState, patience
from benchmarks.faults.interpose import calls_of, names_of
from benchmarks.faults.runner import parser_of, run_cases
from edgeship.deploy.deployment import Deployment
from edgeship.deploy.session import Session
from edgeship.progress import Silent
from edgeship.values import Bundle

STEPS = ("hello", "lease", "have", "put", "stage", "prove", "arm", "activate", "status", "confirm", "collect",
         "health", "revert")  # fmt: skip
FAULTS = ("error", "kill", "hang", "full", "eio", "readonly")
SIDES = ("enter", "leave")
NEEDS_MOUNT = ("full", "readonly")


class Listener(Silent):
    """A Progress that acts once, at the step whose text holds a word."""

    def __init__(self, word: str, action: Callable[[], Any]) -> None:
        self.word, self.action, self.done = word, action, False

    def step(self, text: str) -> None:
        if self.word in text and not self.done:
            self.done = True
            self.action()


@dataclass(frozen=True)
class Case:
    """One case: its name and what it does to a device."""

    name: str
    go: Callable[[Device], str | None]
    mounted: bool = False


def faulty_call(step: str, fault: str, side: str) -> Callable[[Device], None]:
    """Return the case of one helper call that goes wrong in one way."""

    def go(device: Device) -> None:
        recorded(device)
        old = device.serve_old()
        new = device.bundle()
        before = {"health": ["activate leave-hang"]}.get(step, [])
        kind = f"inject {eio(device, step, side)}" if fault == "eio" else f"{side}-{fault}"
        device.faults.plan(*before, f"{step} {kind}")
        with patience(races.PATIENCE) if fault == "hang" or step == "health" else patience(60):
            report = deploy_and_stop(device, new) if step == "revert" else device.deploy(new)
        carried_out = device.faults.clear()
        if not any(line.startswith(step) for line in carried_out):
            raise WrongState(f"the fault was never reached: {report.state}: {report.reason}")
        if fault == "full" and report.state == "degraded":  # space is held back so that this cannot be
            raise WrongState(f"{report.state}: {report.reason}")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def eio(device: Device, step: str, side: str) -> str:
    """Return strace's options: the storage fails at the step's first write-back for good, or at its last one.

    A step that writes nothing fails at its first, or its last, look at the device's files.
    """
    calls = recorded(device).get(step, [])
    for name in ("fsync", "openat"):
        numbers = [number for call, number in calls if call == name]
        if numbers:
            when = f"{numbers[0]}+" if side == "enter" else f"{numbers[-1]}"
            return f"-e trace={name} -e inject={name}:error=EIO:when={when}"
    raise WrongState(f"no call of {step} was recorded")


RECORDED: dict[str, list[tuple[str, int]]] = {}
CHANGING: dict[str, list[tuple[str, int]]] = {}
TOTAL: dict[str, Counter[str]] = {}


def recorded(device: Device) -> dict[str, list[tuple[str, int]]]:
    """Return verb -> its calls below the device's root, from clean calls."""
    if not RECORDED:
        device.serve_old()
        with device.faults.recording() as folder:
            new = device.bundle()
            deploy_and_stop(device, device.bundle())
            if device.deploy(new).state != "committed":
                raise WrongState("the recorded deployment failed")
            device.old = new
            with device.faults.active():
                Session(device.host, device.options, "kws").ask("health", ready_seconds=5, prove_seconds=20)
            for path in sorted(folder.glob("trace.*")):
                verb = path.suffix[1:]
                RECORDED.setdefault(verb, calls_of(path, device.root))
                TOTAL.setdefault(verb, names_of(path))
                CHANGING.setdefault(verb, calls_of(path, device.root, changing=True))
    return RECORDED


def deploy_and_stop(device: Device, new: Bundle) -> Any:
    """Deploy, and have the user stop it (as Ctrl-C does) just before the confirmation: the controller reverts."""
    work: list[Deployment] = []
    listener = Listener("confirming", lambda: work[0].interrupt())
    work.append(
        Deployment(device.host, device.options, listener, app=new.app, target=new.target, release=new.release)
    )
    with device.faults.active():
        return work[0].go(new)


def restart_at(step: str, side: str) -> Callable[[Device], None]:
    """Return the case of a device that loses power at a step, and starts again with another boot identity."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        device.faults.plan(f"{step} {side}-hang")
        reports: list[Any] = []
        options = replace(device.options, settle_seconds=1)
        thread = threading.Thread(target=lambda: reports.append(device.deploy(new, options)))
        with device.faults.active(), patience(30):
            thread.start()
            device.wait((device.faults.folder / "hung").exists, 40, f"{step} was never reached")
            device.restart()
            thread.join()
        device.faults.clear()
        device.old = device.judge(reports[0], old, new)
        device.converge(new)

    return go


def controller_dies(step: str, side: str) -> Callable[[Device], None]:
    """Return the case of a controller that is gone for good after a step: the device ends on its own."""

    def go(device: Device) -> None:
        from edgeship.remote.command import link_lost
        from edgeship.remote.local import LocalTransport

        old = device.serve_old()
        new = device.bundle()
        gone = threading.Event()
        whole = LocalTransport.run

        def run(self: Any, command: Any, progress: Any = None) -> Any:
            if gone.is_set():
                raise link_lost(device.host.text, "the controller is dead")
            done = whole(self, command, progress)
            if device.faults.clear():
                gone.set()
                raise link_lost(device.host.text, "the controller is dead")
            return done

        device.faults.plan(f"{step} {side}-kill")
        LocalTransport.run = run  # type: ignore[method-assign]
        try:
            report = device.deploy(new, replace(device.options, trial_seconds=5, settle_seconds=0.1))
        finally:
            LocalTransport.run = whole  # type: ignore[method-assign]
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def all_cases() -> list[Case]:
    """Return the whole matrix."""
    cases = [
        Case(f"{fault}-{side}-{step}", faulty_call(step, fault, side), fault in NEEDS_MOUNT)
        for fault in FAULTS
        for step in STEPS
        for side in SIDES
    ]
    early = [step for step in STEPS if step not in ("health", "revert")]
    cases += [
        Case(f"restart-{side}-{step}", restart_at(step, side), True) for step in early for side in SIDES
    ]
    cases += [
        Case(f"controller-gone-{side}-{step}", controller_dies(step, side))
        for step in early[4:]
        for side in SIDES
    ]
    offsets = (-1.5, -0.5, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.5)
    cases += [Case(f"confirm-race-{offset:+g}", races.confirm_race(offset)) for offset in offsets]
    cases += [
        Case(f"two-controllers-{delay:g}", races.two_controllers(delay))
        for delay in (0.0, 0.2, 0.5, 0.8, 1.1, 1.4)
    ]
    cases += [
        Case(f"stall-{step}", races.stalled(step))
        for step in ("lease", "stage", "arm", "activate", "confirm")
    ]
    cases += [
        Case("loop-dies-at-start", races.bad_release(serve="dies")),
        Case("loop-never-ready", races.bad_release(serve="hangs")),
        Case("loop-wrong-answers", races.bad_release(live="wrong")),
        Case("loop-reboots", races.reboot_loop(restart_at("activate", "leave")), True),
        Case("damaged-release-folder", races.damaged_folder()),
        Case("revert-past-a-newer-release", races.newest_is_not_the_last()),
        Case("dead-man-cannot-start", races.no_dead_man()),
        Case("orphaned-supervisor", races.orphaned_supervisor()),
        Case("dead-man-meets-failing-storage", races.failing_dead_man()),
        Case("dead-man-meets-a-full-disk", races.full_dead_man(), mounted=True),
        Case("bake-crash-loop", bakes.crash_loop),
        Case("bake-full-disk", bakes.full_disk, True),
        Case("bake-hook-killed-at-the-record", bakes.hook_dies("fsync:signal=KILL:when=1")),
        Case("bake-hook-killed-at-the-switch", bakes.hook_dies("rename:signal=KILL:when=1")),
        Case("bake-hook-meets-failing-storage", bakes.hook_dies("fsync:error=EIO:when=1+")),
        Case("bake-hook-gone-for-good", bakes.hook_is_gone),
        Case("bake-restart", bakes.power_goes, True),
    ]
    cases += [
        Case(f"bake-against-a-deployment-{delay:g}", bakes.against_a_deployment(delay))
        for delay in (0.0, 0.6, 1.2, 1.8)
    ]
    return cases


if __name__ == "__main__":
    sys.exit(run_cases(all_cases(), parser_of(__doc__ or "").parse_args()))
