"""What a deployment did so far, step by step, and the report it becomes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edgeship.deploy.words import describe_ladder, engine_report, golden_report, ladder_report, latency_report
from edgeship.progress import Progress
from edgeship.values import (
    DeployReport,
    DeployState,
    EngineReport,
    GateResult,
    GoldenReport,
    Latency,
    RungReport,
    StepReport,
    Unavailable,
)

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
    engine: EngineReport | Unavailable = NOT_RUN
    latency_ms: Latency | Unavailable = NOT_RUN
    gates: list[GateResult] = field(default_factory=list)
    ladder: tuple[RungReport, ...] | Unavailable = ()

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

    def proved(self, document: Mapping[str, Any] | None) -> None:
        """Keep what the proof on the staged release measured: vectors, the engine that ran, latency, a ladder's; tell
        what of a ladder is not used on this device."""
        self.golden = golden_report(document)
        self.engine = engine_report(document)
        self.latency_ms = latency_report(document)
        self.ladder = ladder_report(document)
        for told in describe_ladder(self.ladder):
            self.progress.note(f"{self.host}: {told}")

    def proved_live(self, document: Mapping[str, Any] | None) -> None:
        """Keep what golden vectors said through the live service; of the other variants the staged release told."""
        before, golden = self.golden, golden_report(document)
        if isinstance(before, GoldenReport) and isinstance(golden, GoldenReport):
            golden = replace(golden, also=before.also)
        self.golden = golden

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
            engine=self.engine,
            latency_ms=self.latency_ms,
            gates=tuple(self.gates),
            ladder=self.ladder,
            reason=reason,
            hint=hint,
            serving=self.serving if state in ("committed", "unchanged") else None,
        )
