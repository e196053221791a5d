"""How long work tells what it is doing: a protocol the command line implements, and a silent one for tests."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what is going on. Calls may come from several threads."""

    def step(self, text: str) -> None:
        """A new step began: `text` says what, in the present tense."""

    def advance(self, done: int, total: int, unit: str) -> None:
        """The current step did `done` of `total` units (bytes, samples, ...)."""

    def note(self, text: str) -> None:
        """Something worth keeping on screen: a warning, a decision and its reason."""


class Silent:
    """A Progress that shows nothing."""

    def step(self, text: str) -> None:
        """Ignore."""

    def advance(self, done: int, total: int, unit: str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
