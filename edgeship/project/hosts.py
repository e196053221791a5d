"""`user@host[:port]` in its parts: one rule for the settings, for `--host`, and for what connects."""

from __future__ import annotations

import re

LOCAL = "local:"
NAME = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$")
ADDRESS6 = re.compile(r"^[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?$")
USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.\\+-]*\$?$")
BRACKETS = "brackets hold an IPv6 address, then :port"
URL, PATH = "a URL", "a path"


def split_host(text: str) -> tuple[str | None, str, int | None]:
    """Return (user or None, name or address, port or None) of what is reached over SSH.

    IPv6 addresses with a port stand in brackets. Raises ValueError that says why it is none.
    """
    if not text or any(c.isspace() for c in text):
        raise ValueError("empty, or with blanks in it")
    if text.startswith("ssh://"):
        raise ValueError(URL)
    user, at, rest = text.rpartition("@")
    if at and not USER.match(user):
        raise ValueError(f"{user!r} is not a user name")
    return user or None, *_name_and_port(rest)


def _name_and_port(rest: str) -> tuple[str, int | None]:
    """Return (host name or address, port or None)."""
    if rest.startswith("["):
        name, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or not ADDRESS6.match(name):
            raise ValueError(BRACKETS)
        return name, _port(port[1:]) if port else None
    if rest.count(":") > 1:
        if not ADDRESS6.match(rest):
            raise ValueError("more than one colon")
        return rest, None
    name, colon, port = rest.partition(":")
    if not name:
        raise ValueError("there is no host name")
    if "/" in name:
        raise ValueError(PATH)
    if not NAME.match(name):
        raise ValueError(f"{name!r} is not a host name")
    return name, _port(port) if colon else None


def _port(port: str) -> int:
    """Return a port number; refuses what is not one."""
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return int(port)
