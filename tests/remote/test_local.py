"""`local:` takes commands the same way as SSH does."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from edgeship.remote import Command, CommandTimeout, ConnectOptions, LinkLost, connect, parse_host


def test_bytes_status_progress(tmp_path: Path) -> None:
    heard: list[int] = []
    with closing(connect(parse_host(f"local:{tmp_path}"), ConnectOptions())) as link:
        command = Command(argv=("sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "it's"), stdin=b"x" * 300_000)
        done = link.run(command, heard.append)
        assert (done.status, len(done.stdout), done.stderr) == (7, 300_000, "it's\n")
        assert heard == [300_000]
        assert link.run(Command(argv=("false",), stdin=b"y" * 9_000_000)).status == 1
        assert link.run(Command(argv=("id", "-u"), sudo=True)).status == 0


def test_time_limits_end_the_whole_group(tmp_path: Path) -> None:
    begun = time.monotonic()
    with closing(connect(parse_host(f"local:{tmp_path}"), ConnectOptions())) as link:
        with pytest.raises(CommandTimeout):
            link.run(Command(argv=("sh", "-c", f"sleep 3; touch {tmp_path}/late"), timeout=0.3))
        time.sleep(0.1)
    assert time.monotonic() - begun < 2.5 and not (tmp_path / "late").exists()


def test_closing_ends_a_command(tmp_path: Path) -> None:
    link = connect(parse_host(f"local:{tmp_path}"), ConnectOptions())
    threading.Timer(0.3, link.close).start()
    with pytest.raises(LinkLost):
        link.run(Command(argv=("sleep", "60")))
    with pytest.raises(LinkLost):
        link.run(Command(argv=("true",)))
