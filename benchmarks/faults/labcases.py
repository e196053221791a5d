"""What is done to a device of the lab, and exactly when: the cases of `lab`, each a function of a device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.faults.devices import WrongState, load_bench, patience
from benchmarks.faults.labdevice import LabDevice
from edgeship.bundle.sign import new_key, public_key, sign
from edgeship.deploy.trust import change_trust
from edgeship.progress import Silent
from edgeship.values import Bundle, DeployReport

Strike = Callable[[LabDevice], Any]
Go = Callable[[LabDevice], None]


class Holder(Silent):
    """A Progress that holds the controller at the first step whose text has a word."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.reached, self.go = threading.Event(), threading.Event()

    def step(self, text: str) -> None:
        if self.word and self.word in text and not self.reached.is_set():
            self.reached.set()
            self.go.wait(60)


@dataclass(frozen=True)
class Point:
    """A moment of a deployment: a helper call held as it begins or ends, a step of the controller, or what can be seen.

    `call`: "enter-VERB" or "leave-VERB"; the verb `ship` is the helper's own delivery.
    """

    name: str
    call: str = ""
    step: str = ""
    seen: Callable[[LabDevice, Bundle], Any] | None = None


@dataclass
class Run:
    """A deployment under way in a thread."""

    device: LabDevice
    new: Bundle
    thread: threading.Thread
    holder: Holder
    reports: list[DeployReport] = field(default_factory=list)

    def reach(self, point: Point) -> None:
        """Wait until the deployment is at `point`."""

        def there() -> bool:
            if not self.thread.is_alive():
                told = self.reports[0] if self.reports else None
                raise WrongState(f"{point.name} was never reached: {told and (told.state, told.reason)}")
            if point.seen is not None:
                return bool(point.seen(self.device, self.new))
            return self.holder.reached.is_set() if point.step else self.device.faults.reached()

        self.device.until(there, 60 * self.device.slow, f"{point.name} was never reached")

    def let_go(self) -> None:
        """Let what is held go on."""
        self.device.faults.let_go()
        self.holder.go.set()

    def report(self) -> DeployReport:
        """Return the report once the controller is through."""
        self.thread.join(240 * self.device.slow)
        if self.thread.is_alive() or not self.reports:
            raise WrongState("the controller never ended")
        return self.reports[0]


@contextmanager
def deploying(device: LabDevice, new: Bundle, point: Point, options: Mapping[str, Any]) -> Iterator[Run]:
    """Deploy in a thread that can be held at `point`."""
    if point.call:
        side, _, verb = point.call.partition("-")
        device.faults.plan(f"{verb} {side}-wait")
    chosen = replace(device.options, **options)
    holder = Holder(point.step)
    thread = threading.Thread(
        target=lambda: run.reports.append(device.deploy(new, chosen, holder)), daemon=True
    )
    run = Run(device, new, thread, holder)
    thread.start()
    try:
        yield run
    finally:
        run.let_go()


def struck(
    point: Point,
    strike: Strike,
    may: str,
    *,
    later: float | None = None,
    mend: Strike | None = None,
    before: Strike | None = None,
    first: bool = False,
    reason: str = "",
    behaviour: Mapping[str, Any] | None = None,
    answers_within: float = 45.0,
    **options: Any,
) -> Go:
    """Return the case of a deployment to which `strike` happens at `point`, and `mend` `later` seconds after.

    `may`: the states the report may have. `reason`: words that must stand in it. `before`: what is done beforehand.
    """

    def go(device: LabDevice) -> None:
        old = None if first else device.serve_old()
        new = device.bundle(**(behaviour or {}))
        with patience(answers_within * device.slow):
            if before:
                before(device)
            with deploying(device, new, point, options) as run:
                run.reach(point)
                strike(device)
                run.let_go()
                if mend:
                    time.sleep(later or 0.0)
                    mend(device)
                report = run.report()
        finish(device, report, may.split(), old, new, reason)

    return go


def finish(
    device: LabDevice, report: DeployReport, may: list[str], old: Bundle | None, new: Bundle, reason: str = ""
) -> None:
    """Judge the report and the device, and converge."""
    if report.state not in may or reason not in report.reason:
        raise WrongState(
            f"{report.state}, not {'/'.join(may)} {reason!r}: {report.reason}; {device.record()}"
        )
    device.old = device.judge(report, old, new)
    device.converge(new)


# --- points ---


