"""Everything around a deployment that goes wrong, against a real OpenSSH server; every report says what to do."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import deploy, status
from edgeship.deploy.reach import at
from edgeship.deploy.retry import Retries
from edgeship.errors import DeviceError
from edgeship.progress import Silent
from edgeship.values import EXIT_CODE_OF_STATE

COREUTILS = [
    "sh",
    "uname",
    "id",
    "head",
    "date",
    "cat",
    "getconf",
    "sed",
    "grep",
    "tr",
    "awk",
    "df",
    "rm",
    "od",
    "ls",
    "command",
    "test",
    "env",
    "sudo",
]


def failed(report: Any, *words: str) -> None:
    """Check that nothing was changed, and the report's words."""
    assert report.state == "failed" and EXIT_CODE_OF_STATE[report.state] == 1, report
    assert report.hint and all(word in report.reason + " | " + report.hint for word in words), report


def test_hosts_that_cannot_be_trusted_or_reached(remote: Any, sshd: Any) -> None:
    bundle = remote.bundle("1")
    sshd.known_hosts.write_text("")
    failed(deploy(bundle, remote.host, remote.options, Silent()), "unknown-host-key", "--accept-new-host-key")
    other = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} ssh-ed25519 {other}\n")
    report = deploy(bundle, remote.host, replace(remote.options, accept_new_host_key=True), Silent())
    failed(report, "host-key-changed", "HAS CHANGED", f"{sshd.known_hosts}:1", "ssh-keygen -R")
    sshd.trust()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(sshd.folder / "wrong")], check=True
    )
    wrong = replace(remote.options, identity=sshd.folder / "wrong")
    failed(deploy(bundle, remote.host, wrong, Silent()), "login-refused", "ssh-copy-id")
    sshd.stop()
    failed(deploy(bundle, remote.host, remote.options, Silent()), "connection-refused", "enable --now ssh")
    assert not remote.root.exists()
    with pytest.raises(DeviceError, match="refuses connections"):
        status(remote.host, None, remote.options)


def test_a_new_host_key_is_accepted_on_request_and_said_in_the_report(remote: Any, sshd: Any) -> None:
    sshd.known_hosts.write_text("")
    options = replace(remote.options, accept_new_host_key=True)
    report = deploy(remote.bundle("1"), remote.host, options, Silent())
    assert report.state == "committed" and "recorded the new host key" in report.steps[0].detail
    assert deploy(remote.bundle("1"), remote.host, remote.options, Silent()).state == "unchanged"


def restricted(sshd: Any, folder: Path, **scripts: str) -> None:
    """Give the device a PATH with a few tools only, and `scripts` in their place."""
    folder.mkdir()
    for name in COREUTILS:
        if name not in scripts and (found := shutil.which(name, path="/usr/bin:/bin")):
            (folder / name).symlink_to(found)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    config = sshd.folder / "sshd_config"
    text = config.read_text().replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", f"PATH={folder}")
    config.write_text(text)
    sshd.stop()
    sshd.start()


def test_no_python(remote: Any, sshd: Any, tmp_path: Path) -> None:
    restricted(sshd, tmp_path / "tools")
    report = deploy(remote.bundle("1"), remote.host, remote.options, Silent())
    failed(
        report, "preflight-python: the device cannot take this release", "has no python3", "apt-get install"
    )
    assert not remote.root.exists()


def test_no_sudo(remote: Any, sshd: Any, tmp_path: Path) -> None:
    user = 'case "$1" in -u) echo 1000;; -un) echo pi;; esac'
    refuse = 'echo "sudo: a password is required" >&2; exit 1'
    restricted(sshd, tmp_path / "tools", id=user, sudo=refuse)
    report = deploy(remote.bundle("1"), remote.host, replace(remote.options, sudo=True), Silent())
    failed(report, "no-sudo", "cannot become root", "/etc/sudoers.d/edgeship", "--no-sudo --root DIR")
    assert not remote.root.exists()


