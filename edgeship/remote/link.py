"""Where one SSH connection goes and what it goes through, as ssh_config has it: fabric's connections, not yet open."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.remote.included import with_included
from edgeship.remote.sshlib import fabric, paramiko

DEFAULT_FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")
HOP = re.compile(
    r"(?:(?P<user>.+)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:]+|[^@]*:[^@]*:[^@]*))(?::(?P<port>\d+))?"
)
"""A hop of ProxyJump: [user@]host[:port], an IPv6 address with a port in brackets."""


def read_settings(path: Path | None) -> Any:
    """Return fabric's Config with the ssh_config in `path`, or in the user's and the system's files. Raises
    InputError `bad-ssh-config`."""
    try:
        config = fabric.Config(ssh_config=paramiko.SSHConfig())  # read below, so that an error names its file
    except Exception as error:
        raise _bad(
            f"cannot read fabric's own settings: {error}", None, "ls /etc/fabric.* ~/.fabric.*"
        ) from error
    if path:
        config.ssh_config_path = str(path)
    own = Path(config.ssh_config_path).expanduser() if config.ssh_config_path else None
    for file in [own] if own else [Path(name).expanduser() for name in DEFAULT_FILES]:
        if not own and not file.is_file():
            continue
        try:
            config.base_ssh_config.parse(io.StringIO(with_included(file)))
        except (OSError, ValueError, IndexError, paramiko.ssh_exception.ConfigParseError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            file = Path(getattr(error, "filename", None) or file)  # perhaps one that it includes
            hint = f"ssh -G -F {shlex.quote(str(file))} HOST shows what OpenSSH makes of it"
            raise _bad(f"cannot read the SSH settings in {file}: {reason}", file, hint) from None
    return config


def _bad(said: str, file: Path | str | None, hint: str) -> InputError:
    return InputError("bad-ssh-config", said, context={"file": file} if file else {}, hint=hint)


def link(
    name: str,
    config: Any,
    *,
    user: str | None = None,
    port: int | None = None,
    seconds: float,
    behind: tuple[str, ...] = (),
) -> Any:
    """Return the fabric.Connection to `name`; its `gateway` is the one it jumps through, or a ProxyCommand.

    `behind`: the names that are reached through it. Raises InputError `bad-ssh-config` for settings without sense.
    """
    try:
        made = fabric.Connection(
            name,
            user=user,
            port=port,
            config=config,
            gateway=False,  # None would have fabric look for one, and it takes `ProxyJump none` for a host
            forward_agent=False,
            connect_timeout=max(1, round(seconds)),
        )
    except Exception as error:
        file = config.ssh_config_path
        told = f"ssh -G {f'-F {shlex.quote(file)} ' if file else ''}{shlex.quote(name)}"
        raise _bad(f"cannot use the SSH settings for {name}: {error}", file, told) from error
    made.gateway = _through(made, config, seconds, (*behind, name))
    return made


def _through(made: Any, config: Any, seconds: float, behind: tuple[str, ...]) -> Any:
    """Return the last hop of ProxyJump with those before it as its own gateways, a ProxyCommand, or None."""
    jump = made.ssh_config.get("proxyjump")
    if not jump or jump.lower() == "none":
        return made.ssh_config.get("proxycommand") or (None if jump else config.gateway)
    before = None
    for hop in jump.split(","):
        parts = HOP.fullmatch(hop.strip().removeprefix("ssh://"))
        name = (parts["v6"] or parts["host"]) if parts else hop.strip()
        if name in behind:  # a wildcard of ssh_config covers the jump host itself
            return None
        user, port = (parts["user"], parts["port"]) if parts else (None, None)
        via = link(
            name,
            config.clone(),  # fabric writes into the settings it was given
            user=user,
            port=int(port) if port else None,
            seconds=seconds,
            behind=behind,
        )
        if before is not None:
            via.gateway = before
        before = via
    return before
