"""Run a foreign program: argument lists only, a time limit, captured output, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LAST_WORDS = 2000
"""Characters of a failed program's output that an error shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended: exit status (negative: killed by that signal; None: stopped at the time limit)."""

    code: int | None
    output: str
    """What it printed on stdout and stderr, in the order it was written."""
    content: bytes
    """The same, undecoded; stdout alone where the two were kept apart (then stderr follows in `output`)."""
    seconds: float

    @property
    def last_words(self) -> str:
        """The end of the output, for errors."""
        return self.output.strip()[-LAST_WORDS:] or "(nothing)"


class Runner(Protocol):
    """Starts programs. A seam: the remote room may bring one of its own, tests record."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        apart: bool = False,
    ) -> Finished:
        """Run a program to its end and return how it went; `apart`: keep stderr out of `content`.

        Raises OSError where it cannot be started, FileNotFoundError where there is none.
        """


class LocalRunner:
    """Runs programs on this machine, each in a process group of its own that is killed whole at the time limit."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, memory_mb: int | None = None) -> None:
        self.environment = dict(environment) if environment is not None else None
        self.memory_mb = memory_mb
        """Limit of each program's address space, MiB; None: open."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout: float,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        apart: bool = False,
    ) -> Finished:
        """Run a program to its end and return how it went; see `Runner.run`."""
        started = time.monotonic()
        process = subprocess.Popen(
            [*_limited(self.memory_mb), *arguments],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            cwd=cwd,
            env=self.environment,
            start_new_session=True,
        )
        code: int | None
        try:
            content, aside = process.communicate(stdin, timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            _kill(process)
            content, aside = process.communicate()
            code = None
        except BaseException:
            _kill(process)
            process.wait()
            raise
        return Finished(
            code=code,
            output=(content + (aside or b"")).decode(errors="replace"),
            content=content,
            seconds=time.monotonic() - started,
        )


def _limited(memory_mb: int | None) -> list[str]:
    """Return what runs a program with a limit on its memory: the shell's own ulimit, then the program in its place."""
    return (
        [] if memory_mb is None else ["/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', str(memory_mb * 1024)]
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
