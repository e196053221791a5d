"""Progress for people: bars on a terminal, one plain line a step elsewhere, nothing when asked to be quiet.

Everything goes to stderr, so that stdout holds the result alone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from edgeship.printable import one_line, printable
from edgeship.progress import Progress, Silent

PLAIN_INTERVAL = 5.0
"""Seconds between two lines about the same step where no bar can be drawn."""


class PlainProgress:
    """One line a step, no control characters: for logs, pipes and CI."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last_text = ""
        self._last_advance = time.monotonic()

    def step(self, text: str) -> None:
        """Print the step, unless it is the one already shown."""
        with self._lock:
            if text != self._last_text:
                self._last_text = text
                self._last_advance = time.monotonic()
                print(f"- {one_line(text)}", file=self._stream, flush=True)

    def advance(self, done: int, total: int, unit: str) -> None:
        """Print how far the step is, every few seconds at most."""
        with self._lock:
            now = time.monotonic()
            if now - self._last_advance >= PLAIN_INTERVAL:
                self._last_advance = now
                print(f"  {done}/{total} {unit}", file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print a note."""
        with self._lock:
            print(f"  note: {printable(text)}", file=self._stream, flush=True)


class BarProgress:
    """A live line with a spinner or bar and the time spent, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True)
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bars.add_task("starting", total=None, amount="")
        self._started = time.monotonic()
        self._text = ""

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish_step()
        self._bars.stop()

    def _finish_step(self) -> None:
        if self._text:
            seconds = time.monotonic() - self._started
            self._console.print(
                f"[green]✓[/green] {_escape(one_line(self._text))} [dim]{seconds:.1f} s[/dim]",
                highlight=False,
            )

    def step(self, text: str) -> None:
        """Tick off the step before and start the next."""
        if text == self._text:
            return
        self._finish_step()
        self._text, self._started = text, time.monotonic()
        self._bars.reset(self._task, description=one_line(text), total=None, amount="")

    def advance(self, done: int, total: int, unit: str) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, total=total, amount=f"{done}/{total} {unit}")

    def note(self, text: str) -> None:
        """Keep a note on screen."""
        self._console.print(f"  [yellow]note:[/yellow] {_escape(printable(text))}", highlight=False)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def shown(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Progress]:
    """Yield the Progress that fits stderr: bars on a terminal, plain lines elsewhere, silence when `quiet`."""
    out = stream or sys.stderr
    if quiet:
        yield Silent()
    elif out is sys.stderr and out.isatty():
        with BarProgress() as bars:
            yield bars
    else:
        yield PlainProgress(out)
