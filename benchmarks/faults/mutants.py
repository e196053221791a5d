"""Seeded mistakes in the helper: each must be caught by the crash-state enumeration or by a case of the matrix.

python -m benchmarks.faults.mutants [--only NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import devices, matrix
from benchmarks.faults.crashes import enumerate_crashes
from benchmarks.faults.recordings import record_all
from edgeship.deploy import requests, session
from edgeship.device.ship import helper_source
from edgeship.digest import sha256_bytes


@dataclass(frozen=True)
class Mutant:
    """A mistake: what stands there, what would stand there, and what has to notice it."""

    name: str
    edits: tuple[tuple[str, str], ...]
    scenarios: tuple[str, ...] = ()
    case: str = ""

    def source(self) -> bytes:
        """Return the helper with the mistake in it. Raises ValueError where the helper no longer reads like that."""
        text = helper_source().decode()
        for old, new in self.edits:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} stands {text.count(old)} times in the helper")
            text = text.replace(old, new)
        compile(text, "mutant.py", "exec")
        return text.encode()


TRIAL = '        record = change_state(place, "TRIAL")\n'
SWITCH = "        reason = start_trial(place, record)\n"
MUTANTS = (
    Mutant("one-state-slot", (("    return best, 1 - slot\n", "    return best, 0\n"),), ("upgrade",)),
    Mutant(
        "slot-not-synced",
        (
            (
                "        os.ftruncate(descriptor, max(SLOT_BYTES, len(text)))\n        os.fsync(descriptor)\n",
                "        os.ftruncate(descriptor, max(SLOT_BYTES, len(text)))\n",
            ),
        ),
        ("upgrade",),
    ),
    Mutant(
        "unlink-and-link",
        (
            (
                "    os.symlink(target, temporary)\n    os.rename(temporary, link)\n",
                "    if os.path.islink(link):\n        os.unlink(link)\n    os.symlink(target, link)\n",
            ),
        ),
        ("upgrade",),
    ),
    Mutant("switch-before-trial", ((TRIAL + SWITCH, SWITCH + TRIAL),), ("upgrade",)),
    Mutant(
        "release-files-not-synced",
        (
            ("    sync_file(path)\n\n\ndef sweep", "\n\ndef sweep"),
            (
                "    finally:\n        os.fsync(descriptor)\n        os.close(descriptor)\n    if digest.",
                "    finally:\n        os.close(descriptor)\n    if digest.",
            ),
        ),
        ("upgrade",),
    ),
    Mutant(
        "folders-not-synced",
        (
            (
                "        os.fsync(descriptor)\n    except OSError as error:\n        if (\n",
                "        pass\n    except OSError as error:\n        if (\n",
            ),
        ),
        ("upgrade",),
    ),
    Mutant(
        "staging-folders-not-synced",
        (("        for folder in sorted(folders, reverse=True):\n            sync_folder(folder)\n", ""),),
        ("upgrade",),
    ),
    Mutant(
        "current-is-the-truth",
        (
            (
                (
                    '    point_link(place.of("current"), '
                    'os.path.join("releases", release) if release else None)\n\n\ndef unhook'
                ),
                "    pass\n\n\ndef unhook",
            ),
        ),
        ("upgrade",),
    ),
    Mutant(
        "boot-does-not-go-back",
        (
            (
                '        record = finish(place, record["tx"], back, reason, hook_runs=True)\n',
                '        record = finish(place, record["tx"], record["to"], reason, hook_runs=True)\n',
            ),
        ),
        ("upgrade",),
    ),
    Mutant(
        "trusts-a-folder-by-its-name",
        (
            (
                "            problems = check_release(place, release)\n            if not problems:\n",
                "            problems = []\n            if not problems:\n",
            ),
        ),
        ("rotten",),
    ),
    Mutant(
        "confirms-whatever-the-state",
        (
            (
                '        if record["state"] != "TRIAL" or record["tx"] != request["tx"]:\n            raise Refusal(\n',
                "        if False:\n            raise Refusal(\n",
            ),
            (
                "        if time_left(record) <= 0:\n            record = revert_to_from(place, request",
                "        if False:\n            record = revert_to_from(place, request",
            ),
            ('        if seen["release"] != record["to"] or', "        if False and"),
        ),
        (),
        "confirm-race-+0.5",
    ),
    Mutant(
        "goes-back-to-the-newest",
        (
            (
                '    switched, old, new = record["state"] != "ARMED", record["from"], record["to"]\n',
                (
                    '    switched, new = record["state"] != "ARMED", record["to"]\n'
                    "    old = ([name for name in releases_present(place) if name != new] or [None])[0]\n"
                ),
            ),
        ),
        (),
        "revert-past-a-newer-release",
    ),
    Mutant(
        "dead-man-not-read-back",
        (
            (
                "    deadline = time.monotonic() + 15\n    while time.monotonic() < deadline and alive(process):\n",
                '    return {"process": process}\n    while False:\n',
            ),
            ('"armed": dead_man_armed(record)', '"armed": True'),
        ),
        (),
        "dead-man-cannot-start",
    ),
    Mutant(
        "dead-man-gives-up",
        (
            (
                "        except (Refusal, OSError):\n            time.sleep(RETRY_SECONDS)",
                "        except ZeroDivisionError:\n            time.sleep(RETRY_SECONDS)",
            ),
        ),
        (),
        "dead-man-meets-failing-storage",
    ),
    Mutant(
        "says-it-went-back-before-it-did",
        (
            (
                '        "REVERTING",\n        to=record["to"],\n        boot=boot_identity(),\n',
                '        "COMMITTED",\n        to=bake["back"],\n        boot=boot_identity(),\n',
            ),
            (
                '    revert_to_from(place, record["tx"], None, 60, 120)\n',
                '    switch(place, bake["back"], None)\n',
            ),
            ("        result=None,\n        fell=", '        result="went-back",\n        fell='),
        ),
        ("bake",),
    ),
    Mutant("no-space-held-back", (("        place.keep_reserve()\n", ""),), (), "dead-man-meets-a-full-disk"),
)


@contextmanager
def shipped(source: bytes) -> Iterator[None]:
    """Have devices get this helper instead of the real one."""
    digest = sha256_bytes(source)
    places = [(requests, "helper_source", lambda: source), (requests, "helper_sha256", lambda: digest)]
    places.append((devices, "helper_sha256", lambda: digest))
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


def hunt(mutant: Mutant, folder: Path, seconds: float = 60.0) -> str | None:
    """Return what noticed the mistake, or None where nothing did."""
    source = mutant.source()
    with shipped(source):
        if mutant.case:
            case = next(case for case in matrix.all_cases() if case.name == mutant.case)
            device = devices.Device(folder / mutant.name, mounted=case.mounted)
            try:
                case.go(device)
            except devices.WrongState as wrong:
                return f"{case.name}: {wrong}"
            finally:
                device.close()
            return None
        try:
            recordings = record_all(folder / mutant.name, mutant.scenarios)
        except (devices.WrongState, session.DeviceError) as wrong:
            return f"recording {', '.join(mutant.scenarios)}: {wrong}"
        found = enumerate_crashes(recordings, source, seconds=seconds, seed=1, stop_early=True)
        return found.violations[0] if found.violations else None


def main(arguments: list[str]) -> int:
    """Hunt each mutant and print who noticed it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    given = parser.parse_args(arguments)
    alive = []
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    for mutant in chosen:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="edgeship-mutant-") as folder:
            noticed = hunt(mutant, Path(folder))
        alive += [] if noticed else [mutant.name]
        words = f"killed by {noticed}" if noticed else "ALIVE"
        print(
            f"{time.monotonic() - begun:6.1f} s  {mutant.name}: {' '.join(words.split())[:300]}", flush=True
        )
    print(f"{len(chosen)} mutants, {len(chosen) - len(alive)} killed, alive: {', '.join(alive) or 'none'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
