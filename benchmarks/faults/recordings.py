"""Recordings: real helper calls under strace on real local devices, as the crash-state enumeration needs them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import weakfs
from benchmarks.faults.devices import Device, WrongState
from benchmarks.faults.interpose import MUTATING, REAL
from edgeship.deploy.session import Session
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import have_fields, sending_for
from edgeship.values import Bundle


@dataclass
class Recording:
    """A run of helper calls: the tree before it, the calls, and what may be the outcome after each of them."""

    name: str
    root: Path
    before: weakfs.Folder
    calls: list[tuple[str, list[str]]]
    old: Bundle | None
    new: Bundle
    fence: int
    promised: int = 0
    """The fence that was durable before the recording began."""
    confirmed: bool = False
    """Whether the new release was confirmed before the recording began."""


def record(device: Device, scenario: str) -> Recording:
    """Run one scenario for real under strace and return what it did."""
    old = None if scenario.startswith("first") else device.serve_old()
    new = device.bundle()
    session = Session(device.host, device.options, "kws")
    with device.faults.active():
        if old is None:
            session.ship()
        elif "rotten" in scenario:
            _rot(device, session, new)
        if scenario == "boot":
            return _record_boot(device, session, new)
        if scenario.startswith("bake"):
            return _record_bake(device, session, new, scenario)
        before = weakfs.load(device.root)
        tx = f"t{next(device.numbers):08d}"
        with device.faults.recording(1 << 22) as folder:
            fence = _calls(session, device, new, tx, scenario)
            traces = sorted(folder.glob("trace.*"), key=lambda path: int(path.name.split(".")[1]))
            calls = [(path.name.split(".")[2], path.read_text("latin-1").splitlines()) for path in traces]
    return Recording(scenario, device.root, before, calls, old, new, fence)


def _record_bake(device: Device, session: Session, new: Bundle, scenario: str) -> Recording:
    """Record what follows the confirmation: the crash-loop hook, or a start of the device while it is watched."""
    fence = _calls(session, device, new, "confirmed", scenario)
    device.kill_processes()
    before = weakfs.load(device.root)
    trace = device.folder / "bake.trace"
    under = ["strace", "-o", str(trace), "-y", "-s", str(1 << 22), "-e", f"trace={MUTATING},close"]
    if scenario == "bake":
        words = [
            *under,
            REAL,
            "-I",
            "-B",
            device.helper(),
            "breach",
            str(device.root),
            "kws",
            new.release,
            "9",
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        if done.returncode or device.record().get("result") != "went-back":
            raise WrongState(f"the hook did not go back: {done.stdout}{done.stderr}{device.record()}")
    else:
        device.boot(under)
    lines = trace.read_text("latin-1").splitlines()
    verb = "breach" if scenario == "bake" else "boot"
    return Recording(
        scenario, device.root, before, [(verb, lines)], device.old, new, fence, promised=fence, confirmed=True
    )


def _record_boot(device: Device, session: Session, new: Bundle) -> Recording:
    """Record boot recovery itself, of a device whose power went in the middle of a trial."""
    fence = _calls(session, device, new, "unconfirmed", "boot")
    device.kill_processes()
    before = weakfs.load(device.root)
    trace = device.folder / "boot.trace"
    device.boot(["strace", "-o", str(trace), "-y", "-s", str(1 << 22), "-e", f"trace={MUTATING},close"])
    lines = trace.read_text("latin-1").splitlines()
    return Recording("boot", device.root, before, [("boot", lines)], device.old, new, fence, promised=fence)


def _calls(session: Session, device: Device, new: Bundle, tx: str, scenario: str) -> int:
    """Ask the helper for everything a deployment asks it for; return the fence."""
    fence = int(session.ask("lease", ready_seconds=5, prove_seconds=10, allow_unsigned=True)["fence"])
    common = {"fence": fence, "tx": tx}
    _send(session, new, fence)
    session.ask("stage", release=new.release, **common)
    bake = {"seconds": 600, "restarts": 0} if scenario.startswith("bake") else None
    session.ask("arm", release=new.release, ttl=60, service="supervised", listen=None, bake=bake, **common)
    seen = session.ask("activate", ready_seconds=5, prove_seconds=10, **common)
    if seen["reason"]:
        raise WrongState(seen["reason"])
    if scenario == "boot":
        return fence
    if "revert" in scenario:
        session.ask("revert", reason="as planned", ready_seconds=5, prove_seconds=10, **common)
    else:
        session.ask("confirm", restarts=seen["serving"]["restarts"], **common)
        session.ask("collect", keep=0, fence=fence)
    return fence


def _send(session: Session, bundle: Bundle, fence: int) -> None:
    """Upload what is missing."""
    with Spool(bundle) as spool:
        sending = sending_for(spool, session.ask("have", **have_fields(bundle)))
        if sending.blobs:
            session.ask("put", payload=sending.stream, fence=fence, **sending.fields())


def _rot(device: Device, session: Session, new: Bundle) -> None:
    """Leave a damaged folder of the release to come, as an earlier failing disk would have."""
    fence = int(session.ask("lease", ready_seconds=5, allow_unsigned=True)["fence"])
    _send(session, new, fence)
    session.ask("stage", release=new.release, fence=fence, tx="early")
    model = device.root / "apps/kws/releases" / new.release / "models/model.tflite"
    model.unlink()
    model.write_bytes(b"rotten")


SCENARIOS = ("first", "upgrade", "revert", "rotten", "boot", "first-revert", "bake", "bake-boot")


def record_all(folder: Path, scenarios: tuple[str, ...] = SCENARIOS) -> list[Recording]:
    """Record the scenarios on new local devices."""
    made = []
    for name in scenarios:
        device = Device(folder / name, mounted=False)
        try:
            made.append(record(device, name))
        finally:
            device.close()
    return made
