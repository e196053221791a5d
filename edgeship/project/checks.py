"""What text in `edgeship.yaml` must look like, as functions without pydantic: device verbs check with them, too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from edgeship.printable import one_line
from edgeship.project.hosts import LOCAL, split_host


def app(value: str) -> str:
    """Return the name of a service. Raises ValueError that says what is wanted."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise ValueError(f"expected up to 63 lower-case letters, digits and dashes, found '{value}'")
    return value


def version(value: str) -> str:
    """Return the user's number of a release. Raises ValueError that says what is wanted."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            "expected up to 64 letters, digits, dots, dashes and underscores, no sign in front, found "
            f"'{one_line(value)}'"
        )
    return value


def host(value: str) -> str:
    """Return text that names a device. Raises ValueError that says what is wanted."""
    try:
        if value.startswith(LOCAL):
            if value == LOCAL:
                raise ValueError("there is no directory after local:")
        else:
            split_host(value)
    except ValueError as error:
        wanted = "expected user@host, user@host:port or local:DIR"
        raise ValueError(f"{wanted}, found '{one_line(value)}': {error}") from None
    return value


def listen(value: str) -> str:
    """Return text that names where a service listens. Raises ValueError that says what is wanted."""
    port = re.fullmatch(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", value)
    if not re.fullmatch(r"unix:.+", value) and not (port and int(port[1]) <= 65535):
        raise ValueError(f"expected ADDRESS:PORT or unix:PATH, found '{value}'")
    return value


def device_root(value: str) -> str:
    """Return text that names a folder on a device. Raises ValueError that says what is wanted."""
    if not value.startswith("/"):
        raise ValueError(f"expected an absolute path on the device, found '{value}'")
    if not re.fullmatch(r"[A-Za-z0-9_./+-]*", value):
        raise ValueError(
            "expected a path of letters, digits and _ . / + - (units, cron and init scripts hold it), found "
            f"'{one_line(value)}'"
        )
    return value


def battery(bands: Sequence[Any]) -> Sequence[Any]:
    """Return bands of a battery, each with `below_percent`. Raises ValueError unless they go down."""
    levels = [band.below_percent for band in bands]
    for above, below in itertools.pairwise(levels):
        if below >= above:
            raise ValueError(
                "the bands must go down, highest below_percent first, each once; found "
                f"{', '.join(f'{level:g}' for level in levels)}"
            )
    return bands
