"""From what fabric and paramiko raise to errors that name the cause and what to type."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from edgeship.errors import DeviceError, EdgeshipError
from edgeship.remote.command import NotReached
from edgeship.remote.sshlib import paramiko
from edgeship.values import Host

PORT_HINT = "ssh {target} true"


def explain(error: Exception, host: Host, connection: Any, identity: Path | None) -> EdgeshipError:
    """Return the error for a connection that could not be opened."""
    where = {"host": f"{connection.user}@{connection.host}:{connection.port}"}
    port = f"-p {connection.port} " if connection.port != 22 else ""
    target = f"{port}{connection.user}@{connection.host}"
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        errors = list(error.errors.values())
        return _socket_error(errors[0] if errors else error, host, where, target)
    if isinstance(error, paramiko.PasswordRequiredException):
        return DeviceError(
            "key-needs-passphrase",
            f"the private key for {host.text} is protected by a passphrase",
            context={**where, "key": identity or "from ssh_config or ~/.ssh"},
            hint=("" if os.environ.get("SSH_AUTH_SOCK") else 'eval "$(ssh-agent)"; ')
            + f"ssh-add {identity or '~/.ssh/id_ed25519'}",
        )
    if isinstance(error, paramiko.BadAuthenticationType):
        return DeviceError(
            "password-only",
            f"{host.text} takes {', '.join(error.allowed_types)} only; edgeship logs in with keys, never "
            "passwords",
            context=where,
            hint=f"ssh-copy-id {target}",
        )
    if isinstance(error, paramiko.AuthenticationException):
        return _refused_key(error, host, connection, where, target, identity)
    return _other(error, host, where, target)


def _refused_key(
    error: Exception, host: Host, connection: Any, where: dict[str, str], target: str, identity: Path | None
) -> EdgeshipError:
    """Return the error for a login that was refused."""
    tried = identity or connection.connect_kwargs.get("key_filename") or "the agent's keys and ~/.ssh/id_*"
    if "timeout" in str(error).lower() or "timed out" in str(error).lower():
        return NotReached(
            "login-timeout",
            f"{host.text} did not answer the login in time",
            context=where,
            hint=PORT_HINT.format(target=target),
        )
    return DeviceError(
        "login-refused",
        f"{host.text} does not accept this user with this key",
        context={**where, "user": connection.user, "tried": tried},
        hint=f"ssh-copy-id {target}",
    )


def _other(error: Exception, host: Host, where: dict[str, str], target: str) -> EdgeshipError:
    """Return the error for name resolution, sockets, banners and unusable key files."""
    if isinstance(error, socket.gaierror):
        return DeviceError(
            "unknown-host",
            f"no address found for {host.hostname}: {error.strerror}",
            context=where,
            hint=f"getent hosts {host.hostname}",
        )
    if isinstance(error, FileNotFoundError):
        return DeviceError(
            "no-such-file", f"{error.filename} is not there", context=where, hint="ls -l ~/.ssh"
        )
    silent = ("banner", "no existing session")  # the second: the handshake's own time was over first
    if isinstance(error, paramiko.SSHException) and any(word in str(error).lower() for word in silent):
        return NotReached(
            "no-ssh-banner",
            f"{host.text} accepts connections but does not speak SSH: frozen, overloaded, or not an SSH "
            "server",
            context=where,
            hint=PORT_HINT.format(target=target),
        )
    if isinstance(error, OSError):
        return _socket_error(error, host, where, target)
    return DeviceError(
        "ssh-failed",
        f"the SSH connection to {host.text} failed: {str(error) or type(error).__name__}",
        context=where,
        hint=PORT_HINT.format(target=target),
    )


def _socket_error(error: Exception, host: Host, where: dict[str, str], target: str) -> EdgeshipError:
    """Return the error for a TCP connection that did not come about."""
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return NotReached(
            "connection-refused",
            f"{host.text} refuses connections on this port: no SSH server there",
            context=where,
            hint="on the device: sudo systemctl enable --now ssh",
        )
    reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return NotReached(
        "host-unreachable",
        f"{host.text} cannot be reached: {reason}",
        context=where,
        hint=f"is it switched on and on this network? ping {host.hostname}",
    )
