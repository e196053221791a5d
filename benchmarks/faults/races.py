"""What is not a table: races for the lock, loops, storage that stalls, and single mistakes that each have a case."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.faults.devices import Device, WrongState, patience, slack
from edgeship.deploy import deploy
from edgeship.deploy.refusals import Refused
from edgeship.deploy.session import Session
from edgeship.progress import Silent
from edgeship.values import Bundle, Goal

PATIENCE = 4.0


def confirm_race(offset: float) -> Callable[[Device], None]:
    """Return the case of a confirmation `offset` seconds from the trial's deadline: one winner, and it is told so."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        with device.faults.active():
            deploy(new, device.host, replace(device.options, goal=Goal.STAGE), Silent())
            session = Session(device.host, device.options, "kws")
            fence = session.ask("lease", ready_seconds=5)["fence"]
            common = {"fence": fence, "tx": f"race{next(device.numbers)}"}
            session.ask(
                "arm", release=new.release, ttl=2 + 2 * slack(), service="supervised", listen=None, **common
            )
            seen = session.ask("activate", ready_seconds=5, prove_seconds=10, **common)
            if seen["reason"]:
                raise WrongState(seen["reason"])
            time.sleep(max(0.0, seen["seconds_left"] + offset))
            try:
                told = session.ask("confirm", restarts=seen["serving"]["restarts"], **common)["record"]
                won = told["state"] == "COMMITTED" and told["result"] == "committed"
            except Refused as refused:
                won = False
                told = refused.facts.get("record", {})
            session.close()
        device.wait(lambda: device.record()["state"] == "COMMITTED", 20, "no end of the race")
        ended = new if won else old
        if device.record()["to"] != ended.release:
            raise WrongState(f"confirm was told {told}, the device says {device.record()}")
        device.check_whole(ended)
        device.old = ended
        device.converge(new)

    return go


def two_controllers(delay: float) -> Callable[[Device], None]:
    """Return the case of two controllers that start `delay` seconds apart: one wins, the other changes nothing."""

    def go(device: Device) -> None:
        old = device.serve_old()
        first, second = device.bundle(), device.bundle()
        reports: dict[str, Any] = {}

        def run(name: str, bundle: Bundle) -> None:
            reports[name] = deploy(bundle, device.host, device.options, Silent())

        with device.faults.active():
            threads = [threading.Thread(target=run, args=("first", first))]
            threads.append(threading.Thread(target=run, args=("second", second)))
            threads[0].start()
            time.sleep(delay)
            threads[1].start()
            for thread in threads:
                thread.join()
        states = {name: report.state for name, report in reports.items()}
        record = device.record()
        by_release = {old.release: old, first.release: first, second.release: second}
        ended = by_release[record["to"]]
        told = {"first": first, "second": second}
        winners = [name for name, state in states.items() if state == "committed"]
        if record["state"] != "COMMITTED" or (winners and all(told[name] is not ended for name in winners)):
            raise WrongState(
                f"{states}, but the device says {record}: {[r.reason for r in reports.values()]}"
            )
        if not winners and ended is not old:
            raise WrongState(f"nobody won, and the device runs another release: {states}, {record}")
        if not set(states.values()) <= {"committed", "failed", "reverted"}:
            raise WrongState(f"{states}: {[r.reason for r in reports.values()]}")
        device.check_whole(ended)
        device.converge(second)

    return go


def bad_release(**behaviour: Any) -> Callable[[Device], None]:
    """Return the case of a release that fails in a loop: back on the old one, three times over, and no loop of ours."""

    def go(device: Device) -> None:
        old = device.serve_old()
        for _ in range(3):
            bad = device.bundle(**behaviour)
            report = device.deploy(bad, replace(device.options, ready_seconds=2 * slack()))
            if report.state != "reverted":
                raise WrongState(f"{report.state}: {report.reason}")
            device.judge(report, old, bad)
        device.converge(device.bundle())

    return go


