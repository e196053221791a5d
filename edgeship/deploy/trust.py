"""Whose releases a device runs: look at it, and tell it. What can be, the helper decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import at
from edgeship.deploy.session import HelperMissing, Session
from edgeship.values import Host


def show_trust(host: Host, options: DeployOptions) -> dict[str, Any]:
    """Return {"host", "at", "policy", "signers", "sequences", "time"}; `policy` is None where the device was never
    told. `at` is how it is reached, in words to type."""
    return _ask(host, options, "policy")


def change_trust(
    host: Host,
    options: DeployOptions,
    *,
    signers: Sequence[Mapping[str, str]] = (),
    revoke: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Let more keys ({"name", "key"}) sign, revoke others by fingerprint, change the policy; return as `show_trust`.

    A device that was never met gets the helper and its layout, and nothing else. A refused change changes nothing.
    """
    fields = {"signers": list(signers), "revoke": list(revoke), "changes": dict(changes or {})}
    return _ask(host, options, "trust", **fields)


def _ask(host: Host, options: DeployOptions, verb: str, **fields: Any) -> dict[str, Any]:
    with closing(Session(host, options, None)) as session:
        try:
            reply = session.ask(verb, **fields)
        except HelperMissing:
            session.ship()
            reply = session.ask(verb, **fields)
    return {
        "host": host.text,
        "at": at(host, options),
        **{key: reply[key] for key in ("policy", "signers", "sequences", "time")},
    }
