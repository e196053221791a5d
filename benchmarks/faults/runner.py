"""Runs cases one after the other on devices that are replaced after a failure, and tells the figures."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.devices import Device

CASES_A_DEVICE = 12


class Park:
    """Hands out a device, the same one as long as cases end well."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.used = folder, 0, 0
        self.device: Device | None = None

    def take(self) -> Device:
        """Return a device to break."""
        if self.device is None or self.used >= CASES_A_DEVICE:
            self.drop()
            self.count, self.used = self.count + 1, 0
            self.device = Device(self.folder / f"d{self.count}", mounted=can_mount())
        self.used += 1
        return self.device

    def drop(self) -> None:
        """Give the device up."""
        if self.device is not None:
            self.device.close()
            self.device = None

    def run(self, case: Any) -> None:
        """Run a case; a device on which it failed is not used again."""
        device = self.take()
        try:
            case.go(device)
        except BaseException:
            self.drop()
            raise


def can_mount() -> bool:
    """Return whether devices can have a file system of their own."""
    return os.geteuid() == 0


def run_cases(
    cases: Sequence[Any], arguments: Sequence[str], about: str, park_type: Callable[[Path], Any] | None = None
) -> int:
    """Run the cases that the command line chooses, print one line each and the figures; return the exit status."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--case", action="append", default=[], help="this very case; may be given again")
    parser.add_argument("--part", default="1/1", help="I/N: the I-th of N slices")
    parser.add_argument("--sample", type=int, help="so many cases, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    part, parts = (int(word) for word in given.part.split("/"))
    chosen = [
        case for case in cases if given.only in case.name and (not given.case or case.name in given.case)
    ]
    if given.sample:
        chosen = random.Random(given.seed).sample(chosen, min(given.sample, len(chosen)))
    chosen = chosen[part - 1 :: parts]
    skipped = [case for case in chosen if case.mounted and not can_mount()]
    chosen = [case for case in chosen if case not in skipped]
    wrong, begun = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeship-faults-") as folder:
        park = (park_type or Park)(Path(folder))
        try:
            for case in chosen:
                started = time.monotonic()
                try:
                    park.run(case)
                    verdict = "ok"
                except Exception as error:
                    wrong.append(case.name)
                    verdict = (
                        f"WRONG: {error}" if isinstance(error, AssertionError) else traceback.format_exc()
                    )
                    verdict = " ".join(verdict.split())[:1200]
                print(f"{time.monotonic() - started:6.1f} s  {case.name}: {verdict}", flush=True)
        finally:
            park.drop()
    print(
        f"{len(chosen)} cases, {len(wrong)} wrong, {len(skipped)} need root and were left out, "
        f"{time.monotonic() - begun:.0f} s" + (f": {', '.join(wrong)}" if wrong else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit("run one of the campaigns: matrix, kills, crashes, mutants, lab")