def damaged_folder() -> Callable[[Device], None]:
    """Return the case of a release folder that is there under the right name with wrong content."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        device.deploy(new, replace(device.options, goal=Goal.STAGE))
        model = device.root / "apps/kws/releases" / new.release / "models/model.tflite"
        model.unlink()
        model.write_bytes(b"rotten")
        report = device.deploy(new)
        if report.state != "committed":
            raise WrongState(f"{report.state}: {report.reason}")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def newest_is_not_the_last() -> Callable[[Device], None]:
    """Return the case of going back while a newer release than the last one lies on the device, never run."""

    def go(device: Device) -> None:
        old = device.serve_old()
        device.deploy(device.bundle(), replace(device.options, goal=Goal.STAGE))
        bad = device.bundle(live="wrong")
        report = device.deploy(bad)
        if report.state != "reverted":
            raise WrongState(f"{report.state}: {report.reason}")
        device.old = device.judge(report, old, bad)
        device.converge(device.bundle())

    return go


def no_dead_man() -> Callable[[Device], None]:
    """Return the case of a dead-man that cannot start: nothing may be switched then."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        note = device.root / "apps/kws/run/deadman.json"
        note.unlink(missing_ok=True)
        (note / "in the way").mkdir(parents=True)
        try:
            report = device.deploy(new)
        finally:
            (note / "in the way").rmdir()
            note.rmdir()
        if report.state != "failed":
            raise WrongState(f"{report.state}: {report.reason}")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def orphaned_supervisor() -> Callable[[Device], None]:
    """Return the case of a supervising process that no record names: whoever started it was killed too early."""

    def go(device: Device) -> None:
        old = device.serve_old()
        (device.root / "apps/kws/run/supervisor.json").unlink()
        new = device.bundle()
        report = device.deploy(new)
        if report.state != "committed":
            raise WrongState(f"{report.state}: {report.reason}")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def armed(device: Device, new: Bundle, ttl: float) -> tuple[Session, dict[str, Any], dict[str, Any]]:
    """Stage a release and arm it, step by step; return (session, what names the trial, what the helper answered)."""
    deploy(new, device.host, replace(device.options, goal=Goal.STAGE), Silent())
    session = Session(device.host, device.options, "kws")
    fence = session.ask("lease", ready_seconds=5)["fence"]
    common = {"fence": fence, "tx": f"dead{next(device.numbers)}"}
    told = session.ask("arm", release=new.release, ttl=ttl, service="supervised", listen=None, **common)
    return session, common, told


def failing_dead_man() -> Callable[[Device], None]:
    """Return the case of a dead-man whose storage fails just when its time has come: it must try again."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        with device.faults.active():
            session, common, answer = armed(device, new, 6)
            fault = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1..2"]
            pid = str(answer["record"]["deadman"]["process"]["pid"])
            spy = subprocess.Popen(["strace", "-o", str(device.folder / "dead-man"), "-p", pid, *fault])
            if session.ask("activate", ready_seconds=5, prove_seconds=10, **common)["reason"]:
                raise WrongState("the trial did not begin")
        device.wait(lambda: device.record()["to"] == old.release, 30, "the dead-man gave up")
        device.wait(lambda: device.record()["state"] == "COMMITTED", 30, "the dead-man gave up")
        spy.wait(timeout=20)
        if "EIO" not in (device.folder / "dead-man").read_text():
            raise WrongState("the dead-man never met the fault")
        device.check_whole(old)
        device.converge(new)

    return go


def full_dead_man() -> Callable[[Device], None]:
    """Return the case of a disk that fills up during a trial and stays full: the dead-man goes back all the same."""

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        with device.faults.active():
            session, common, _ = armed(device, new, 4 + 2 * slack())
            if session.ask("activate", ready_seconds=5, prove_seconds=10, **common)["reason"]:
                raise WrongState("the trial did not begin")
        subprocess.run([str(device.faults.folder / "full")], check=True)
        device.wait(lambda: device.record()["state"] == "COMMITTED", 30, "it does not go back on a full disk")
        if device.record()["to"] != old.release:
            raise WrongState(f"back on something else: {device.record()}")
        device.check_whole(old)
        device.repair()
        device.converge(new)

    return go


def reboot_loop(restarted: Callable[[Device], None]) -> Callable[[Device], None]:
    """Return the case of a device that starts again and again, the first time during a trial (`restarted`)."""

    def go(device: Device) -> None:
        restarted(device)
        after = device.old
        assert after is not None
        for _ in range(3):
            device.restart()
            device.wait(lambda: device.answers() == after.release, 10, "nothing serves after a restart")
            if device.record()["state"] != "COMMITTED":
                raise WrongState(f"after a restart: {device.record()}")

    return go


def stalled(step: str) -> Callable[[Device], None]:
    """Return the case of storage that stalls for 8 s in a step, longer than the controller waits, and then goes on.

    The helper is not killed with the controller's connection: it wakes up later, with the lock in its hand.
    """

    def go(device: Device) -> None:
        old = device.serve_old()
        new = device.bundle()
        device.faults.plan(f"{step} stall -e trace=fsync -e inject=fsync:delay_enter=8000000:when=2")
        with patience(PATIENCE):
            report = device.deploy(new, replace(device.options, settle_seconds=20))
        if not device.faults.clear():
            raise WrongState("the stall was never reached")
        device.wait(lambda: not any(True for _ in stalled_calls(device)), 20, "the stalled call stays")
        device.old = device.judge(report, old, new)
        device.converge(new)

    return go


def stalled_calls(device: Device) -> list[int]:
    """Return the helper calls that strace still holds."""
    return [pid for pid in device.processes() if b"strace" in Path(f"/proc/{pid}/cmdline").read_bytes()]
