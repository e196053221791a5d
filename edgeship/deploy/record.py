"""What a deployment did so far, step by step, and the report it becomes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeship.progress import Progress
from edgeship.values import DeployReport, DeployState, GoldenReport, StepReport, Unavailable

NOT_RUN = Unavailable(reason="golden vectors were not run")


class Interrupted(Exception):
    """The user asked to stop."""


@dataclass(slots=True, kw_only=True)
class Note:
    """Where a step writes down its detail."""

    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Record:
    """The steps of one host, growing, and the figures of the report."""

    host: str
    app: str
    target: str
    release: str
    progress: Progress
    begun: float = field(default_factory=time.monotonic)
    steps: list[StepReport] = field(default_factory=list)
    from_release: str | None = None
    serving: str | None = None
    golden: GoldenReport | Unavailable = NOT_RUN

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[Note]:
        """Time a step and tell the user of it; a step that fails is recorded with its reason."""
        self.progress.step(f"{self.host}: {text}")
        note, begun = Note(), time.monotonic()
        try:
            yield note
        except BaseException as error:
            note.detail = note.detail or getattr(error, "message", None) or str(error) or type(error).__name__
            raise
        finally:
            self.steps.append(StepReport(name=name, seconds=time.monotonic() - begun, detail=note.detail))

    def report(
        self, state: DeployState, reason: str, *, bytes_sent: int, hint: str | None = None
    ) -> DeployReport:
        """Return the final report."""
        return DeployReport(
            host=self.host,
            app=self.app,
            target=self.target,
            release=self.release,
            from_release=self.from_release,
            state=state,
            bytes_sent=bytes_sent,
            seconds=time.monotonic() - self.begun,
            steps=tuple(self.steps),
            golden=self.golden,
            reason=reason,
            hint=hint,
            serving=self.serving if state in ("committed", "unchanged") else None,
        )
