"""Crash-state enumeration: what a power cut may leave after every call the real helper makes, and recovery from it.

python -m benchmarks.faults.crashes [--budget SECONDS] [--seed S]

Real helper calls are recorded with strace on a real local device; their system calls drive the weak model of `weakfs`.
After every call that changes something, every state a crash may leave is made real in a folder, and the helper's own
recovery runs on it: boot recovery, and once more what the next contact (a lease) does where there is no boot hook.
Starting processes is the one thing left out. Violations are printed; there must be none.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.faults import weakfs
from benchmarks.faults.recordings import Recording, record_all
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import have_fields, sending_for
from edgeship.device.ship import helper_source
from edgeship.values import Bundle

SHM = Path("/dev/shm")


@dataclass
class Found:
    """The figures of a campaign."""

    points: int = 0
    states: int = 0
    recoveries: int = 0
    violations: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, what: str) -> None:
        """Note a violation; of each kind the first ones in full."""
        kind = what.split(":")[0]
        self.kinds[kind] += 1
        if self.kinds[kind] <= 3:
            self.violations.append(f"{where}: {what}")


# --- recovery ---


def helper_module(source: bytes) -> Any:
    """Return the helper as a module of its own, as it is shipped."""
    module = types.ModuleType("edgeship_helper")
    exec(compile(source, "helper.py", "exec"), module.__dict__)
    return module


class Recovery:
    """The helper's own recovery on a tree. Services are not started: what would be started is noted."""

    def __init__(self, source: bytes) -> None:
        self.helper = helper_module(source)
        self.started: list[str | None] = []
        self.helper.boot_identity = lambda: "another-start.1"
        for name in ("Supervised",):
            manager = getattr(self.helper, name)
            manager.restart = lambda this: self.started.append(self._installed(this.place))
            manager.stop = lambda this: None
        self.helper.check_live = lambda *_: {"serving": None, "prove": None, "reason": None}

    @staticmethod
    def _installed(place: Any) -> str | None:
        return str(json.loads(Path(place.of("run", "start.json")).read_text())["release"])

    def boot(self, root: Path) -> None:
        """Recover as a start of the device does."""
        self.helper.run_boot(str(root), "kws")

    def contact(self, root: Path) -> None:
        """Recover as the next controller's lease does."""
        self.helper.lease(self.helper.Place(str(root), "kws"), {"allow_unsigned": True})

    def again(self, root: Path, bundle: Bundle) -> None:
        """Upload and stage as a clean second run does, a damaged store included."""
        place = self.helper.Place(str(root), "kws")
        fence = self.helper.lease(place, {"allow_unsigned": True})["fence"]
        for attempt in itertools.count(1):
            found = self.helper.have(place, have_fields(bundle))
            with Spool(bundle) as spool, tempfile.TemporaryFile() as stream:
                sending = sending_for(spool, found)
                stream.writelines(sending.stream())
                stream.seek(0)
                self.helper.put(place, {"fence": fence, **sending.fields()}, stream)
            try:
                self.helper.stage(place, {"release": bundle.release, "fence": fence, "tx": f"again{attempt}"})
                return
            except self.helper.Refusal as refusal:
                if refusal.code != "blob-missing" or attempt > 2:
                    raise


# --- what must hold ---


def truth(root: Path) -> dict[str, Any]:
    """Return the newest whole record, read without the helper's code."""
    best: dict[str, Any] = {"seq": 0, "state": "NONE", "to": None}
    for path in (root / "apps/kws").glob("state.[01]"):
        try:
            found = json.loads(path.read_bytes())
            body = {key: value for key, value in found.items() if key != "sha"}
            text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
            if hashlib.sha256(text.encode()).hexdigest() == found["sha"] and body["seq"] > best["seq"]:
                best = body
        except (ValueError, KeyError, TypeError):
            continue
    return best


def torn(folder: Path, bundle: Bundle) -> str | None:
    """Return what is wrong with a release's folder, or None."""
    wanted = {"manifest.json": bundle.release}
    wanted.update({name: info["sha256"] for name, info in bundle.manifest["files"].items()})
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return f"{', '.join(wrong[:4])} of {folder.name[:12]}" if wrong else None


def check_link(root: Path, releases: dict[str, Bundle]) -> str | None:
    """Return what is wrong with `current` and the release it names, or None."""
    link = root / "apps/kws/current"
    if not link.is_symlink():
        return "no current: the service could not start"
    name = link.readlink().name
    if name not in releases:
        return f"current names {name[:12]}"
    broken = torn(root / "apps/kws/releases" / name, releases[name])
    return f"torn release in use: {broken}" if broken else None


def check_end(
    root: Path, recording: Recording, may: set[str | None], started: list[str | None], fence: int
) -> str | None:
    """Return what is wrong after recovery, or None."""
    said = truth(root)
    releases = {bundle.release: bundle for bundle in (recording.old, recording.new) if bundle}
    if said["state"] not in ("COMMITTED", "NONE"):
        return f"state {said['state']} after recovery: {said.get('reason')}"
    if said["to"] not in may:
        return f"wrong release: {str(said['to'])[:12]} after recovery"
    if said["to"] is None:
        return "current without a release" if (root / "apps/kws/current").is_symlink() else None
    link = root / "apps/kws/current"
    if not link.is_symlink() or link.readlink().name != said["to"]:
        return "current disagrees with the record"
    if wrong := check_link(root, releases):
        return wrong
    if started and started[-1] != said["to"]:
        return f"wrong service: {started[-1]} was started"
    floors = [
        json.loads(path.read_bytes() or b"{}") for path in (root / "trust").glob("floor.[01]") if _whole(path)
    ]
    if max((floor["fences"].get("kws", 0) for floor in floors), default=0) < fence:
        return "fence forgotten: an older controller could come back"
    return None


