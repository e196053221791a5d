"""`user@host[:port]` and `local:DIR` as a Host value."""

from __future__ import annotations

from pathlib import Path

from edgeship.errors import InputError
from edgeship.project.hosts import BRACKETS, LOCAL, PATH, URL, split_host
from edgeship.values import Host

FORM = "user@host[:port] or local:DIR"


def parse_host(text: str) -> Host:
    """Return the Host that `text` names. Raises InputError `bad-host`. IPv6 addresses with a port stand in
    brackets."""
    if text.startswith(LOCAL):
        directory = text[len(LOCAL) :]
        if not directory:
            raise _bad(
                text, "there is no directory after local:", "edgeship deploy ... --host local:/tmp/device"
            )
        return Host(text=text, kind="local", directory=Path(directory).expanduser().absolute())
    try:
        user, name, port = split_host(text)
    except ValueError as error:
        meant = {
            URL: text.removeprefix("ssh://").rstrip("/"),
            PATH: f"local:{text}",
            BRACKETS: f"{text.split('@')[0]}@[fe80::1]:22",
        }.get(str(error))
        raise _bad(text, str(error), f"--host {meant}" if meant else None) from None
    return Host(text=text, kind="ssh", user=user, hostname=name, port=port or 22)


def explicit_port(host: Host) -> int | None:
    """Return the port the user wrote, or None: then ssh_config may name one."""
    return split_host(host.text)[2]


def _bad(text: str, why: str, hint: str | None) -> InputError:
    """Return the error for a host that cannot be read."""
    return InputError(
        "bad-host",
        f"cannot read host {text!r}: {why}",
        context={"seen": text or "(empty)", "wanted": FORM},
        hint=hint or "edgeship deploy ... --host pi@10.0.0.7",
    )
