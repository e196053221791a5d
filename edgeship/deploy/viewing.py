"""Where a browser finds the page of a service, in words that work as typed: `page_line(...)`."""

from __future__ import annotations

from urllib.parse import urlsplit

from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import ssh
from edgeship.values import DeployReport, Host

ANYWHERE = ("0.0.0.0", "::")
"""Addresses that a service listens on and nobody asks."""
FREE = 1024
"""The first port that anybody may open."""


def page_line(report: DeployReport, host: Host, options: DeployOptions) -> str | None:
    """Return the address of the page of what serves now, seen from this machine; None where a browser has no way to
    it: nothing serves, or it listens on a socket file."""
    place = urlsplit(report.serving or "")
    name = place.hostname
    if place.scheme != "http" or name is None or place.port is None:
        return None
    own = name == "localhost" or name == "::1" or name.startswith("127.")
    if host.kind == "local":
        return f"http://{'127.0.0.1' if name in ANYWHERE else _bracketed(name)}:{place.port}/"
    if own:
        here = place.port if place.port >= FREE else 8000 + place.port
        tunnel = f"ssh -N -L {here}:{_bracketed(name)}:{place.port} "
        return f"http://127.0.0.1:{here}/  after  {ssh(host, options).strip().replace('ssh ', tunnel, 1)}"
    return (
        f"http://{_bracketed(host.hostname or name) if name in ANYWHERE else _bracketed(name)}:{place.port}/"
    )


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
