"""After the confirmation: a release that crashes again and again goes back by itself, with nobody connected."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import deploy, history, rollback
from edgeship.progress import Silent


@pytest.fixture
def watched(local: Any) -> Any:
    """A local device that watches a confirmed release for 60 s and lets it crash once."""
    return local.with_options(bake_seconds=60.0, bake_restarts=1)


def commit(bench: Any, version: str, **behaviour: Any) -> Any:
    bundle = bench.bundle(version, **behaviour)
    report = deploy(bundle, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    return bundle


def test_it_goes_back_and_everybody_is_told(watched: Any) -> None:
    old = commit(watched, "1")
    new = watched.bundle("2", serve="dies later", after=3)
    report = deploy(new, watched.host, watched.options, Silent())
    assert report.state == "committed", report.reason
    assert "watched for 60 s" in {s.name: s.detail for s in report.steps}["confirm"]
    assert watched.status()["bake_left"] > 40
    watched.wait_for(lambda: watched.record()["result"] == "went-back")
    record = watched.record()
    assert record["state"] == "COMMITTED" and record["to"] == old.release and record["fell"] == new.release
    assert record["reason"].startswith("went back by itself after the confirmation: the service of release")
    assert "crashed 2 times in" in record["reason"]
    assert watched.serving_release() == old.release
    # the release before is watched from now on too, with nothing to go back to
    assert record["bake"]["release"] == old.release and record["bake"]["back"] is None
    log = history(watched.host, "kws", watched.options)
    assert log["broken_at"] is None and log["entries"][-1]["reason"] == record["reason"]
    assert [e["event"] for e in log["entries"]][-3:] == ["committed", "reverting", "committed"]

    heard: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            heard.append(text)

    third = watched.bundle("3")
    assert deploy(third, watched.host, watched.options, Notes()).state == "committed"
    assert any("went back by itself" in text for text in heard)
    assert watched.record()["result"] == "committed" and watched.record()["fell"] is None


def test_crashes_within_the_limit_change_nothing(local: Any) -> None:
    bench = local.with_options(bake_seconds=6.0, bake_restarts=0)
    commit(bench, "1")
    two = commit(bench, "2", serve="dies later", after=9)
    time.sleep(12)  # the first crash comes when the watch is over
    record = bench.record()
    assert record["to"] == two.release and record["result"] == "committed"
    bench.wait_for(lambda: bench.serving_release() == two.release)
    off = local.with_options(bake_seconds=0.0)
    three = commit(off, "3", serve="dies later", after=2)
    assert off.record()["bake"] is None
    time.sleep(8)
    assert off.record()["to"] == three.release


def test_the_release_before_fails_too_degraded_and_no_loop(watched: Any) -> None:
    """A trouble of the whole device: the old one dies as well, right away or after a while."""
    flag = watched.folder / "trouble"
    old = commit(watched, "1", serve="dies later", after=2, only_if=str(flag))
    commit(watched, "2", serve="dies later", after=2, only_if=str(flag))
    flag.touch()
    deadline = watched.options.bake_seconds + 30
    watched.wait_for(lambda: watched.record()["state"] == "DEGRADED", deadline)
    record = watched.record()
    assert record["to"] == old.release and record["result"] == "went-back"
    assert record["reason"].count("crashed") >= 1 and "went back" in record["reason"]
    events = [e["event"] for e in history(watched.host, "kws", watched.options)["entries"]]
    assert events.count("reverting") == 1
    kept = {entry["release"] for entry in watched.status()["releases"]}
    assert len(kept) == 2  # nothing was deleted
    flag.unlink()  # the trouble ends: the service comes back by itself
    watched.wait_for(lambda: watched.serving_release() == old.release, 60)


def test_a_first_deployment_has_nothing_to_go_back_to(watched: Any) -> None:
    flag = watched.folder / "trouble"
    one = commit(watched, "1", serve="dies later", after=1, only_if=str(flag))
    flag.touch()
    watched.wait_for(lambda: watched.record()["state"] == "DEGRADED")
    assert "there is no release to go back to, so the service is started again" in watched.record()["reason"]
    flag.unlink()
    watched.wait_for(lambda: watched.serving_release() == one.release, 60)


def test_who_went_back_by_hand_is_not_taken_forward_again(watched: Any) -> None:
    flag = watched.folder / "trouble"
    one = commit(watched, "1", serve="dies later", after=1, only_if=str(flag))
    commit(watched, "2")
    assert rollback(watched.host, "kws", watched.options, Silent()).state == "committed"
    flag.touch()
    watched.wait_for(lambda: watched.record()["state"] == "DEGRADED")
    assert watched.record()["to"] == one.release and "gone back to by hand" in watched.record()["reason"]


def test_a_damaged_release_is_not_gone_back_to(watched: Any) -> None:
    flag = watched.folder / "trouble"
    one = commit(watched, "1")
    two = commit(watched, "2", serve="dies later", after=1, only_if=str(flag))
    model = watched.root / "apps/kws/releases" / one.release / "models/model.tflite"
    model.unlink()
    model.write_bytes(b"rotten")
    flag.touch()
    watched.wait_for(lambda: watched.record()["state"] == "DEGRADED")
    record = watched.record()
    assert record["to"] == two.release and f"{one.release[:12]} before it cannot be used" in record["reason"]


def test_a_new_deployment_that_started_meanwhile_decides(watched: Any) -> None:
    """The crash loop comes while another release is on trial: that one is confirmed, and the hook does nothing."""
    flag = watched.folder / "trouble"
    commit(watched, "1")
    commit(watched, "2", serve="dies later", after=1, only_if=str(flag))
    slow = watched.bundle("3", prove_seconds=5)

    class Trouble(Silent):
        def step(self, text: str) -> None:
            if "golden vectors on the device" in text:
                flag.touch()
                watched.wait_for(lambda: watched.record().get("result") == "went-back")

    report = deploy(slow, watched.host, watched.options, Trouble())
    assert report.state == "committed", report.reason
    assert watched.record()["to"] == slow.release and watched.record()["fell"] is None
    assert report.from_release != slow.release
    time.sleep(3)
    assert watched.serving_release() == slow.release


def test_status_says_it_with_its_exit_code(watched: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeship.cli.main import run

    old = commit(watched, "1")
    commit(watched, "2", serve="dies later", after=2)
    assert run(["status", "--host", watched.host.text]) == 0
    assert "watched for another" in capsys.readouterr().out
    watched.wait_for(lambda: watched.record()["result"] == "went-back")
    assert run(["status", "--host", watched.host.text]) == 3
    text = capsys.readouterr().out
    assert old.release[:12] in text and "went back by itself after the confirmation" in text
    assert run(["status", "--host", watched.host.text, "--json"]) == 3
    app = json.loads(capsys.readouterr().out)["apps"]["kws"]
    assert app["went_back"] is True and app["release"] == old.release

    # deploying what it went back to settles it
    settled = deploy(old, watched.host, watched.options, Silent())
    assert settled.state == "committed", settled.reason
    assert run(["status", "--host", watched.host.text]) == 0
    assert watched.record()["fell"] is None and watched.serving_release() == old.release
    assert deploy(old, watched.host, watched.options, Silent()).state == "unchanged"


def restart_device(bench: Any) -> None:
    """Do what a start of the device does: nothing runs, then boot recovery with another boot identity."""
    from edgeship.device.layout import helper_path
    from edgeship.device.ship import helper_sha256

    bench.stop_services()
    helper = helper_path(str(bench.root), helper_sha256())
    fresh = Path(bench.folder) / "boot_id"
    fresh.write_text(f"{time.monotonic_ns()}-test\n")
    bind = f"mount --bind {fresh} /proc/sys/kernel/random/boot_id"
    script = f"{bind} && exec /usr/bin/python3 -I -B {helper} boot {bench.root} kws"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.root
def test_a_release_that_runs_until_the_device_is_restarted(watched: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("another boot identity needs root")
    flag = watched.folder / "trouble"
    bench = watched.with_options(bake_seconds=5.0)
    old = commit(bench, "1")
    commit(bench, "2", serve="dies later", after=1, only_if=str(flag))
    time.sleep(6)  # the watch is over
    flag.touch()
    # the restarted device counts a new time; its supervisor sees the boot identity of its own mount namespace
    restart_device(replace(bench))
    bench.wait_for(lambda: bench.record().get("result") == "went-back")
    record = bench.record()
    assert record["to"] == old.release and "after a restart of the device" in record["reason"]


def test_a_release_that_cannot_even_be_started(watched: Any) -> None:
    """Its folder is gone: each try counts as a crash, and the device goes back."""
    old = commit(watched, "1")
    new = commit(watched, "2")
    (watched.root / "apps/kws/releases" / new.release).rename(watched.folder / "away")
    os.kill(watched.status()["serving"]["pid"], signal.SIGKILL)
    watched.wait_for(lambda: watched.record()["result"] == "went-back")
    assert watched.record()["to"] == old.release and watched.serving_release() == old.release