def test_a_root_below_a_file(local: Any) -> None:
    local.root.parent.mkdir(exist_ok=True)
    local.root.write_text("in the way")
    report = deploy(local.bundle("1"), local.host, local.options, Silent())
    failed(report, "is not a folder")
    assert local.root.read_text() == "in the way"


def test_a_current_that_is_a_folder_is_left_alone(local: Any) -> None:
    (local.root / "apps/kws/current").mkdir(parents=True)
    (local.root / "apps/kws/current/precious").write_text("mine")
    report = deploy(local.bundle("1"), local.host, local.options, Silent())
    failed(report, "current-not-a-link", "is not a symbolic link", "move it away")
    assert (local.root / "apps/kws/current/precious").read_text() == "mine"


@pytest.fixture
def small(local: Any) -> Iterator[Any]:
    """A local device whose folder is a file system of 3 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    local.root.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "edgeship-test", str(local.root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield local
    local.stop_services()  # while its records can still be read
    subprocess.run(["umount", "-l", str(local.root)], check=False)


@pytest.mark.root
def test_no_space(small: Any) -> None:
    needs = {"disk_bytes": 4_000_000}
    report = deploy(small.bundle("1", requires=needs), small.host, small.options, Silent())
    failed(report, "preflight-disk", "8.6 MB needed", "df -h")
    assert list(small.root.iterdir()) == []
    # A manifest that promises too little: the device itself runs full in the middle of the upload.
    from edgeship.deploy import ground

    tight = small.bundle("2", requires={"disk_bytes": 10}, ballast=os.urandom(4_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground, "RESERVE_BYTES", 0)
        report = deploy(tight, small.host, small.options, Silent())
        failed(report, "no-space", "No space left on device")
        assert deploy(small.bundle("3", ballast=b""), small.host, small.options, Silent()).state == "failed"
        shutil.rmtree(small.root / "cas/incoming/kws")
        assert deploy(small.bundle("3"), small.host, small.options, Silent()).state == "committed"


@pytest.mark.root
def test_a_read_only_folder(small: Any) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small.root)], check=True)
    report = deploy(small.bundle("1"), small.host, small.options, Silent())
    failed(report, "preflight-root-writable", "cannot be written", "Read-only file system", "--root DIR")


def kill_sessions(sshd: Any) -> None:
    """End the connections of this test's sshd the hard way; the listener lives on."""
    pending = [sshd.process.pid]
    while pending:
        pid = pending.pop()
        children = Path(f"/proc/{pid}/task/{pid}/children")
        if children.exists():
            pending += [int(word) for word in children.read_text().split()]
        if pid != sshd.process.pid and b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


class At:
    """A Progress that does something once, when a step's text contains a word."""

    def __init__(self, word: str, action: Any) -> None:
        self.word, self.action = word, action

    def step(self, text: str) -> None:
        if self.word in text and self.action:
            action, self.action = self.action, None
            action()

    def advance(self, done: int, total: int, unit: str) -> None:
        if done > total / 2:
            self.step("half way")

    def note(self, text: str) -> None:
        pass


def test_a_cut_upload_goes_on_where_it_stopped(remote: Any, sshd: Any) -> None:
    size = 24_000_000
    bundle = remote.bundle("1", ballast=os.urandom(size))
    report = deploy(bundle, remote.host, remote.options, At("half way", lambda: kill_sessions(sshd)))
    assert report.state == "committed", report.reason
    upload = next(step for step in report.steps if step.name == "upload")
    assert "in 2 attempts" in upload.detail
    assert size < report.bytes_sent < 1.7 * size
    # the second attempt sent the rest only
    assert int(upload.detail.split()[0]) < 0.75 * size


def test_an_upload_outlasts_a_server_that_is_away(remote: Any, sshd: Any) -> None:
    bundle = remote.bundle("1", ballast=os.urandom(8_000_000))
    back = threading.Timer(4.0, sshd.start)

    def away() -> None:
        kill_sessions(sshd)
        sshd.stop()
        back.start()

    report = deploy(bundle, remote.host, remote.options, At("half way", away))
    back.join()
    assert report.state == "committed", report.reason
    upload = next(step for step in report.steps if step.name == "upload")
    assert " attempts" in upload.detail


