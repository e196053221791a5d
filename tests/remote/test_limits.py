"""What a device prints is read up to a limit, whatever the way to it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeship.errors import DeviceError
from edgeship.remote import Command, ConnectOptions, LinkLost, Transport, connect, parse_host
from edgeship.remote.command import ERROR_BYTES


@pytest.fixture(params=["local", "ssh"])
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A link to this machine, in both ways."""
    if request.param == "local":
        opened = connect(parse_host(f"local:{tmp_path}"), ConnectOptions())
    else:
        server = request.getfixturevalue("server")
        opened = connect(server.host, server.options)
    with closing(opened) as made:
        yield made


def test_output_without_end_is_left(link: Transport) -> None:
    assert len(link.run(Command(argv=("head", "-c", "1000", "/dev/zero"), most=1000)).stdout) == 1000
    with pytest.raises(DeviceError, match="sends more than 16 MiB") as caught:
        link.run(Command(argv=("head", "-c", "300000000", "/dev/zero")))
    assert caught.value.reference == "answer-too-long" and not isinstance(caught.value, LinkLost)


def test_of_endless_complaints_the_end_is_kept(link: Transport) -> None:
    script = "head -c 20000000 /dev/zero >&2; echo the end >&2; echo done"
    done = link.run(Command(argv=("sh", "-c", script)))
    assert done.stdout == b"done\n" and done.stderr.endswith("the end\n")
    assert len(done.stderr) <= 2 * ERROR_BYTES
