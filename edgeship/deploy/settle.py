"""After a fault in the middle of a trial: reconnect, read the truth, and bring it to an end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.refusals import Refused
from edgeship.deploy.session import Session
from edgeship.errors import DeviceError

OPEN = ("ARMED", "TRIAL", "REVERTING")
PAUSE = 1.0


@dataclass(slots=True, kw_only=True)
class Trial:
    """The trial that this controller armed, and the healthy service it saw, once it did."""

    tx: str
    fence: int
    release: str
    serving: dict[str, Any] | None = None
    boot: str | None = None
    asked: bool = False
    """Whether the switch was asked for: before that nothing can have been switched."""

    def compare(self, seen: Mapping[str, Any]) -> None:
        """Check a fresh look at the device against the healthy service. Raises DeviceError where they differ."""
        now = seen["serving"] or {}
        before = self.serving or {}
        record = seen["record"]
        for what, wanted, found in (
            ("transaction", self.tx, record.get("tx")),
            ("release", self.release, now.get("release")),
            ("process", before.get("pid"), now.get("pid")),
            ("restart count", before.get("restarts"), now.get("restarts")),
            ("boot", record.get("boot"), seen["boot"]),
        ):
            if wanted != found:
                raise DeviceError(
                    "not-as-left",
                    f"over a fresh connection the {what} is {found}, not {wanted}",
                )


def settle(
    session: Session, trial: Trial, options: DeployOptions, why: str, *, may_confirm: bool
) -> dict[str, Any] | None:
    """Return the final state record of the trial, or None where the device cannot be asked in time.

    `may_confirm`: only the link was lost, so a healthy trial is confirmed; otherwise the device is told to go back.
    """
    deadline = time.monotonic() + options.settle_limit()
    refusal: Refused | None = None
    while True:
        try:
            record = _look(session, trial, options, why, may_confirm=may_confirm)
            if record is not None:
                return record
        except Refused as refused:
            if refused.reference == "fenced":
                return _final(session.ask("status")["record"], trial)
            refusal = refused
        except DeviceError:
            refusal = None
            session.reconnect()
        if time.monotonic() + PAUSE > deadline:
            return _stuck(session, trial, refusal) if refusal else None
        time.sleep(PAUSE)


def _look(
    session: Session, trial: Trial, options: DeployOptions, why: str, *, may_confirm: bool
) -> dict[str, Any] | None:
    """Return the final record where the trial is at its end, doing what brings it there."""
    seen = session.ask("status")
    record = seen["record"]
    wait: dict[str, Any] = {
        "timeout": 2 * options.ready_seconds + 200,
        "ready_seconds": options.ready_seconds,
        "prove_seconds": 120,
    }
    if (
        record.get("tx") != trial.tx
    ):  # a call that was given up may still be under way: wait for it, or keep it out
        ended = session.ask("revert", fence=trial.fence, tx=trial.tx, reason=why, last=True, **wait)["record"]
        return None if ended["state"] in OPEN and ended["tx"] == trial.tx else _final(ended, trial)
    if record["state"] not in OPEN:
        return _final(record, trial)
    if record["state"] == "TRIAL" and may_confirm and seen["seconds_left"] > 0:
        health = session.ask("health", **wait)
        if health["reason"] is None:
            trial.serving = health["serving"]
            restarts = health["serving"]["restarts"]
            return dict(session.ask("confirm", restarts=restarts, fence=trial.fence, tx=trial.tx)["record"])
        why = health["reason"]
    reply = session.ask("revert", fence=trial.fence, tx=trial.tx, reason=why, **wait)
    return None if reply["record"]["state"] in OPEN else _final(reply["record"], trial)


def _stuck(session: Session, trial: Trial, refusal: Refused) -> dict[str, Any] | None:
    """Return the record of a device that answers and cannot carry out what would end the trial, as degraded."""
    try:
        seen = session.ask("status")
    except DeviceError:
        return None
    record = seen["record"]
    if record.get("tx") != trial.tx or record["state"] not in OPEN:
        return _final(record, trial)
    serves = (seen.get("serving") or {}).get("release")
    reason = (
        f"the device cannot go back ({refusal.reference}: {refusal.message}); "
        f"{f'release {serves[:12]}' if serves else 'nothing'} serves there, and when the device starts again "
        "it goes back by itself"
    )
    return dict(record, state="DEGRADED", result=None, reason=reason)


def _final(record: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """Return the record as the end of this trial; where it tells of another one, ours was taken back or never began."""
    if record.get("tx") == trial.tx:
        return dict(record)
    return dict(
        record, result="reverted", reason="the trial did not begin, or another deployment followed it"
    )
