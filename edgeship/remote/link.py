"""Where one SSH connection goes, as ssh_config has it: host, port, user, keys, and what it goes through."""

from __future__ import annotations

import getpass
import re
import shlex
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.remote.sshlib import paramiko

DEFAULT_FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")
HOP = re.compile(
    r"(?:(?P<user>.+)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]+|[^@]*:[^@]*:[^@]*))(?::(?P<port>\d+))?"
)
"""A hop of ProxyJump: [user@]host[:port], an IPv6 address with a port in brackets."""


def read_ssh_config(path: Path | None) -> Any:
    """Return the ssh_config in `path`, or in the user's and the system's files. Raises InputError `bad-ssh-config`."""
    config = paramiko.SSHConfig()
    files = [path.expanduser()] if path else [Path(name).expanduser() for name in DEFAULT_FILES]
    for file in files:
        if not path and not file.is_file():
            continue
        try:
            with file.open(encoding="utf-8", errors="replace") as stream:
                config.parse(stream)
        except (OSError, ValueError, IndexError, paramiko.ssh_exception.ConfigParseError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(
                "bad-ssh-config",
                f"cannot read the SSH settings in {file}: {reason}",
                context={"file": file},
                hint=f"ssh -G -F {shlex.quote(str(file))} HOST shows what OpenSSH makes of it",
            ) from None
    return config


class Link:
    """One connection, not yet open, and those it jumps through."""

    def __init__(
        self, name: str, config: Any, *, user: str | None = None, port: int | None = None, seconds: float
    ) -> None:
        said: dict[str, Any] = config.lookup(name)
        self.ssh_config = said
        self.host: str = said.get("hostname", name)
        self.user: str = user or said.get("user") or getpass.getuser()
        self.port: int = port or int(said.get("port", 22))
        self.connect_kwargs: dict[str, Any] = {}
        if keys := said.get("identityfile"):
            self.connect_kwargs["key_filename"] = list(keys)
        self.client = paramiko.SSHClient()
        self.transport: Any = None
        self._seconds = seconds
        self.gateway = self._through(config)

    def _through(self, config: Any) -> Link | str | None:
        """Return the last hop of ProxyJump with those before it as its own gateways, a ProxyCommand, or None."""
        jump = self.ssh_config.get("proxyjump")
        if not jump or jump.lower() == "none":
            command = self.ssh_config.get("proxycommand")
            return None if not command or command.lower() == "none" else str(command)
        before: Link | None = None
        for hop in jump.split(","):
            parts = HOP.fullmatch(hop.strip().removeprefix("ssh://"))
            name = (parts["v6"] or parts["host"]) if parts else hop.strip()
            if name == self.host:  # a wildcard of ssh_config covers the jump host itself
                return None
            user, port = (parts["user"], parts["port"]) if parts else (None, None)
            link = Link(name, config, user=user, port=int(port) if port else None, seconds=self._seconds)
            if before is not None:
                link.gateway = before
            before = link
        return before

    def open(self) -> None:
        """Connect, through a gateway that is open already. Raises what paramiko and sockets raise."""
        options = dict(self.connect_kwargs)
        if isinstance(self.gateway, Link):
            options["sock"] = self.gateway.transport.open_channel(
                "direct-tcpip", (self.host, self.port), ("", 0), timeout=self._seconds
            )
        elif self.gateway:
            options["sock"] = paramiko.ProxyCommand(self.gateway)
        self.client.connect(
            self.host, port=self.port, username=self.user, timeout=max(1, round(self._seconds)), **options
        )
        self.transport = self.client.get_transport()
