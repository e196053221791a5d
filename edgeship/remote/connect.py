"""One way to a transport, whatever the host is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeship.remote.command import Transport
from edgeship.remote.local import LocalTransport
from edgeship.values import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How to reach devices over SSH; without effect on `local:`."""

    ssh_config: Path | None = None
    """Instead of ~/.ssh/config and /etc/ssh/ssh_config."""
    identity: Path | None = None
    """The one private key to use; otherwise the agent, ssh_config and the usual files."""
    accept_new_host_key: bool = False
    """Record the key of a host that is in no known_hosts file. A changed key is refused all the same."""
    connect_seconds: float = 10.0
    cut_seconds: float = 8.0
    """How long sent data may stay without an acknowledgement before the link counts as cut."""


def connect(host: Host, options: ConnectOptions) -> Transport:
    """Return an open link to `host`. Raises DeviceError or InputError that say what to do about it."""
    if host.kind == "local":
        return LocalTransport(host)
    from edgeship.remote.ssh import SshTransport  # fabric is slow to import, and local: does without

    return SshTransport(
        host,
        ssh_config=options.ssh_config,
        identity=options.identity,
        accept_new_host_key=options.accept_new_host_key,
        connect_seconds=options.connect_seconds,
        cut_seconds=options.cut_seconds,
    )
