"""After the confirmation: a crash loop that goes back by itself, with the hook, its storage and its device failing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.devices import Device, WrongState
from edgeship.deploy import deploy
from edgeship.progress import Silent
from edgeship.values import Bundle

PATIENCE = 90.0


def confirmed(device: Device) -> tuple[Bundle, Bundle, Path]:
    """Return (old, new, flag): the new release is confirmed and watched, and crashes while `flag` is there."""
    old = device.serve_old()
    flag = device.folder / "trouble"
    flag.unlink(missing_ok=True)
    new = device.bundle(serve="dies later", after=0.5, only_if=str(flag))
    report = device.deploy(new, replace(device.options, bake_seconds=300, bake_restarts=0))
    if report.state != "committed":
        raise WrongState(f"{report.state}: {report.reason}")
    return old, new, flag


def went_back(device: Device, old: Bundle) -> None:
    """Wait until the device is back on the old release by itself and says so; then a clean run must converge."""
    device.wait(
        lambda: device.record().get("result") == "went-back", PATIENCE, "it did not go back by itself"
    )
    record = device.record()
    if record["state"] != "COMMITTED" or record["to"] != old.release:
        raise WrongState(f"it went back to something else: {record}")
    if "went back by itself after the confirmation" not in str(record["reason"]):
        raise WrongState(f"it does not say so: {record}")
    device.repair()
    device.check_whole(old)
    device.old = old
    (device.folder / "trouble").unlink(missing_ok=True)
    device.converge(device.bundle())


def crash_loop(device: Device) -> None:
    """A release that crashes again and again after its confirmation, nothing else."""
    old, _, flag = confirmed(device)
    flag.touch()
    went_back(device, old)


def full_disk(device: Device) -> None:
    """The disk is full to the last block when the crash loop begins: the space held back must be enough."""
    old, _, flag = confirmed(device)
    subprocess.run([str(device.faults.folder / "full")], check=True)
    flag.touch()
    went_back(device, old)


@contextmanager
def hook_at_the_lock(device: Device, flag: Path) -> Iterator[int]:
    """Yield the pid of a hook that waits for the device's lock; the lock is free again at the end."""
    descriptor = os.open(device.root / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        flag.touch()
        device.wait(lambda: hooks(device, b"breach"), PATIENCE, "no hook was started")
        yield hooks(device, b"breach")[0]
    finally:
        os.close(descriptor)


def hooks(device: Device, kind: bytes) -> list[int]:
    """Return the device's processes of one kind: `breach`, the hook, or `keeper`, which starts it again."""
    found = []
    for pid in device.processes():
        with contextlib.suppress(OSError):
            if kind in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def hook_dies(fault: str) -> Callable[[Device], None]:
    """Return the case of a hook that meets `fault` (strace's words) at a call: another one goes on."""

    def go(device: Device) -> None:
        old, _, flag = confirmed(device)
        trace = device.folder / "hook"
        with hook_at_the_lock(device, flag) as pid:
            call = fault.split(":")[0]
            words = [
                "strace",
                "-o",
                str(trace),
                "-p",
                str(pid),
                "-e",
                f"trace={call}",
                "-e",
                f"inject={fault}",
            ]
            spy = subprocess.Popen(words, stderr=subprocess.DEVNULL)
            tracer = f"/proc/{pid}/status"
            device.wait(
                lambda: f"TracerPid:\t{spy.pid}" in Path(tracer).read_text(), 20, "strace did not get there"
            )
        went_back(device, old)
        spy.wait(timeout=20)
        if "INJECTED" not in trace.read_text() and "SIGKILL" not in trace.read_text():
            raise WrongState("the hook never met the fault")

    return go


def hook_is_gone(device: Device) -> None:
    """Every hook is killed half way, and who would start it again: the next start of the device finishes it."""
    old, _, flag = confirmed(device)
    with hook_at_the_lock(device, flag) as pid:
        pass
    device.wait(lambda: device.record()["state"] == "REVERTING", PATIENCE, "it did not begin to go back")
    for kind in (b"keeper", b"breach"):
        for pid in hooks(device, kind):
            os.kill(pid, signal.SIGKILL)
    device.restart()
    went_back(device, old)


def power_goes(device: Device) -> None:
    """The device restarts while it is watched: the crash loop that only then begins is caught all the same."""
    old, new, flag = confirmed(device)
    device.restart()
    device.wait(lambda: device.answers() == new.release, PATIENCE, "nothing serves after the restart")
    flag.touch()
    device.wait(lambda: device.answers() != new.release, PATIENCE, "it does not crash")
    record = device.record()
    if record["bake"]["release"] != new.release or record["bake"]["starts"] != 2:
        raise WrongState(f"the watch was not opened anew: {record}")
    device.restart()
    if device.record()["bake"]["starts"] != 1:
        raise WrongState(f"the watch was not opened anew: {device.record()}")
    flag.unlink()
    device.wait(lambda: device.answers() == new.release, PATIENCE, "nothing serves after the restart")
    device.old = new
    device.converge(device.bundle())
    if old is device.old:
        raise WrongState("it went back without a crash loop of this start")


def against_a_deployment(delay: float) -> Callable[[Device], None]:
    """Return the case of a crash loop that begins `delay` seconds into another deployment: one of them wins, whole."""

    def go(device: Device) -> None:
        old, second, flag = confirmed(device)
        third = device.bundle()
        timer = threading.Timer(delay, flag.touch)
        timer.start()
        with device.faults.active():
            report = deploy(third, device.host, device.options, Silent())
        timer.join()
        device.wait(lambda: device.record()["state"] in ("COMMITTED", "DEGRADED"), PATIENCE, "no end")
        record = device.record()
        if report.state == "committed":
            ended = third
        elif report.state in ("failed", "reverted"):
            device.wait(
                lambda: device.record().get("result") == "went-back", PATIENCE, "it stays on a crash loop"
            )
            ended = old
        else:
            raise WrongState(f"{report.state}: {report.reason}; {record}")
        time.sleep(2)
        if device.record()["to"] != ended.release or device.record()["to"] == second.release:
            raise WrongState(f"{report.state}: {report.reason}, but the device says {device.record()}")
        device.check_whole(ended)
        device.old = ended
        device.converge(third)

    return go
