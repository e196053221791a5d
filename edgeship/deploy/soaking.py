"""A soak: a benchmark of an hour on a device, watched from here, that does not need this end to go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import at
from edgeship.deploy.retry import Retries
from edgeship.deploy.session import Session
from edgeship.deploy.verbs import only_app, with_helper
from edgeship.errors import DeviceError, InputError
from edgeship.progress import Progress
from edgeship.remote import LinkLost
from edgeship.values import Host

LOOKS_EVERY = 20.0
"""Seconds between two looks: each one starts a Python on the device, and takes from what is measured there."""
ATTEMPTS = 8
"""Looks in a row that may find no way to the device before this end gives up; the soak itself goes on."""


class Soak:
    """One soak on one device: `run` begins it, or finds one that runs, and returns what came of it."""

    def __init__(self, host: Host, app: str | None, options: DeployOptions, progress: Progress) -> None:
        self.host, self.app, self.options, self.progress = host, app, options, progress
        self.lines: list[dict[str, Any]] = []
        self.looks_every = LOOKS_EVERY
        self._ran = False

    def run(
        self,
        seconds: float | None,
        *,
        variant: str | None = None,
        period: float | None = None,
        line: Callable[[dict[str, Any], float], None],
    ) -> dict[str, Any]:
        """Return the `edgeship.bench/1` document. `seconds` None: only the one that runs, or that ran last.

        `line(what a minute was, wanted seconds)` is called for every line of one that runs. Ctrl-C ends it on the
        device, too. Raises DeviceError `bench-failed` and `soak-out-of-reach`, InputError `no-soak`.
        """
        with closing(Session(self.host, self.options, self.app)) as session:
            self.app = only_app(session, self.host, self.app)
            action = "look" if seconds is None else "start"
            try:
                told = self._ask(session, action, line, soak=seconds, variant=variant, period=period)
                if seconds is not None and not told["began"]:
                    self.progress.note(f"{self.host.text}: a soak runs there already; this is that one")
                while told["running"]:
                    time.sleep(self.looks_every)
                    told = self._look(session, line)
            except KeyboardInterrupt:
                self.progress.note("ending the soak on the device")
                session.resume()
                told = self._ask(session, "stop", line)
            return self._result(told)

    def _ask(
        self, session: Session, action: str, line: Callable[[dict[str, Any], float], None], **fields: Any
    ) -> dict[str, Any]:
        known = len(self.lines)
        told = with_helper(
            session, lambda: session.ask("soak", action=action, after=known, timeout=60, **fields)
        )
        self.lines += told["lines"]
        self._ran = self._ran or told["running"]
        if self._ran:  # One that had ended before is shown as a whole.
            for new in told["lines"]:
                line(new, told["wanted"])
        return told

    def _look(self, session: Session, line: Callable[[dict[str, Any], float], None]) -> dict[str, Any]:
        retries = Retries(ATTEMPTS)
        while True:
            try:
                return self._ask(session, "look", line)
            except LinkLost as error:
                session.reconnect()
                pause = retries.pause()
                if pause is None:
                    way = at(self.host, self.options)
                    raise DeviceError(
                        "soak-out-of-reach",
                        f"{self.host.text} cannot be reached any more; the soak goes on there, if the device does",
                        context={"seen": error.message, "known": f"{len(self.lines)} lines until then"},
                        hint=f"edgeship bench {way} --soak last",
                    ) from None
                self.progress.note(f"{self.host.text}: no way to it now; the soak goes on there")
                time.sleep(pause)

    def _result(self, told: dict[str, Any]) -> dict[str, Any]:
        way = at(self.host, self.options)
        if told["release"] is None:
            raise InputError(
                "no-soak",
                f"no soak runs on {self.host.text}, and none ran since the device's folder was made",
                hint=f"edgeship bench {way} --soak 1h",
            )
        document = told["document"]
        if document is not None and "error" not in document:
            return {**document, "release": told["release"]}
        if document is not None:
            raise DeviceError(
                "bench-failed",
                f"{self.host.text} could not measure: {document['error']}: {document.get('reason', '')}",
                hint=f"edgeship logs {way}",
            )
        raise DeviceError(
            "bench-failed",
            f"the soak on {self.host.text} ended without a result: the device restarted, or it was killed",
            context={
                "known": f"{len(self.lines)} lines, which cover {self.lines[-1]['at'] if self.lines else 0:.0f} s",
                "seen": told["said"].strip()[-300:] or "no output",
            },
            hint=f"edgeship bench {way} --soak 10m",
        )
