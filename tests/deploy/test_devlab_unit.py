"""The real runtime in its real unit on a device that systemd boots: limits, watchdog, and a root that is read-only."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.cli.main import run
from edgeship.deploy import DeployOptions, deploy, history
from edgeship.deploy.session import Session
from edgeship.progress import Silent
from edgeship.remote import parse_host
from edgeship.values import Bundle, Goal

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow]

READ_ONLY_UNIT = """[Unit]
DefaultDependencies=no
After=sysinit.target
Before=ssh.service edgeship-recover-kws.service
[Service]
Type=oneshot
ExecStart=mount -o remount,ro /
[Install]
WantedBy=multi-user.target
"""


def at(lab: Any, name: str) -> tuple[Any, DeployOptions]:
    """Return (a device that systemd boots, how to deploy to it)."""
    made = lab.up(1, prefix=f"esunit-{os.getpid()}-{name}", base="amd64", disk="256M", init="systemd")[0]
    options = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        trial_seconds=60,
        ready_seconds=30,
        connect_seconds=5,
        cut_seconds=3,
    )
    return made, options


def on(device: Any, command: str) -> str:
    """Return what a command prints on the device, as root."""
    done = device.exec("sh", "-c", command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return str(done.stdout).strip()


@pytest.fixture
def bundle(tmp_path: Path, shared_data: Path) -> Bundle:
    """MLPerf Tiny's int8 keyword spotter for this kind of machine, as the command line builds it."""
    from edgeship.bundle.seal import open_bundle

    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kws = shared_data / "kws"
    words = ["build", kws / "mlperf_int8.tflite", "--target", "x86-64-linux", "--eval", kws / "eval.npz",
             "--app", "kws", "--listen", f"127.0.0.1:{port}", "-o", tmp_path, "--quiet"]  # fmt: skip
    assert run([str(word) for word in words]) == 0
    return open_bundle(next(tmp_path.glob("*.edgeship")))


@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_unit_is_closed_and_watched(lab: Any, bundle: Bundle, local: Any) -> None:
    device, options = at(lab, "watch")
    host = parse_host(device.name)
    report = deploy(bundle, host, options, Silent())
    assert report.state == "committed", report.reason

    level = re.search(
        r"exposure level for edgeship-kws.service: ([0-9.]+)",
        on(device, "systemd-analyze security edgeship-kws"),
    )
    assert level and float(level[1]) <= 1.5, level
    names = "WatchdogUSec,MemoryMax,TasksMax,LimitCORE,CPUWeight,OOMScoreAdjust"
    shown = dict(
        line.split("=", 1) for line in on(device, f"systemctl show -p {names} edgeship-kws").splitlines()
    )
    memory = int(shown.pop("MemoryMax"))
    assert memory % (1 << 20) == 0 and 0 < memory < 1 << 31
    assert shown == {
        "WatchdogUSec": "30s",
        "TasksMax": "64",
        "LimitCORE": "0",
        "CPUWeight": "50",
        "OOMScoreAdjust": "500",
    }

    # A service that hangs: stopped, so that it can neither answer nor ping, it is killed and started again.
    folder = "/etc/systemd/system/edgeship-kws.service.d"
    text = "[Service]\\nWatchdogSec=2\\nTimeoutStopSec=2\\n"
    on(
        device,
        f"mkdir -p {folder}; printf '{text}' >{folder}/quick.conf; "
        "systemctl daemon-reload; systemctl restart edgeship-kws",
    )
    bench = type(local)(host=host, options=options, root=Path("/var/lib/edgeship"), folder=Path(), port=0)
    first = bench.wait_for(lambda: (s := bench.status()["serving"])["release"] == bundle.release and s)
    on(device, f"kill -STOP {first['pid']}")
    second = bench.wait_for(
        lambda: (s := bench.status()["serving"])["release"] == bundle.release and s["restarts"] and s
    )
    assert second["restarts"] == 1 and second["pid"] != first["pid"]
    assert "Watchdog timeout" in on(device, "journalctl -u edgeship-kws --no-pager")


