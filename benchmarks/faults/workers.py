"""Cases on several devices at once: each worker is a process with devices of its own, replaced after a failure."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.faults import devices
from benchmarks.faults.devices import Device, slack

CASES_A_DEVICE = 12
LONGEST_CASE = 300.0
FORK = multiprocessing.get_context("fork")
ParkType = Callable[[Path], Any]


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
            shutil.rmtree(self.device.folder, ignore_errors=True)
            self.device = None

    def run(self, case: Any) -> str | None:
        """Run a case and return its note; a device on which it failed is not used again."""
        device = self.take()
        try:
            note = case.go(device)
        except BaseException:
            self.drop()
            raise
        return str(note) if note else None


def can_mount() -> bool:
    """Return whether devices can have a file system of their own."""
    return os.geteuid() == 0


@dataclass(frozen=True)
class Ended:
    """What became of a case: `wrong` says why it is not as it must be."""

    name: str
    seconds: float
    wrong: str | None
    note: str | None = None


class Worker:
    """A process that runs one case at a time."""

    def __init__(self, cases: Sequence[Any], folder: Path, park: ParkType, others: Sequence[Worker]) -> None:
        self.cases, self.folder, self.park = cases, folder, park
        self.link, far = FORK.Pipe()
        self.case: Any = None
        self.since = 0.0
        inherited = [self.link, *(other.link for other in others)]
        self.process = FORK.Process(target=self._serve, args=(far, inherited), daemon=True)
        self.process.start()
        far.close()

    def _serve(self, link: Connection, inherited: Sequence[Connection]) -> None:
        """Run what is asked for until the link ends."""
        for other in inherited:  # so that each worker notices when the campaign itself is gone
            other.close()
        self.folder.mkdir(exist_ok=True)
        park = self.park(self.folder)
        try:
            with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
                while True:
                    case = self.cases[link.recv()]
                    begun, wrong, note = time.monotonic(), None, None
                    try:
                        note = park.run(case)
                    except Exception as error:
                        wrong = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
                        wrong = " ".join(wrong.split())[:1200]
                    link.send(Ended(case.name, time.monotonic() - begun, wrong, note))
        finally:
            park.drop()

    def begin(self, number: int) -> None:
        """Have it run a case."""
        self.case, self.since = self.cases[number], time.monotonic()
        self.link.send(number)

    def end(self) -> Ended:
        """Return what became of the case; a worker that died has it on its conscience."""
        seconds = time.monotonic() - self.since
        try:
            ended = self.link.recv()
        except (EOFError, ConnectionError):
            return Ended(self.case.name, seconds, "the process that ran the case died")
        assert isinstance(ended, Ended)
        return ended

    def close(self, *, at_once: bool = False) -> None:
        """End the process, and what its devices left behind."""
        self.link.close()
        if not at_once:
            self.process.join(30)
        self.process.kill()
        self.process.join()
        clear(self.folder)


def clear(folder: Path) -> None:
    """End what runs below a folder and take its mounts away."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)


def run_all(cases: Sequence[Any], folder: Path, jobs: int, park: ParkType) -> Iterator[Ended]:
    """Run cases on `jobs` devices at once and yield what became of each, as they end."""
    devices.JOBS = jobs
    workers: list[Worker] = []
    left = iter(range(len(cases)))
    started = 0

    def hire() -> None:
        """Start a worker, with the next case where there is one."""
        nonlocal started
        number = next(left, None)
        if number is not None:
            started += 1
            workers.append(Worker(cases, folder / f"w{started}", park, workers))
            workers[-1].begin(number)

    def dismiss(worker: Worker) -> None:
        """End a worker that cannot be used again, and start another one."""
        workers.remove(worker)
        worker.close(at_once=True)
        hire()

    try:
        for _ in range(jobs):
            hire()
        while workers:
            ready = wait([worker.link for worker in workers], 5)
            for worker in list(workers):
                if worker.link in ready:
                    ended = worker.end()
                    yield ended
                    number = next(left, None) if worker.process.is_alive() else None
                    if number is not None:
                        worker.begin(number)
                    elif worker.process.is_alive():
                        workers.remove(worker)
                        worker.close()
                    else:
                        dismiss(worker)
                elif time.monotonic() - worker.since > LONGEST_CASE * slack():
                    yield Ended(worker.case.name, time.monotonic() - worker.since, "it does not end")
                    dismiss(worker)
    finally:
        for worker in workers:
            worker.close(at_once=True)
