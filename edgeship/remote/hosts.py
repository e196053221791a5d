"""`user@host[:port]` and `local:DIR` as a Host value."""

from __future__ import annotations

import re
from pathlib import Path

from edgeship.errors import InputError
from edgeship.values import Host

FORM = "user@host[:port] or local:DIR"
NAME = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$")
ADDRESS6 = re.compile(r"^[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?$")
USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.\\+-]*\$?$")


def parse_host(text: str) -> Host:
    """Return the Host that `text` names. Raises InputError `bad-host`. IPv6 addresses with a port stand in
    brackets."""
    if text.startswith("local:"):
        directory = text[len("local:") :]
        if not directory:
            raise _bad(
                text, "there is no directory after local:", "edgeship deploy ... --host local:/tmp/device"
            )
        return Host(text=text, kind="local", directory=Path(directory).expanduser().absolute())
    if not text or text != text.strip() or any(c.isspace() for c in text):
        raise _bad(text, "empty, or with blanks in it", None)
    if text.startswith("ssh://"):
        raise _bad(text, "a URL", f"--host {text.removeprefix('ssh://').rstrip('/')}")
    user, at, rest = text.rpartition("@")
    if at and not USER.match(user):
        raise _bad(text, f"{user!r} is not a user name", None)
    name, port = _name_and_port(text, rest)
    return Host(text=text, kind="ssh", user=user or None, hostname=name, port=port or 22)


def explicit_port(host: Host) -> int | None:
    """Return the port the user wrote, or None: then ssh_config may name one."""
    return _name_and_port(host.text, host.text.rpartition("@")[2])[1]


def _name_and_port(text: str, rest: str) -> tuple[str, int | None]:
    """Return (host name or address, port or None)."""
    if rest.startswith("["):
        name, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or not ADDRESS6.match(name):
            raise _bad(
                text, "brackets hold an IPv6 address, then :port", f"--host {text.split('@')[0]}@[fe80::1]:22"
            )
        return name, _port(text, port[1:]) if port else None
    if rest.count(":") > 1:
        if not ADDRESS6.match(rest):
            raise _bad(text, "more than one colon", None)
        return rest, None
    name, colon, port = rest.partition(":")
    if not name:
        raise _bad(text, "there is no host name", None)
    if "/" in name:
        raise _bad(text, "a path", f"--host local:{text}")
    if not NAME.match(name):
        raise _bad(text, f"{name!r} is not a host name", None)
    return name, _port(text, port) if colon else None


def _port(text: str, port: str) -> int:
    """Return a port number; refuses what is not one."""
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise _bad(text, f"port {port!r} is not a number from 1 to 65535", None)
    return int(port)


def _bad(text: str, why: str, hint: str | None) -> InputError:
    """Return the error for a host that cannot be read."""
    return InputError(
        "bad-host",
        f"cannot read host {text!r}: {why}",
        context={"seen": text or "(empty)", "wanted": FORM},
        hint=hint or "edgeship deploy ... --host pi@10.0.0.7",
    )
