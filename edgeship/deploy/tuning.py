"""Settings of a service that runs: what holds on a device, where it comes from, and changing it without a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgeship.deploy.change import Change, explained, signed_fields
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import at
from edgeship.deploy.refusals import Refused
from edgeship.deploy.session import Session
from edgeship.deploy.verbs import only_app, with_helper
from edgeship.values import Host


def tuned(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "at", "app", "settings", "own", ...} of an application: the release's settings and the device's
    own."""
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        found = with_helper(session, lambda: session.ask("tuned"))
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
    return _told(host, options, name, reply)


def _told(host: Host, options: DeployOptions, app: str, reply: Mapping[str, Any]) -> dict[str, Any]:
    names = ("release", "governed", "settings", "rungs", "own", "at", "trial", "changed", "by")
    said = {name: reply[name] for name in names if name in reply}
    return {"host": host.text, "way": at(host, options), "app": app, **said}


def decisions(host: Host, app: str | None, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "app", "release", "log", "deciding"}: the decisions that a service logged, as text, and the
    digests of the files of its runtime that decide. Raises DeviceError `no-decision-log`, `no-governor`."""
    with closing(Session(host, options, app)) as session:
        name = only_app(session, host, app)
        reply = with_helper(session, lambda: session.ask("decisions"))
    return {"host": host.text, "app": name, **{key: reply[key] for key in ("release", "log", "deciding")}}
