"""The supervisor's watchdog: a service that pinged and then hangs is killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeship.device.ship import helper_source

RELEASE = "a" * 64
SERVICE = """
import os, socket, time
address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
assert os.environ["WATCHDOG_USEC"] == "1000000"
for _ in range(PINGS):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"WATCHDOG=1", address)
    time.sleep(0.3)
time.sleep(3600)
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Start the helper's supervisor, with a patience of one second, on a service; return the application's folder."""
    helper, app = tmp_path / "es.py", tmp_path / "root" / "apps" / "kws"
    source = helper_source()
    assert source.count(b"WATCHDOG_SECONDS = 30.0\n") == 1
    helper.write_bytes(source.replace(b"WATCHDOG_SECONDS = 30.0\n", b"WATCHDOG_SECONDS = 1.0\n"))
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str) -> Path:
        runtime = app / "releases" / RELEASE / "runtime"
        runtime.mkdir(parents=True)
        (runtime / "main.py").write_text(program)
        for name in ("run", "log"):
            (app / name).mkdir()
        (app / "run" / "start.json").write_text(json.dumps({"release": RELEASE, "listen": None}))
        argv = ["/usr/bin/python3", "-I", "-B", str(helper), "supervise", str(tmp_path / "root"), "kws"]
        started.append(subprocess.Popen(argv))
        return app

    yield start
    for child in started:
        child.send_signal(signal.SIGTERM)
        child.wait()


def test_a_service_that_hangs_is_started_again(supervised: Callable[[str], Path]) -> None:
    app = supervised(SERVICE.replace("PINGS", "4"))
    log = app / "log" / "service.log"
    for _ in range(600):
        if log.exists() and log.read_text().count("starting release") == 2:
            break
        time.sleep(0.05)
    text = log.read_text()
    assert "the service was silent for 1 s: it hangs, and is killed" in text, text
    assert "the service ended with status -9; starting it again" in text, text
    assert json.loads((app / "run" / "supervisor.json").read_text())["restarts"] >= 1


def test_one_that_never_pings_is_left_alone(supervised: Callable[[str], Path]) -> None:
    app = supervised(SERVICE.replace("PINGS", "0"))
    time.sleep(3)
    text = (app / "log" / "service.log").read_text()
    assert text.count("starting release") == 1 and "hangs" not in text, text


def test_others_cannot_ping_for_it(supervised: Callable[[str], Path]) -> None:
    """A child of the service that goes on pinging does not keep it: only the service's own process counts."""
    own = SERVICE.replace("PINGS", "2").replace("time.sleep(3600)", "if os.fork():\n    time.sleep(3600)")
    child = SERVICE.replace("PINGS", "40").replace("time.sleep(3600)", "")
    app = supervised(own + child)
    log = app / "log" / "service.log"
    for _ in range(600):
        if log.exists() and "hangs, and is killed" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
