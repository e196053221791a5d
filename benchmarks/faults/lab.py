"""Faults on the lab's simulated devices: power, link, restarts, clocks, full and broken disks, host keys, controllers.

LAB_WORK=DIR python -m benchmarks.faults.lab [--only TEXT] [--part I/N] [--sample N --seed S]

Every case is a real deployment over real OpenSSH to a device of its own (systemd, ext4 that forgets what was not
fsynced). It must end on the old release or the new one, whole and answering; the report, its exit code, and `status`
afterwards must say which; and a clean second run must converge. Needs root and the lab's images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.faults import labcases as do
from benchmarks.faults import labclock, races
from benchmarks.faults.labcases import Point, fault, held, struck
from benchmarks.faults.labdevice import LabDevice, LabPark
from benchmarks.faults.runner import run_cases

VERBS = ("hello", "lease", "have", "put", "stage", "prove", "arm", "activate", "status", "confirm", "collect")
CALLS = tuple(f"{side}-{verb}" for verb in VERBS for side in ("enter", "leave"))
LATE = CALLS[CALLS.index("enter-arm") :]
BALLAST = {"ballast": b"edgeship" * 400_000}


@dataclass(frozen=True)
class Case:
    """One case, and the kind of device it needs; `first`: one that nothing was ever deployed to."""

    name: str
    go: Callable[[Any], None]
    kind: str = "systemd"
    first: bool = False
    mounted: bool = True


def ends(call: str, *, first: bool = False) -> str:
    """Return the states that a report may have after a device lost power, or restarted, during a call."""
    verb = call.partition("-")[2]
    if call == "leave-confirm" or verb == "collect":
        return "committed"
    if verb in ("activate", "status", "confirm"):
        return "reverted failed"
    return "failed committed" if verb in ("have", "put", "stage") else "failed"


def power() -> Iterator[Case]:
    """Yield power cuts in every step, of a first deployment and of an upgrade, and during boot recovery itself."""
    for call in CALLS:
        yield Case(f"power-{call}", struck(held(call), do.power_cut, ends(call)))
        yield Case(
            f"first-power-{call}", struck(held(call), do.power_cut, ends(call), first=True), first=True
        )
    for point in (
        Point("preflight", step="checking the device"),
        held("enter-ship"),
        held("leave-ship"),
        Point("lease-step", step="taking the lease"),
    ):
        go = struck(point, do.power_cut, "failed", first=True)
        yield Case(f"first-power-{point.name}", go, first=True)
    for state, may in (
        ("ARMED", "failed"),
        ("TRIAL", "reverted failed"),
        ("COMMITTED", "committed"),
    ):
        point = do.record_says(state)
        yield Case(f"power-{point.name}", struck(point, do.power_cut, may))
        yield Case(f"first-power-{point.name}", struck(point, do.power_cut, may, first=True), first=True)
    yield Case(
        "power-new-answers", struck(do.NEW_ANSWERS, do.power_cut, "reverted", behaviour={"prove_seconds": 2})
    )
    for moment in ("reverting", "0", "15", "30", "60", "100", "150", "250"):
        strike = do.cut_in_recovery(moment)
        for first in (False, True):
            go = struck(held("leave-activate"), strike, "reverted", first=first)
            yield Case(f"{'first-' if first else ''}power-in-recovery-{moment}", go, first=first)
    yield Case(
        "power-in-recovery-thrice",
        struck(held("leave-activate"), do.cut_in_recovery("reverting", 3), "reverted"),
    )


def links() -> Iterator[Case]:
    """Yield links that die, in time or not restored in time, refused, slow; sshd killed; a frozen device."""
    restore = fault("restore")
    for call in CALLS:
        verb = call.partition("-")[2]
        sure = verb in ("status", "confirm", "collect") or call == "leave-activate"
        may = "committed" if sure else "committed failed"  # an answer may come late instead of never
        may = "committed failed reverted" if call in ("leave-arm", "enter-activate") else may
        yield Case(f"cut-{call}", struck(held(call), fault("cut"), may, later=7, mend=restore), "plain")
    for call in LATE[1:]:
        may = "committed" if call.endswith("collect") else "unknown"
        go = struck(held(call), fault("cut"), may, settle_seconds=1)
        yield Case(f"cut-for-good-{call}", go, "systemd" if "confirm" in call else "plain")
    for call in ("enter-hello", "leave-prove"):
        yield Case(f"cut-for-good-{call}", struck(held(call), fault("cut"), "failed"), "plain")
    for call in ("leave-activate", "leave-confirm"):  # as long as the product itself is ready to wait
        go = struck(
            held(call), fault("cut"), "reverted" if "act" in call else "committed", later=25, mend=restore
        )
        yield Case(f"cut-past-the-trial-{call}", go)
    for size in ("20K", "1M", "2500K"):
        go = struck(do.START, lambda device: None, "committed failed", before=fault("cut-after", size),
                    later=6, mend=restore, behaviour=BALLAST)  # fmt: skip
        yield Case(f"cut-after-{size}", go, "plain")
    for call in (
        "leave-hello",
        "enter-put",
        "leave-arm",
        "enter-activate",
        "leave-activate",
        "leave-confirm",
    ):
        sure = {"leave-activate": "committed", "leave-confirm": "committed", "leave-arm": "failed reverted"}
        may = sure.get(call, "committed failed reverted")
        yield Case(
            f"refused-{call}", struck(held(call), fault("refuse"), may, later=3, mend=restore), "plain"
        )
        if call != "leave-hello":
            go = struck(held(call), fault("kill-sshd"), may, later=3, mend=fault("start-sshd"))
            yield Case(f"sshd-killed-{call}", go, "plain")
            yield Case(f"sshd-killed-{call}-systemd", go)
    for call in ("enter-put", "enter-arm", "leave-activate", "leave-confirm"):
        may = "committed" if call in ("leave-activate", "leave-confirm") else "failed committed"
        go = struck(held(call), LabDevice.freeze, may, later=7, mend=LabDevice.thaw, answers_within=4)
        yield Case(f"frozen-{call}", go)
    for call in ("enter-activate", "leave-activate", "leave-confirm"):
        go = struck(held(call), LabDevice.freeze, "unknown", answers_within=4, settle_seconds=1)
        yield Case(f"frozen-for-good-{call}", go)
    yield Case("slow-link", struck(do.START, lambda device: None, "committed", before=fault("rate", "300"),
                                   behaviour=BALLAST), "plain")  # fmt: skip
    yield Case("lossy-link", struck(do.START, lambda device: None, "committed failed", before=fault("loss", "5"),
                                    behaviour=BALLAST), "plain")  # fmt: skip


def restarts() -> Iterator[Case]:
    """Yield devices that start again in the middle, by themselves or by a user's word."""
    for call in LATE:
        yield Case(f"reboot-{call}", struck(held(call), fault("reboot"), ends(call)))
    for call in ("leave-arm", "leave-activate"):
        yield Case(f"sudo-reboot-{call}", struck(held(call), do.real_reboot, ends(call)))


