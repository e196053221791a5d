"""Watching services as they run: one connection a device, one line from it each period, and again after a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeship.deploy import answers, requests
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.session import Session
from edgeship.deploy.verbs import only_app, with_helper
from edgeship.errors import EdgeshipError
from edgeship.remote import Command, LinkLost
from edgeship.shape import ANY, BOOL, NUMBER, TEXT, Kind, Named, Record, maybe, problem
from edgeship.values import Host

PAUSE_SECONDS = 2.0
"""Between two attempts to reach a device that went away."""
MARGIN_SECONDS = 20.0
"""Beyond the period: a device that says nothing for so long is lost."""
LINE_BYTES = 1 << 19
LINE: Kind = Record(
    fields={
        "clock": NUMBER,
        "boot": TEXT,
        "state": TEXT,
        "release": maybe(TEXT),
        "governor": Named(of=ANY),
    },
    maybe={"ok": BOOL},
)
Hears = Callable[["Seen"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one device said at one moment, or why it said nothing."""

    host: str
    app: str | None
    moment: float
    """Seconds since 1970, by the clock here."""
    line: dict[str, Any] | None = None
    lost: str | None = None
    """Why nothing comes from the device now; None: `line` came from it."""


@dataclass(slots=True)
class Watcher:
    """Watches one device until it is stopped; `go` belongs in a thread of its own."""

    host: Host
    app: str | None
    options: DeployOptions
    period: float
    hear: Hears
    failed: EdgeshipError | None = None
    """What ended it: something that trying again does not mend."""
    met: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    _session: Session | None = None
    _rest: bytes = b""

    def go(self) -> None:
        """Watch; where the link is lost, or the device restarts, try again until it is there."""
        while not self.stopped.is_set():
            try:
                self._talk()
                why = "the device ended it"
            except LinkLost as error:
                why = error.message
            except EdgeshipError as error:
                if not self.met:
                    self.failed = error
                    self._tell(lost=error.message)
                    return
                why = error.message
            if self.stopped.is_set():
                return
            self._tell(lost=why)
            self.stopped.wait(PAUSE_SECONDS)

    def stop(self) -> None:
        """End it; may be called from any thread."""
        self.stopped.set()
        if self._session is not None:
            self._session.interrupt()

    def _talk(self) -> None:
        """Ask over one connection, and hear until it ends. Raises LinkLost, or what the device refuses."""
        session = self._session = Session(self.host, self.options, self.app)
        self._rest = b""
        try:
            if self.stopped.is_set():
                return
            self.app = only_app(session, self.host, self.app)
            with_helper(session, lambda: session.ask("tuned"))  # what cannot be asked at all is told as ever
            session.run(self._command(), hear=self._heard)
            if self._rest:
                self._line(self._rest)
        finally:
            self._session = None
            session.close()

    def _command(self) -> Command:
        """Return the command that prints a line each period."""
        request = requests.request_of(self.host, self.options, self.app, "watch", period=self.period)
        limit = self.period + MARGIN_SECONDS
        return requests.helper_command(self.host, self.options, request, timeout=limit, live=True)

    def _heard(self, data: bytes) -> None:
        """Take what came of the device's output."""
        *lines, self._rest = (self._rest + data[:LINE_BYTES]).split(b"\n")
        self._rest = self._rest[:LINE_BYTES]
        for line in lines:
            self._line(line)

    def _line(self, text: bytes) -> None:
        """Take one line; what is none is told as such."""
        try:
            found = answers.read(text, LINE_BYTES)
        except ValueError as error:
            self._tell(lost=f"{self.host.text} answered nonsense: {error}")
            return
        if found["ok"] is not True and "reason" in found:
            self._tell(lost=str(found["reason"]))
        elif "lines" not in found and (wrong := problem(LINE, found)):
            self._tell(lost=f"{self.host.text} answered nonsense: {wrong}")
        elif "lines" not in found:
            self.met = True
            found.pop("ok")
            self._tell(line=found)

    def _tell(self, line: dict[str, Any] | None = None, lost: str | None = None) -> None:
        self.hear(Seen(host=self.host.text, app=self.app, moment=time.time(), line=line, lost=lost))


def failure_of(watchers: list[Watcher]) -> EdgeshipError | None:
    """Return what ended all of them, or None where one still watches."""
    failed = [each.failed for each in watchers if each.failed is not None]
    return failed[0] if len(failed) == len(watchers) else None
