"""The command line of a campaign: which cases, on how many devices at once, and the figures at the end."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.workers import Park, can_mount, run_all

JOBS = 2 * (os.cpu_count() or 1)
"""Devices at once: most of a case is waiting, for a disk, for a service to be there, for a time to be over."""


def parser_of(about: str, jobs: int = JOBS) -> argparse.ArgumentParser:
    """Return the options that every campaign has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--case", action="append", default=[], help="this very case; may be given again")
    parser.add_argument("--part", default="1/1", help="I/N: the I-th of N slices")
    parser.add_argument("--sample", type=int, help="so many cases, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"devices at once (default {jobs})")
    return parser


def chosen_cases(cases: Sequence[Any], given: argparse.Namespace) -> list[Any]:
    """Return the cases that the command line chooses."""
    part, parts = (int(word) for word in given.part.split("/"))
    chosen = [
        case for case in cases if given.only in case.name and (not given.case or case.name in given.case)
    ]
    if given.sample:
        chosen = random.Random(given.seed).sample(chosen, min(given.sample, len(chosen)))
    return chosen[part - 1 :: parts]


def run_cases(
    cases: Sequence[Any],
    arguments: Sequence[str] | argparse.Namespace,
    about: str = "",
    park_type: Callable[[Path], Any] | None = None,
    *,
    must: str | None = None,
) -> int:
    """Run the cases that the command line chooses, print one line each and the figures; return the exit status.

    `park_type`: what hands out other devices than Park's, one at a time. `must`: how the note of at least one case has
    to begin, or the campaign proved nothing.
    """
    given = (
        arguments
        if isinstance(arguments, argparse.Namespace)
        else parser_of(about, 1 if park_type else JOBS).parse_args(arguments)
    )
    jobs = 1 if park_type else given.jobs
    chosen = chosen_cases(cases, given)
    skipped = [case for case in chosen if case.mounted and not can_mount()]
    chosen = [case for case in chosen if case not in skipped]
    wrong, notes, begun = [], Counter[str](), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # mounts and services must not outlive a campaign
    with tempfile.TemporaryDirectory(prefix="edgeship-faults-") as folder:
        for ended in run_all(chosen, Path(folder), jobs, park_type or Park):
            if ended.wrong:
                wrong.append(ended.name)
            if ended.note:
                notes[ended.note.split(":")[0]] += 1
            verdict = (
                f"WRONG: {ended.wrong}" if ended.wrong else f"ok{f', {ended.note}' if ended.note else ''}"
            )
            print(f"{ended.seconds:6.1f} s  {ended.name}: {verdict}", flush=True)
    idle = bool(must and chosen and not any(note.startswith(must) for note in notes))
    print(
        f"{len(chosen)} cases, {len(wrong)} wrong, {len(skipped)} need root and were left out, "
        f"{time.monotonic() - begun:.0f} s on {jobs} devices at once"
        + "".join(f"; {note}: {count}" for note, count in sorted(notes.items()))
        + (f"; NOTHING WAS PROVED: no case was {must}" if idle else "")
        + (f"; wrong: {', '.join(wrong)}" if wrong else "")
    )
    return 1 if wrong or idle else 0


if __name__ == "__main__":
    sys.exit("run one of the campaigns: matrix, kills, fiu, crashes, mutants, lab")