def held(call: str) -> Point:
    """Return the point at which a helper call is held."""
    return Point(call, call=call)


def record_says(state: str) -> Point:
    """Return the moment at which the record of the new release's trial has a state."""

    def seen(device: LabDevice, new: Bundle) -> bool:
        record = device.record()
        return bool(record["state"] == state and record["to"] == new.release)

    return Point(f"record-{state.lower()}", seen=seen)


NEW_ANSWERS = Point("new-answers", seen=lambda device, new: device.answers() == new.release)
START = Point("start", seen=lambda device, new: True)


# --- strikes ---


def fault(kind: str, argument: str | None = None) -> Strike:
    """Return a fault of the lab."""
    return lambda device: device.lab.fault(kind, argument)


def power_cut(device: LabDevice) -> None:
    """Cut the power and switch it on again."""
    device.off()
    device.on()


def real_reboot(device: LabDevice) -> None:
    """Reboot as a user there does; the lab's machine stays off and is switched on again."""
    device.lab.exec("systemctl", "reboot")
    device.until(lambda: not device.lab.pid, 60 * device.slow, "the device never went down")
    device.on()


def cut_in_recovery(moment: str, times: int = 1) -> Strike:
    """Return a power cut, and another one while the device recovers at its start: at `moment`, `times` times.

    `moment`: "reverting" as soon as the record says so, or milliseconds after the recovery began.
    """

    def recovering(device: LabDevice) -> bool:
        return any(
            b"\0boot\0/var/lib" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in device.lab.nspids()
        )

    def reverting(device: LabDevice) -> bool:
        record = device.record()
        return bool(record["state"] == "REVERTING" or record.get("result") == "reverted")

    def strike(device: LabDevice) -> None:
        device.off()
        for _ in range(times):
            device.lab.start(wait=False)
            if moment == "reverting":
                device.until(lambda: reverting(device), 60, "recovery never began")
            else:
                device.until(lambda: recovering(device), 60, "recovery never began")
                time.sleep(float(moment) / 1000)
            device.off()
        device.on()

    return strike


def unsigned_no_more(device: LabDevice) -> None:
    """Tell the device to take releases of one key only, and have ours signed by it, for 30 days."""
    key = device.folder / "signer"
    if key.exists():
        return
    new_key(key, comment="signer", passphrase=False)
    public = public_key(key)
    change_trust(
        device.host,
        device.options,
        signers=[{"name": "signer", "key": public.line}],
        changes={"unsigned": "refuse"},
    )
    device.seal = lambda bundle: sign(bundle, key, days=30)


def signed(go: Go) -> Go:
    """Return a case on a device that takes signed releases only."""

    def then(device: LabDevice) -> None:
        unsigned_no_more(device)
        go(device)

    return then


# --- controllers ---


def controller_killed(call: str) -> Go:
    """Return the case of a controller that is killed during a call, and a second one that comes at once."""

    def go(device: LabDevice) -> None:
        old, first, second = device.serve_old(), device.bundle(), device.bundle()
        side, _, verb = call.partition("-")
        device.faults.plan(f"{verb} {side}-wait")
        process = load_bench().start_controller(device.folder, first, device.host, device.options)
        device.until(device.faults.reached, 60, f"{call} was never reached")
        process.kill()
        process.communicate()
        device.faults.let_go()
        report = device.deploy(second)
        ends = ("COMMITTED", "NONE")
        device.wait(
            lambda: device.record()["state"] in ends, device.end_seconds, "the first one's trial never ended"
        )
        ended = {bundle.release: bundle for bundle in (old, first, second)}[device.record()["to"]]
        confirmed = verb in ("confirm", "collect")
        if report.state not in ("committed", "failed", "reverted"):
            raise WrongState(f"the second controller: {report.state}: {report.reason}")
        if (report.state == "committed") != (ended is second) or (ended is first and not confirmed):
            raise WrongState(f"the second controller: {report.state}: {report.reason}; {device.record()}")
        device.check_whole(ended)
        device.converge(second)

    return go


def key_changes_before(device: LabDevice) -> None:
    """Check that nothing is done on a device whose host key is another one."""
    old, new = device.serve_old(), device.bundle()
    seen = device.record()
    device.change_key()
    report = device.deploy(new)
    if (
        device.record() != seen
        or "HAS CHANGED" not in report.reason
        or "ssh-keygen -R" not in str(report.hint)
    ):
        raise WrongState(f"{report}; {device.record()}")
    finish(device, report, ["failed"], old, new)
