"""Simulated devices with a real Debian userland: systemd as pid 1, restarts in the middle, links that are cut."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import DeployOptions, deploy, deploy_many, logs, probe, rollback
from edgeship.progress import Silent
from edgeship.remote import parse_host

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow]


def at_device(lab: Any, bench_type: Any, folder: Path, name: str, **options: Any) -> tuple[Any, Any]:
    """Return (device, Bench) of a new lab device."""
    device = lab.up(1, prefix=f"esdeploy-{os.getpid()}-{name}", disk="256M", **options)[0]
    choices = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        allow_no_boot_hook=options.get("init") != "systemd",
        allow_unsigned=True,
        trial_seconds=60,
        ready_seconds=30,
        connect_seconds=5,
        cut_seconds=3,
    )
    import socket

    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    bench = bench_type(
        host=parse_host(device.name),
        options=choices,
        root=Path("/var/lib/edgeship"),
        folder=folder,
        port=port,
    )
    return device, bench


@pytest.fixture
def bench_type(local: Any) -> Any:
    """Bench itself, which a test module cannot import."""
    return type(local)


def test_a_device_with_systemd(lab: Any, bench_type: Any, tmp_path: Path) -> None:
    device, bench = at_device(lab, bench_type, tmp_path, "sysd", base="amd64", init="systemd")
    one, two = bench.bundle("1"), bench.bundle("2", requires={"service": "systemd"})

    refused = deploy(one, bench.host, replace(bench.options, allow_volatile_root=False), Silent())
    assert refused.state == "failed" and "an overlay on something not seen" in refused.reason
    first = deploy(one, bench.host, bench.options, Silent())
    assert first.state == "committed", first.reason
    assert "systemd" in {s.name: s.detail for s in first.steps}["arm"]
    again = deploy(one, bench.host, bench.options, Silent())
    assert again.state == "unchanged" and again.seconds < 3
    assert deploy(two, bench.host, bench.options, Silent()).state == "committed"

    dead = deploy(bench.bundle("3", serve="dies"), bench.host, bench.options, Silent())
    assert dead.state == "reverted" and "cannot map the model" in dead.reason
    assert bench.serving_release() == two.release
    assert any("cannot map the model" in line for line in logs(bench.host, None, bench.options))

    # A restart with a confirmed release: it serves again, in its unit.
    device.fault("reboot")
    bench.wait_for(lambda: bench.serving_release() == two.release)
    assert bench.status()["serving"]["manager"] == "systemd"

    # A restart in the middle of a trial: the release before it serves, and the report says so.
    slow = bench.bundle("4", prove_seconds=4)

    def restart() -> None:
        bench.wait_for(lambda: bench.serving_release() == slow.release, 40)
        device.fault("reboot")

    thread = threading.Thread(target=restart)
    thread.start()
    report = deploy(slow, bench.host, bench.options, Silent())
    thread.join()
    assert report.state == "reverted", report.reason
    assert "the device restarted during the trial" in report.reason
    bench.wait_for(lambda: bench.serving_release() == two.release)

    back = rollback(bench.host, "kws", bench.options, Silent())
    assert back.state == "committed" and bench.serving_release() == one.release


def test_a_cut_link_ends_in_seconds_and_the_upload_goes_on(lab: Any, bench_type: Any, tmp_path: Path) -> None:
    device, bench = at_device(lab, bench_type, tmp_path, "cut", base="amd64", init="systemd")
    bundle = bench.bundle("1", ballast=os.urandom(30_000_000))
    device.fault("cut-after", "10M")
    once = replace(bench.options, upload_attempts=1)
    begun = time.monotonic()
    report = deploy(bundle, bench.host, once, Silent())
    assert report.state == "failed" and "link-lost" in report.reason, report.reason
    assert time.monotonic() - begun < 40
    device.fault("restore")
    report = deploy(bundle, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    assert report.bytes_sent < 26_000_000


def test_an_arm_device_without_systemd(lab: Any, bench_type: Any, tmp_path: Path) -> None:
    if not (lab.work / "rootfs" / "arm64" / ".lab-complete").exists():
        pytest.skip("no arm64 image: lab build arm64")
    device, bench = at_device(lab, bench_type, tmp_path, "arm", base="arm64")
    facts = probe(bench.host, bench.options)
    assert (facts.machine, facts.userland_bits, facts.init) == ("aarch64", 64, "other")
    wrong = bench.bundle("0", requires={"machine": "x86_64"})
    hooked = replace(bench.options, allow_no_boot_hook=False)
    refused = deploy(bench.bundle("0"), bench.host, hooked, Silent())
    assert refused.state == "failed" and "neither systemd nor OpenRC nor cron" in refused.reason
    refused = deploy(wrong, bench.host, bench.options, Silent())
    assert refused.state == "failed" and "the device is aarch64, the bundle is for x86_64" in refused.reason
    one = bench.bundle("1", requires={"machine": "aarch64", "libc": {"kind": "glibc", "version": "2.34"}})
    down = parse_host("pi@127.0.0.1:9")
    reports = deploy_many(one, (bench.host, down), bench.options, Silent())
    assert [r.state for r in reports] == ["committed", "failed"], reports
    assert bench.serving_release() == one.release
    # No systemd, no cron: after a restart nothing serves; the next deployment brings it back.
    device.fault("reboot")
    assert not bench.status()["serving"]["running"]
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    assert bench.serving_release() == one.release