def ahead(device: LabDevice) -> None:
    """Let the clock be 400 days ahead."""
    device.jump(400 * 86_400)


def to_1970(device: LabDevice) -> None:
    """Let the clock begin at 1970."""
    device.jump(labclock.to_1970())


def clocks() -> Iterator[Case]:
    """Yield clocks that are 400 days ahead or at 1970, before a deployment and from the middle of a trial on."""
    for name, jump in (("ahead", ahead), ("1970", to_1970)):
        may, reason = ("committed", "") if name == "ahead" else ("failed", "preflight-clock")
        for first in (False, True):
            go = struck(do.START, lambda device: None, may, before=jump, reason=reason, first=first)
            yield Case(f"{'first-' if first else ''}clock-{name}", go, first=first)
        for call in ("leave-lease", "leave-arm", "leave-activate", "leave-status"):
            yield Case(f"clock-{name}-{call}", struck(held(call), jump, "committed"))
        gone = struck(held("leave-activate"), both(jump, fault("cut")), "unknown", settle_seconds=1)
        yield Case(f"clock-{name}-and-link-cut", gone)
        reboot = struck(held("leave-activate"), both(jump, do.power_cut), "reverted")
        yield Case(f"clock-{name}-and-power-cut", reboot)
    for name, point, strike, before, may, reason in (
        ("ahead", do.START, None, ahead, "failed", "signature-expired"),
        ("1970", do.START, None, to_1970, "failed", "preflight-clock"),
        ("ahead-leave-lease", held("leave-lease"), ahead, None, "failed", "signature-expired"),
        ("ahead-leave-prove", held("leave-prove"), ahead, None, "failed", "signature-expired"),
        ("ahead-leave-arm", held("leave-arm"), ahead, None, "committed", ""),
        ("1970-leave-lease", held("leave-lease"), to_1970, None, "committed", ""),
        ("ahead-and-power-cut", held("leave-activate"), both(ahead, do.power_cut), None, "reverted", ""),
    ):  # fmt: skip
        go = struck(point, strike or (lambda device: None), may, before=before, reason=reason)
        yield Case(f"signed-clock-{name}", do.signed(go), "signed")


