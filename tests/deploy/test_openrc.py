"""A device whose pid 1 is openrc-init: everything that a service goes through, over real SSH."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import DeployOptions, deploy, history, logs, probe, remove, rollback, verify
from edgeship.progress import Silent
from edgeship.remote import parse_host

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def device(lab: Any, openrc_image: Any, local: Any, tmp_path: Path) -> tuple[Any, Any]:
    """Return (a device of the lab that OpenRC boots, Bench)."""
    made = openrc_image.up(
        lab, f"esopenrc-{os.getpid()}-{tmp_path.parent.name[-3:]}{len(lab.devices())}", disk="256M"
    )
    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        trial_seconds=60,
        ready_seconds=20,
        connect_seconds=5,
        cut_seconds=3,
    )
    root = Path("/var/lib/edgeship")
    bench = type(local)(host=parse_host(made.name), options=options, root=root, folder=tmp_path, port=port)
    return made, bench


def on(device: Any, command: str) -> str:
    """Return what a command prints on the device, as root."""
    done = device.exec("sh", "-c", command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return str(done.stdout).strip()


def restart_when(bench: Any, device: Any, what: Callable[[], bool]) -> threading.Thread:
    """Restart the device as soon as something holds."""

    def wait() -> None:
        bench.wait_for(what, 40)
        device.fault("reboot")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_life_of_a_service(device: tuple[Any, Any]) -> None:
    made, bench = device
    one, two = bench.bundle("1", openrc=True), bench.bundle("2", openrc=True, requires={"service": "openrc"})
    assert probe(bench.host, bench.options).init == "openrc"
    first = deploy(one, bench.host, bench.options, Silent())
    assert first.state == "committed", first.reason
    assert {s.name: s.detail for s in first.steps}[
        "arm"
    ] == "openrc, 60 s, after a restart: edgeship-recover-kws"
    assert "started" in on(made, "rc-service edgeship-kws status")
    assert deploy(one, bench.host, bench.options, Silent()).state == "unchanged"
    second = deploy(two, bench.host, bench.options, Silent())
    assert (second.state, bench.serving_release()) == ("committed", two.release), second.reason

    # The service has no rights and sees of edgeship's folder its own part, read-only.
    pid = bench.status()["serving"]["pid"]
    status = dict(
        line.split(":", 1) for line in on(made, f"cat /proc/{pid}/status").splitlines() if ":" in line
    )
    assert int(status["Uid"].split()[0]) >= 61184 and status["CapEff"].split() == ["0000000000000000"]
    assert status["NoNewPrivs"].strip() == "1"
    number = status["Uid"].split()[0]
    mine = f"nsenter -t {pid} -m setpriv --reuid {number} --regid {number} --clear-groups"
    assert "Permission denied" in on(made, f"{mine} ls /var/lib/edgeship")
    assert "Read-only file system" in on(made, f"nsenter -t {pid} -m touch /run/edgeship-kws/app/x")

    # Killed, it is started again; its supervisor killed, both are, and the restarts are counted on.
    on(made, f"kill -KILL {pid}")
    bench.wait_for(lambda: (s := bench.status()["serving"])["restarts"] == 1 and s["release"] == two.release)
    on(made, "kill -KILL $(pgrep -f '[s]upervise /var/lib/edgeship kws' | tail -1)")
    bench.wait_for(lambda: (s := bench.status()["serving"])["restarts"] == 2 and s["release"] == two.release)

    dead = deploy(bench.bundle("3", openrc=True, serve="dies"), bench.host, bench.options, Silent())
    assert dead.state == "reverted" and "cannot map the model" in dead.reason, dead.reason
    assert bench.serving_release() == two.release
    assert any("cannot map the model" in line for line in logs(bench.host, None, bench.options))

    back = rollback(bench.host, "kws", bench.options, Silent())
    assert back.state == "committed" and bench.serving_release() == one.release, back.reason
    assert bench.status()["serving"]["manager"] == "openrc"
    assert verify(bench.host, None, bench.options)["drift"] == []

    remove(bench.host, "kws", bench.options)
    assert bench.serving_release() is None
    assert on(made, "ls /etc/init.d /etc/runlevels/* | grep edgeship") == ""
    assert on(made, "pgrep -af '[s]upervis'") == ""


def test_restarts_and_a_lost_link(device: tuple[Any, Any]) -> None:
    made, bench = device
    one = bench.bundle("1", openrc=True)
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    made.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    assert bench.status()["serving"]["restarts"] == 0

    # The link that starts the service was lost, as by a power cut: recovery makes it again, and has it started.
    on(made, "rm /etc/runlevels/default/edgeship-kws")
    made.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    assert on(made, "ls /etc/runlevels/default | grep -x edgeship-kws") == "edgeship-kws"

    # In the middle of a trial: the release before serves, and the report says so.
    slow = bench.bundle("2", openrc=True, prove_seconds=4)
    thread = restart_when(bench, made, lambda: bench.serving_release() == slow.release)
    report = deploy(slow, bench.host, bench.options, Silent())
    thread.join()
    assert report.state == "reverted" and "the device restarted during the trial" in report.reason, report
    bench.wait_for(lambda: bench.serving_release() == one.release)

    # A link that is lost in the middle of a trial, with every session: the device goes back by itself.
    quick = replace(bench.options, trial_seconds=12, settle_seconds=1)
    cut = threading.Thread(
        target=lambda: (bench.wait_for(lambda: bench.serving_release() == slow.release), made.fault("cut"))
    )
    cut.start()
    report = deploy(slow, bench.host, quick, Silent())
    cut.join()
    assert report.state == "unknown", report
    made.fault("kill-sessions")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    made.fault("restore")
    told = bench.wait_for(lambda: (r := bench.status()["record"])["state"] == "COMMITTED" and r)
    assert told["reason"] == "nobody confirmed within 12 s"

    # A first deployment that was on trial: nothing may run afterwards.
    remove(bench.host, "kws", bench.options)
    thread = restart_when(bench, made, lambda: bench.serving_release() == slow.release)
    report = deploy(slow, bench.host, bench.options, Silent())
    thread.join()
    assert report.state == "reverted" and "there was nothing to go back to" in report.reason, report
    assert bench.serving_release() is None and not bench.status()["serving"]

    # Recovery stays hooked after that, with nothing to do; a removal takes it along.
    remove(bench.host, "kws", bench.options)
    assert on(made, "ls /etc/init.d /etc/runlevels/* | grep edgeship") == ""
    dead = deploy(bench.bundle("3", openrc=True, serve="dies"), bench.host, bench.options, Silent())
    assert dead.state == "reverted" and on(made, "ls /etc/init.d /etc/runlevels/* | grep edgeship") == ""


def test_bundles_from_before_and_back(device: tuple[Any, Any]) -> None:
    """Without the script for OpenRC a release runs under a process of our own, where cron starts it after a restart."""
    made, bench = device
    old, new = bench.bundle("1"), bench.bundle("2", openrc=True)
    forced = replace(bench.options, service="openrc")
    refused = deploy(old, bench.host, forced, Silent())
    assert refused.state == "failed"
    assert "the bundle has no service/edgeship.initd: an edgeship before OpenRC built it" in refused.reason
    on(made, "mv /usr/sbin/cron /usr/sbin/cron.away")
    hookless = deploy(old, bench.host, bench.options, Silent())
    assert "as a process of our own the service needs cron, which the device lacks" in hookless.reason

    on(made, "mv /usr/sbin/cron.away /usr/sbin/cron; rc-update add cron default; rc-service cron start")
    assert deploy(old, bench.host, bench.options, Silent()).state == "committed"
    assert bench.status()["serving"]["manager"] == "supervised"
    wrong = deploy(bench.bundle("3", openrc=True, live="wrong"), bench.host, bench.options, Silent())
    assert wrong.state == "reverted" and bench.serving_release() == old.release, wrong.reason
    assert on(made, "ls /etc/init.d | grep edgeship") == "" and "edgeship-kws" in on(made, "ls /etc/cron.d")

    assert deploy(new, bench.host, bench.options, Silent()).state == "committed"
    assert (
        bench.status()["serving"]["manager"] == "openrc" and on(made, "ls /etc/cron.d | grep edgeship") == ""
    )
    back = rollback(bench.host, "kws", bench.options, Silent())
    assert back.state == "committed" and bench.serving_release() == old.release, back.reason
    assert bench.status()["serving"]["manager"] == "supervised"
    made.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == old.release)
    assert (
        on(made, "ls /etc/init.d | grep edgeship") == "" and on(made, "pgrep -f '[s]upervise-daemon'") == ""
    )

    # A restart in the middle of a trial under another manager: the old one comes back under its own.
    slow = bench.bundle("4", openrc=True, prove_seconds=4)
    thread = restart_when(bench, made, lambda: bench.serving_release() == slow.release)
    report = deploy(slow, bench.host, bench.options, Silent())
    thread.join()
    assert report.state == "reverted", report.reason
    bench.wait_for(lambda: bench.serving_release() == old.release)
    assert bench.status()["serving"]["manager"] == "supervised"
    events = [entry["event"] for entry in history(bench.host, None, bench.options)["entries"]]
    assert events[-2:] == ["reverting", "committed"]


def test_a_root_that_is_read_only_from_the_start(device: tuple[Any, Any]) -> None:
    made, bench = device
    one = bench.bundle("1", openrc=True)
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    script = (
        "#!/sbin/openrc-run\ndepend() { before edgeship-recover-kws; }\nstart() { mount -o remount,ro /; }\n"
    )
    path = "/etc/init.d/lab-read-only"
    on(made, f"cat >{path} <<'EOF'\n{script}EOF\nchmod 755 {path}; rc-update add lab-read-only default")
    made.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == one.release)
    seen = bench.status()
    assert (seen["writable"], seen["serving"]["manager"], seen["serving"]["restarts"]) == (False, "openrc", 0)
    assert any("serving 1" in line for line in logs(bench.host, None, bench.options))
    made.fault("rw")
    two = deploy(bench.bundle("2", openrc=True), bench.host, bench.options, Silent())
    assert two.state == "committed", two.reason
    assert on(made, "ls -d /run/edgeship-kws-*").endswith("No such file or directory")


def test_a_confined_service_reads_what_was_tuned(device: tuple[Any, Any]) -> None:
    from tiny_release import GOVERNOR

    from edgeship.deploy import status
    from edgeship.deploy.change import Change
    from edgeship.deploy.tuning import tune

    made, bench = device
    bundle = bench.bundle("1", openrc=True, governor=GOVERNOR)
    report = deploy(bundle, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    told = tune(bench.host, "kws", bench.options, Change(settings={"watts": 3.0}))
    assert told["governor"]["rung"] == "small" and told["governor"]["settings"]["watts"] == 3.0
    serving = status(bench.host, "kws", bench.options)["apps"]["kws"]["serving"]
    assert serving["manager"] == "openrc"
    assert "--kept /run/edgeship-kws/app/kept" in on(made, f"tr '\\0' ' ' </proc/{serving['pid']}/cmdline")