def _whole(path: Path) -> bool:
    """Return whether a slot's checksum holds."""
    try:
        found = json.loads(path.read_bytes())
        body = {key: value for key, value in found.items() if key != "sha"}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        return bool(hashlib.sha256(text.encode()).hexdigest() == found["sha"])
    except (ValueError, KeyError, TypeError):
        return False


# --- enumeration ---


def points(recording: Recording, seed: int) -> Iterator[tuple[str, weakfs.Tree, set[str | None], int]]:
    """Yield (where, crash state, releases it may end on, fence that must survive), each distinct state once."""
    replay = weakfs.Replay(recording.root, recording.before)
    seen: set[str] = set()
    old = recording.old.release if recording.old else None
    may: set[str | None] = {recording.new.release if recording.confirmed else old}
    fence = recording.promised
    for verb, lines in recording.calls:
        replay.open.clear()
        if verb in ("confirm", "breach"):
            may = {old, recording.new.release}
        for number, line in enumerate(lines, 1):
            if not replay.step(line):
                continue
            for tree in weakfs.crash_states(replay.top, seed + number):
                key = weakfs.digest(tree) + str(sorted(map(str, may))) + str(fence)
                if key not in seen:
                    seen.add(key)
                    yield f"{recording.name}, {verb} line {number} ({line[:80]})", tree, set(may), fence
        if verb == "lease":
            fence = recording.fence
        if verb == "confirm":
            may = {recording.new.release}
        if (
            verb == "breach"
        ):  # the hook has ended: whatever the power takes now, the device stays on the old one
            for tree in weakfs.crash_states(replay.top, seed):
                yield f"{recording.name}, after {verb}", tree, {old}, fence


def enumerate_crashes(
    recordings: list[Recording], source: bytes, *, seconds: float, seed: int, stop_early: bool = False
) -> Found:
    """Recover from crash states until all are through or the time is; the draw is seeded where time is short."""
    found = Found()
    recovery = Recovery(source)
    deadline = time.monotonic() + seconds
    todo = [(recording, *point) for recording in recordings for point in points(recording, seed)]
    found.points = len({where for _, where, *_ in todo})
    random.Random(seed).shuffle(todo)
    with tempfile.TemporaryDirectory(prefix="edgeship-crash-", dir=SHM if SHM.is_dir() else None) as folder:
        for number, (recording, where, tree, may, fence) in enumerate(todo):
            if time.monotonic() > deadline or (stop_early and found.kinds):
                break
            found.states += 1
            for way in ("boot", "contact"):
                root = Path(folder) / f"{number}{way}"
                weakfs.write(tree, root)
                found.recoveries += 1
                if wrong := recover(recovery, way, root, recording, may, fence):
                    found.add(f"{where}, {way}", wrong)
                shutil.rmtree(root, ignore_errors=True)
    return replace(found)


def recover(
    recovery: Recovery, way: str, root: Path, recording: Recording, may: set[str | None], fence: int
) -> str | None:
    """Run recovery and a clean second run on one crash state; return what is wrong, or None."""
    releases = {bundle.release: bundle for bundle in (recording.old, recording.new) if bundle}
    if recording.old and (wrong := check_link(root, releases)):
        return f"before recovery, {wrong}"
    recovery.started.clear()
    step: Callable[[Path], None] = getattr(recovery, way)
    try:
        if way == "boot" and not (root / "apps/kws/releases").is_dir():
            return None  # no boot hook yet: nothing was ever armed
        step(root)
        if wrong := check_end(root, recording, may, recovery.started, fence):
            return wrong
        recovery.again(root, recording.new)
    except Exception as error:
        return f"{type(error).__name__} in recovery: {error}"
    left = [path.name for path in (root / "apps/kws/releases").iterdir() if path.name.startswith(".")]
    if left:
        return f"leftovers: {left}"
    if wrong := torn(root / "apps/kws/releases" / recording.new.release, recording.new):
        return f"torn after a clean second run: {wrong}"
    return None


def main(arguments: list[str]) -> int:
    """Record, enumerate, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--budget", type=float, default=280.0, help="seconds; states beyond it are left out, by seed"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgeship-record-") as folder:
        recordings = record_all(Path(folder))
        total = {
            recording.name: sum(1 for _ in points(_fresh(recording), given.seed)) for recording in recordings
        }
        print(
            ", ".join(f"{name} {count}" for name, count in total.items()), "distinct crash states", flush=True
        )
        found = enumerate_crashes(recordings, helper_source(), seconds=given.budget, seed=given.seed)
    for line in found.violations:
        print("VIOLATION", line)
    print(
        f"{found.points} crash points, {found.states} of {sum(total.values())} distinct states, "
        f"{found.recoveries} recoveries, {sum(found.kinds.values())} violations {dict(found.kinds)}"
    )
    return 1 if found.kinds else 0


def _fresh(recording: Recording) -> Recording:
    """Return a copy of a recording that can be replayed on its own."""
    import copy

    return replace(recording, before=copy.deepcopy(recording.before))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