def test_attempts_in_a_row_that_bring_nothing_come_to_an_end() -> None:
    retries = Retries(4)
    retries.missing(100)
    assert [retries.pause(), retries.pause()] == [1.0, 2.0]
    retries.missing(90)  # something arrived: as if it were the first
    assert [retries.pause(), retries.pause(), retries.pause()] == [1.0, 2.0, 4.0]
    retries.missing(90)
    assert retries.pause() is None
    patient = Retries(9)
    assert [patient.pause() for _ in range(9)] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, None]


def test_a_connection_lost_at_the_switch_is_taken_up_again(remote: Any, sshd: Any) -> None:
    one, two = remote.bundle("1"), remote.bundle("2", prove_seconds=1)
    assert deploy(one, remote.host, remote.options, Silent()).state == "committed"

    def cut() -> None:
        threading.Timer(0.8, lambda: kill_sessions(sshd)).start()

    report = deploy(two, remote.host, remote.options, At("switching", cut))
    assert report.state == "committed", report.reason
    assert "settle" in {step.name for step in report.steps}
    assert remote.serving_release() == two.release


def test_a_device_lost_for_good_is_unknown_and_goes_back_by_itself(remote: Any, sshd: Any) -> None:
    one = remote.bundle("1")
    assert deploy(one, remote.host, remote.options, Silent()).state == "committed"

    def cut() -> None:
        kill_sessions(sshd)
        sshd.stop()

    lost = remote.with_options(trial_seconds=8, settle_seconds=2)
    report = deploy(remote.bundle("2"), remote.host, lost.options, At("confirming", cut))
    assert report.state == "unknown" and EXIT_CODE_OF_STATE[report.state] == 4
    assert "the device could not be asked again" in report.reason and "within 8 s" in report.reason
    assert report.hint == f"edgeship status {at(remote.host, remote.options)} --app kws"
    record = remote.wait_for(lambda: (r := remote.record())["state"] == "COMMITTED" and r)
    assert record["to"] == one.release and record["result"] == "reverted"
    remote.wait_for(lambda: remote.serving_release() == one.release)


def test_damage_on_the_device_is_found_and_repaired(local: Any) -> None:
    from edgeship.deploy import verify

    bundle = local.bundle("1")
    assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    model = local.root / "apps/kws/releases" / bundle.release / "models/model.tflite"
    model.chmod(0o644)
    model.write_bytes(b"")
    drift = verify(local.host, "kws", local.options)["drift"]
    assert any("models/model.tflite has changed" in line for line in drift)
    again = deploy(bundle, local.host, local.options, Silent())
    assert again.state == "committed" and verify(local.host, "kws", local.options)["drift"] == []
    assert "what was damaged there was sent again" in {s.name: s.detail for s in again.steps}["stage"]


def test_a_service_that_was_killed_is_started_again(local: Any) -> None:
    bundle = local.bundle("1")
    deploy(bundle, local.host, local.options, Silent())
    pid = local.status()["serving"]["pid"]
    os.kill(pid, signal.SIGKILL)
    seen = local.wait_for(lambda: (s := local.status()["serving"])["running"] and s["release"] and s)
    assert seen["pid"] != pid and seen["restarts"] == 1 and seen["last_exit"] == -9
    assert local.serving_release() == bundle.release


def test_old_releases_are_removed_and_the_previous_is_kept(local: Any) -> None:
    options = replace(local.options, keep=1)
    bundles = [local.bundle(str(number)) for number in range(1, 5)]
    for bundle in bundles:
        assert deploy(bundle, local.host, options, Silent()).state == "committed"
    kept = {entry["version"] for entry in local.status()["releases"]}
    assert kept == {"3", "4"}
    blobs = {p.name for p in (local.root / "cas").glob("??/*")}
    assert bundles[0].release not in blobs and bundles[2].release in blobs