def both(one: do.Strike, other: do.Strike) -> do.Strike:
    """Return two strikes, one right after the other."""

    def strike(device: LabDevice) -> None:
        one(device)
        other(device)

    return strike


def disks() -> Iterator[Case]:
    """Yield disks that fill up, turn read-only, and fail, during a call."""
    for call in CALLS:
        may = "committed failed reverted"
        yield Case(f"full-{call}", struck(held(call), fault("fill"), may))
        if call.partition("-")[2] in ("put", "stage", "arm", "activate", "confirm"):
            begun = call.partition("-")[2] not in ("put", "stage")
            lost = "committed failed reverted degraded unknown" if begun else "committed failed"
            go = struck(held(call), fault("ro"), lost, answers_within=10, settle_seconds=3)
            yield Case(f"read-only-{call}", go)
            go = struck(held(call), fault("ext4-error"), lost, answers_within=10, settle_seconds=3)
            yield Case(f"ext4-error-{call}", go)
            go = struck(held(call), fault("io-error"), lost, answers_within=10, settle_seconds=3)
            yield Case(f"io-error-{call}", go)
    go = struck(do.START, lambda device: None, "failed", before=fault("fill"), first=True)
    yield Case("first-full", go, first=True)


def keys() -> Iterator[Case]:
    """Yield devices whose host key changes: nothing is confirmed over a key that nobody vouched for."""
    change, back = LabDevice.change_key, LabDevice.give_key_back
    point, words = held("leave-activate"), "HAS CHANGED"
    yield Case("key-before", do.key_changes_before)
    yield Case("key-before-confirm", struck(point, change, "unknown", settle_seconds=5, reason=words))
    yield Case(
        "key-before-confirm-in-time", struck(point, change, "reverted", later=5, mend=back, reason=words)
    )
    yield Case("key-past-the-trial", struck(point, change, "reverted", later=25, mend=back))
    lost = both(change, fault("kill-sessions"))
    for call in ("leave-confirm", "enter-collect"):
        may = "unknown" if "confirm" in call else "committed"
        yield Case(f"key-{call}", struck(held(call), lost, may, settle_seconds=5))
    yield Case("key-after-power-cut", struck(point, both(do.power_cut, change), "unknown", settle_seconds=5))


def controllers() -> Iterator[Case]:
    """Yield two controllers at once, and one that is killed with a second one coming."""
    for delay in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
        yield Case(f"two-controllers-{delay:g}", races.two_controllers(delay), "plain")
    yield Case("two-controllers-1-systemd", races.two_controllers(1.0))
    for call in CALLS:
        yield Case(f"controller-killed-{call}", do.controller_killed(call), "plain")
    for call in ("leave-activate", "leave-confirm"):
        yield Case(f"controller-killed-{call}-systemd", do.controller_killed(call))


def foreign() -> Iterator[Case]:
    """Yield a few on aarch64 userland."""
    for call in ("leave-put", "leave-activate", "leave-confirm"):
        yield Case(f"arm64-power-{call}", struck(held(call), do.power_cut, ends(call)), "arm64")
    go = struck(held("leave-activate"), do.cut_in_recovery("reverting"), "reverted")
    yield Case("arm64-power-in-recovery", go, "arm64")
    go = struck(held("leave-confirm"), fault("cut"), "committed", later=3, mend=fault("restore"))
    yield Case("arm64-cut-leave-confirm", go, "arm64")
    go = struck(held("leave-activate"), fault("fill"), "committed reverted")
    yield Case("arm64-full-leave-activate", go, "arm64")


def all_cases() -> list[Case]:
    """Return the whole campaign."""
    parts = (power, links, restarts, clocks, disks, keys, controllers, foreign)
    return [case for part in parts for case in part()]


def alone(arguments: list[str]) -> None:
    """Start again with mounts of our own: a process elsewhere that copies this machine's would keep disks attached."""
    if os.environ.get("EDGESHIP_OWN_MOUNTS") != "1":
        os.environ["EDGESHIP_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, "-m", "benchmarks.faults.lab", *arguments])


if __name__ == "__main__":
    alone(sys.argv[1:])
    sys.exit(run_cases(all_cases(), sys.argv[1:], __doc__ or "", LabPark))