def bench_on(local: Any, device: Any, options: Any, folder: Path) -> Any:
    """Return the bench of a lab's device; its services listen on a port that is free here, and so there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    root = Path("/var/lib/edgeship")
    return type(local)(host=parse_host(device.name), options=options, root=root, folder=folder, port=port)


def test_a_root_that_is_read_only_from_the_start(lab: Any, local: Any, tmp_path: Path) -> None:
    device, options = at(lab, "ro")
    bench = bench_on(local, device, options, tmp_path)
    one, slow = bench.bundle("1"), bench.bundle("2", prove_seconds=4)
    assert deploy(one, bench.host, options, Silent()).state == "committed"
    path = "/etc/systemd/system/lab-read-only.service"
    on(device, f"cat >{path} <<'EOF'\n{READ_ONLY_UNIT}EOF\nsystemctl enable lab-read-only")
    device.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    assert not bench.status()["writable"] and bench.status()["serving"]["restarts"] == 0
    refused = deploy(slow, bench.host, options, Silent())
    assert refused.state == "failed" and "read-only" in refused.reason.lower(), refused.reason

    # In the middle of a trial: the old release serves although `current` names the new one.
    device.fault("rw")

    def restart() -> None:
        bench.wait_for(lambda: bench.serving_release() == slow.release, 60)
        device.fault("reboot")

    thread = threading.Thread(target=restart)
    thread.start()
    report = deploy(slow, bench.host, replace(options, settle_seconds=20), Silent())
    thread.join()
    assert report.state == "degraded", report
    bench.wait_for(lambda: bench.serving_release() == one.release)
    seen = bench.status()
    assert (seen["current"], seen["record"]["state"]) == (slow.release, "TRIAL") and not seen["writable"]
    said = on(device, "journalctl -u edgeship-recover-kws --no-pager")
    assert (
        f"release {one.release[:12]} serves all the same; the trial of release {slow.release[:12]} is taken back"
        in said
    )

    # Writable again: the next contact takes the trial back, and the device takes releases.
    device.fault("rw")
    assert deploy(bench.bundle("3"), bench.host, options, Silent()).state == "committed"
    told = [entry.get("reason") for entry in history(bench.host, None, options)["entries"]]
    assert "the device restarted during the trial" in told


def test_links_hooks_and_a_dead_man_that_are_lost(lab: Any, local: Any, tmp_path: Path) -> None:
    device, options = at(lab, "lost")
    bench = bench_on(local, device, options, tmp_path)
    # A first deployment that is taken back leaves no hook behind.
    dead = deploy(bench.bundle("0", serve="dies"), bench.host, options, Silent())
    assert dead.state == "reverted" and on(device, "find /etc/systemd/system -name '*edgeship*'") == ""

    one, two = bench.bundle("1"), bench.bundle("2")
    assert deploy(one, bench.host, options, Silent()).state == "committed"
    # The link that starts the service was lost, as by a power cut: recovery makes it again, and has it started.
    link = "/etc/systemd/system/multi-user.target.wants/edgeship-kws.service"
    on(device, f"rm {link}")
    device.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    assert on(device, f"ls {link}") == link

    # A dead-man that is killed while it goes back is started again. Here it waits for the lock, until it is gone.
    staged = deploy(two, bench.host, replace(options, goal=Goal.STAGE), Silent())
    assert staged.state == "staged", staged.reason
    session = Session(bench.host, options, "kws")
    common = {"fence": session.ask("lease", ready_seconds=5)["fence"], "tx": "lost"}
    session.ask("arm", release=two.release, ttl=10, service="systemd", listen=None, **common)
    assert session.ask("activate", ready_seconds=20, prove_seconds=20, **common)["reason"] is None
    on(device, "systemd-run --unit=holder flock /var/lib/edgeship/lock sleep 600")
    unit = "edgeship-deadman-lost.service"

    def pid() -> int:
        return int(on(device, f"systemctl show -p MainPID --value {unit}") or 0)

    first = bench.wait_for(pid)
    on(device, f"kill -KILL {first}")
    second = bench.wait_for(lambda: (found := pid()) != first and found)
    assert second and bench.serving_release() == two.release
    on(device, "systemctl stop holder")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    told = bench.wait_for(lambda: (r := bench.status()["record"])["state"] == "COMMITTED" and r)
    assert told["reason"] == "nobody confirmed within 10 s"
    bench.wait_for(lambda: not pid())
