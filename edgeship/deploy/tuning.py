"""Settings of a service that runs: what holds on a device, where it comes from, and changing it without a restart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgeship.deploy.change import Change, explained, is_taken_up, signed_fields
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import at
from edgeship.deploy.refusals import Refused
from edgeship.deploy.session import Session
from edgeship.deploy.verbs import only_app, with_helper
from edgeship.errors import EdgeshipError
from edgeship.values import Host

TAKES_UP_SECONDS, LOOK_SECONDS = 3.0, 0.3
"""How long a service is given to read new settings (it looks every 2 s), and how often it is asked meanwhile."""


def tuned(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "at", "app", "settings", "own", ...} of an application: the release's settings, the device's own,
    and what the service says of itself."""
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        found = with_helper(session, lambda: session.ask("tuned", live=True))
    return _told(host, options, name, found)


def tune(
    host: Host, app: str | None, options: DeployOptions, change: Change, *, signers: Sequence[Path] = ()
) -> dict[str, Any]:
    """Change a device's own settings; return what `tuned` does, and "changed" and "by". Nothing is restarted.

    `signers` sign where the device takes signed releases only. Raises DeviceError for what the device refuses:
    `unsigned`, `no-governor`, `no-such-rung`, `busy`, ...; nothing is changed then.
    """
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        found = with_helper(session, lambda: session.ask("tuned"))
        fields = signed_fields(name, found["signed"], change, signers)
        try:
            reply = session.ask("tune", **fields)
        except Refused as refused:
            raise explained(refused, host, options) from None
        live = _taken_up(session, reply) if reply["governed"] else None
    return _told(host, options, name, {**reply, **({"governor": live} if live else {})})


def _taken_up(session: Session, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the service says once it reads these settings, or what it says after TAKES_UP_SECONDS; None: it says
    nothing."""
    until, found = time.monotonic() + TAKES_UP_SECONDS, None
    while True:
        try:
            found = session.ask("tuned", live=True).get("governor")
        except EdgeshipError:  # the change stands; what came of it can be asked later
            return found
        if found is None or is_taken_up(found, told) or time.monotonic() > until:
            return found
        time.sleep(LOOK_SECONDS)


def _told(host: Host, options: DeployOptions, app: str, reply: Mapping[str, Any]) -> dict[str, Any]:
    names = ("release", "governed", "settings", "rungs", "own", "at", "trial", "changed", "by", "governor")
    said = {name: reply[name] for name in names if name in reply}
    return {"host": host.text, "way": at(host, options), "app": app, **said}


def decisions(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "app", "release", "log", "deciding"}: the decisions that a service logged, as text, and the
    digests of the files of its runtime that decide. Raises DeviceError `no-decision-log`, `no-governor`."""
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        reply = with_helper(session, lambda: session.ask("decisions"))
    return {"host": host.text, "app": name, **{key: reply[key] for key in ("release", "log", "deciding")}}
