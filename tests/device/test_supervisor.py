"""The supervising process outlives what keeps its service from starting for a while: nobody else would try again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeship.device.ship import helper_source

RELEASE = "a" * 64
SERVICE = "import time\nprint('up', flush=True)\ntime.sleep(3600)\n"


class Supervised:
    """A supervising process on an application's folder."""

    def __init__(self, folder: Path) -> None:
        self.helper, self.root = folder / "es.py", folder / "root"
        self.app = self.root / "apps" / "kws"
        self.helper.write_bytes(helper_source())
        self.release = self.app / "releases" / RELEASE
        (self.release / "runtime").mkdir(parents=True)
        (self.release / "runtime" / "main.py").write_text(SERVICE)
        for name in ("run", "log"):
            (self.app / name).mkdir()
        self.start = self.app / "run" / "start.json"
        self.start.write_text(json.dumps({"release": RELEASE, "listen": None}))
        argv = ["/usr/bin/python3", "-I", "-B", str(self.helper), "supervise", str(self.root), "kws"]
        self.process = subprocess.Popen(argv)

    def log(self) -> str:
        path = self.app / "log" / "service.log"
        return path.read_text() if path.exists() else ""

    def told(self) -> dict[str, Any]:
        return dict(json.loads((self.app / "run" / "supervisor.json").read_text()))

    def wait(self, what: Callable[[], Any]) -> Any:
        """Return the first true result of `what`; fail where none comes, or the supervising process is gone."""
        for _ in range(600):
            assert self.process.poll() is None, self.log()
            try:
                if found := what():
                    return found
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        raise AssertionError(self.log())

    def child(self) -> int:
        """Return the pid of a service that runs."""
        return int(self.wait(lambda: (self.told()["child"] or {}).get("pid")))


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(timeout=30)


@pytest.mark.parametrize("hidden", ["start", "release"])
def test_what_was_away_for_a_while(supervised: Supervised, hidden: str) -> None:
    """The start order or the release's folder, as when storage fails: it counts crashes, and comes back by itself."""
    first = supervised.child()
    path = getattr(supervised, hidden)
    away = path.with_name("away")
    path.rename(away)
    os.kill(first, signal.SIGKILL)
    supervised.wait(lambda: supervised.log().count("the service could not be started: ") >= 2)
    assert supervised.told()["child"] is None and supervised.told()["last_exit"] == 127
    away.rename(path)
    second = supervised.child()
    assert second != first and supervised.told()["restarts"] >= 3


def test_a_log_that_cannot_be_turned_over(supervised: Supervised) -> None:
    """Its name is taken by a folder: what was written goes on being written, and the service runs."""
    first = supervised.child()
    log = supervised.app / "log" / "service.log"
    (supervised.app / "log" / "service.log.1" / "in the way").mkdir(parents=True)
    with log.open("ab") as stream:
        stream.write(b"x" * ((1 << 20) - stream.tell()) + b"\n")
    os.kill(first, signal.SIGKILL)
    supervised.wait(lambda: supervised.child() != first)
    os.kill(supervised.child(), signal.SIGKILL)
    supervised.wait(lambda: supervised.told()["restarts"] == 2 and supervised.told()["child"])


def test_its_lock_says_who_it_is_over_what_stood_there(supervised: Supervised) -> None:
    """In place: on a full disk what was cut off could not be written again."""
    supervised.child()
    lock = supervised.app / "run" / "supervisor.lock"
    assert json.loads(lock.read_text())["pid"] == supervised.process.pid and lock.stat().st_size == 128
