"""The crash-loop hook under a real systemd: after the confirmation, and after a restart of the device."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import DeployOptions, deploy, history
from edgeship.progress import Silent
from edgeship.remote import parse_host

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow]
TROUBLE = "/var/lib/edgeship/trouble"
NUMBERS = itertools.count(1)


@pytest.fixture
def watched(lab: Any, local: Any, tmp_path: Path) -> Any:
    """Return (device, Bench) of a new lab device with systemd that lets a watched release crash once."""
    prefix = f"esbake-{os.getpid()}-{next(NUMBERS)}"
    device = lab.up(1, prefix=prefix, base="amd64", init="systemd", disk="256M")[0]
    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        allow_unsigned=True,
        trial_seconds=60,
        ready_seconds=30,
        connect_seconds=5,
        cut_seconds=3,
        bake_seconds=200,
        bake_restarts=1,
    )
    root = Path("/var/lib/edgeship")
    return device, type(local)(
        host=parse_host(device.name), options=options, root=root, folder=tmp_path, port=port
    )


def on_device(bench: Any, *words: str) -> str:
    """Return what a command prints there, run as root."""
    config = str(bench.options.ssh_config)
    done = subprocess.run(
        ["ssh", "-F", config, bench.host.text, "sudo", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def recorded(bench: Any) -> dict[str, Any]:
    return dict(bench.status()["record"])


def test_systemd_goes_back_after_the_confirmation_and_after_a_restart(watched: Any) -> None:
    device, bench = watched
    one = bench.bundle("1")
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    # A crash loop right after the confirmation.
    two = bench.bundle("2", serve="dies later", after=2, only_if=TROUBLE)
    report = deploy(two, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    assert "watched for" in {s.name: s.detail for s in report.steps}["confirm"]
    on_device(bench, "touch", TROUBLE)
    bench.wait_for(lambda: recorded(bench)["result"] == "went-back", 120)
    record = recorded(bench)
    assert record["state"] == "COMMITTED" and record["to"] == one.release, record
    assert "crashed 2 times in" in record["reason"]
    bench.wait_for(lambda: bench.serving_release() == one.release)
    on_device(bench, "rm", TROUBLE)

    # A release that runs well until the device is restarted.
    three = bench.bundle("3", serve="dies later", after=2, only_if=TROUBLE)
    assert deploy(three, bench.host, bench.options, Silent()).state == "committed"
    on_device(bench, "sh", "-c", f"'echo >{TROUBLE}; sync'")
    assert bench.serving_release() in (three.release, None)
    device.fault("reboot")
    bench.wait_for(lambda: recorded(bench)["result"] == "went-back", 150)
    record = recorded(bench)
    assert record["to"] == one.release and "after a restart of the device" in record["reason"]
    bench.wait_for(lambda: bench.serving_release() == one.release)
    entries = history(bench.host, "kws", bench.options)
    assert entries["broken_at"] is None
    assert [e["event"] for e in entries["entries"]].count("reverting") == 2


def test_systemd_keeps_trying_where_there_is_nothing_to_go_back_to(watched: Any) -> None:
    _, bench = watched
    one = bench.bundle("1", serve="dies later", after=2, only_if=TROUBLE)
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    on_device(bench, "touch", TROUBLE)
    bench.wait_for(lambda: recorded(bench)["state"] == "DEGRADED", 120)
    assert "no release to go back to" in recorded(bench)["reason"]
    on_device(bench, "rm", TROUBLE)
    bench.wait_for(lambda: bench.serving_release() == one.release, 90)
    shown = on_device(bench, "systemctl", "show", "-p", "RestartUSec,OnFailure", "edgeship-kws.service")
    assert "RestartUSec=30s" in shown and "OnFailure=\n" in shown + "\n"


def test_systemd_a_watch_that_is_over_no_longer_limits_the_service(watched: Any) -> None:
    _, bench = watched
    bench = bench.with_options(bake_seconds=15, bake_restarts=0)
    one = bench.bundle("1")
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    two = bench.bundle("2", serve="dies later", after=2, only_if=TROUBLE)
    assert deploy(two, bench.host, bench.options, Silent()).state == "committed"
    bench.wait_for(lambda: bench.status()["bake_left"] == 0)
    pid = bench.status()["serving"]["pid"]
    on_device(bench, "systemctl", "kill", "-s", "KILL", "edgeship-kws.service")
    bench.wait_for(lambda: bench.status()["serving"]["pid"] not in (pid, None), 60)
    record = recorded(bench)
    assert record["to"] == two.release and record["result"] == "committed"


def test_systemd_a_watchdog_that_fails_in_every_release_degrades_the_device(watched: Any) -> None:
    """Nobody serves the watchdog: that counts as crashing, and it is no single release's fault."""
    _, bench = watched
    one, two = bench.bundle("1"), bench.bundle("2")
    for bundle in (one, two):
        assert deploy(bundle, bench.host, bench.options, Silent()).state == "committed"
    folder = "/etc/systemd/system/edgeship-kws.service.d"
    on_device(bench, "sh", "-c", f"'printf \"[Service]\\nWatchdogSec=4\\n\" >{folder}/watchdog.conf'")
    on_device(bench, "systemctl", "daemon-reload")
    on_device(bench, "systemctl", "restart", "edgeship-kws.service")
    bench.wait_for(lambda: recorded(bench)["state"] == "DEGRADED", 150)
    record = recorded(bench)
    assert record["to"] == one.release and record["result"] == "went-back", record
    assert "went back by itself after the confirmation" in record["reason"]
    events = [e["event"] for e in history(bench.host, "kws", bench.options)["entries"]]
    assert events.count("reverting") == 1
    assert {entry["release"] for entry in bench.status()["releases"]} == {one.release, two.release}
    on_device(bench, "rm", f"{folder}/watchdog.conf")
    on_device(bench, "systemctl", "daemon-reload")
    bench.wait_for(lambda: bench.serving_release() == one.release, 90)
