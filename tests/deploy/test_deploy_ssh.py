"""The whole protocol over a real OpenSSH server on loopback."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from edgeship.deploy import bench, deploy, deploy_many, history, logs, rollback, status, verify
from edgeship.progress import Silent
from edgeship.values import Host


def test_the_life_of_a_service(remote: Any) -> None:
    one, two = remote.bundle("1"), remote.bundle("2")
    first = deploy(one, remote.host, remote.options, Silent())
    assert (first.state, first.from_release) == ("committed", None), first.reason
    assert first.golden.vectors == 2 and first.serving == f"http://127.0.0.1:{remote.port}"
    assert remote.serving_release() == one.release

    again = deploy(one, remote.host, remote.options, Silent())
    assert again.state == "unchanged" and [s.name for s in again.steps] == ["hello"]
    assert again.bytes_sent < 1000 and again.seconds < 5

    second = deploy(two, remote.host, remote.options, Silent())
    assert (second.state, second.from_release) == ("committed", one.release)
    assert remote.serving_release() == two.release

    seen = status(remote.host, "kws", remote.options)["apps"]["kws"]
    assert seen["record"]["to"] == two.release and seen["current"] == two.release
    assert {r["version"] for r in seen["releases"]} == {"1", "2"}

    back = rollback(remote.host, None, remote.options, Silent())
    assert (back.state, back.release) == ("committed", one.release)
    assert {"prove", "arm", "confirm"} <= {s.name for s in back.steps}
    assert remote.serving_release() == one.release

    assert verify(remote.host, None, remote.options)["drift"] == []
    assert any("serving" in line for line in logs(remote.host, None, remote.options))
    assert bench(remote.host, None, remote.options)["schema"] == "edgeship.bench/1"
    told = history(remote.host, None, remote.options)
    assert [e["event"] for e in told["entries"]].count("committed") == 3 and told["broken_at"] is None


def test_unchanged_in_one_connection_and_less_than_a_second_of_talk(remote: Any) -> None:
    from edgeship.deploy.deployment import Deployment

    bundle = remote.bundle("1")
    assert deploy(bundle, remote.host, remote.options, Silent()).state == "committed"
    best = 9.0
    for _ in range(3):
        work = Deployment(
            remote.host, remote.options, Silent(), app="kws", target="test", release=bundle.release
        )
        report = work.go(bundle)
        assert report.state == "unchanged" and work.session.connections == 1
        best = min(best, report.seconds)
    assert best < 2.0  # about 0.4 s on an idle machine; the limit leaves room for a loaded one


def test_a_killed_controller_leaves_the_dead_man(remote: Any, controller: Any) -> None:
    one = remote.bundle("1")
    deploy(one, remote.host, remote.options, Silent())
    bench = remote.with_options(trial_seconds=6)
    two = remote.bundle("2", prove_seconds=1.5)  # the live check takes long enough to be killed in
    child = controller(two, bench)
    remote.wait_for(lambda: bench.record()["state"] == "TRIAL")
    child.kill()
    child.wait()
    record = remote.wait_for(
        lambda: (r := bench.record())["state"] == "COMMITTED" and r["result"] == "reverted" and r
    )
    assert record["to"] == one.release and "nobody confirmed within 6 s" in record["reason"]
    remote.wait_for(lambda: remote.serving_release() == one.release)
    assert deploy(remote.bundle("3"), remote.host, remote.options, Silent()).state == "committed"


def test_interrupting_leaves_the_device_safe(remote: Any, controller: Any) -> None:
    one = remote.bundle("1")
    deploy(one, remote.host, remote.options, Silent())
    early = controller(remote.bundle("2", prove_seconds=5), remote)
    remote.wait_for(lambda: len(list((remote.root / "apps/kws/releases").iterdir())) == 2)
    time.sleep(0.5)
    early.send_signal(signal.SIGINT)
    out, err = early.communicate(timeout=120)
    assert out.startswith("failed | interrupted before anything was switched; nothing was changed"), err
    late = controller(remote.bundle("3", prove_seconds=2), remote)
    remote.wait_for(lambda: remote.record()["state"] == "TRIAL")
    late.send_signal(signal.SIGINT)
    out, err = late.communicate(timeout=120)
    assert out.startswith(f"reverted | interrupted; back on release {one.release[:12]}"), (out, err)
    assert remote.serving_release() == one.release


def test_several_hosts_and_one_that_is_down(remote: Any, sshd: Any, tmp_path: Path) -> None:
    down = Host(text="pi@127.0.0.1:9", kind="ssh", user="pi", hostname="127.0.0.1", port=9)
    local = Host(text=f"local:{tmp_path}/other", kind="local", directory=tmp_path / "other")
    bundle = remote.bundle("1")
    from edgeship.values import Bundle

    assert isinstance(bundle, Bundle)
    reports = deploy_many(bundle, (remote.host, down), remote.options, Silent())
    assert [r.state for r in reports] == ["committed", "failed"]
    assert "connection-refused" in reports[1].reason and reports[1].host == down.text
    busy = deploy(bundle, local, remote.options, Silent())  # the same port: its service could not start
    assert busy.state == "failed" and "another program on the device listens on" in busy.reason


def test_a_server_away_at_the_confirmation_is_asked_again(remote: Any, sshd: Any) -> None:
    import threading

    one = remote.bundle("1")
    back = threading.Timer(2.0, sshd.start)

    class Watcher(Silent):
        def step(self, text: str) -> None:
            if "confirming" in text:
                sshd.stop()
                back.start()

    report = deploy(one, remote.host, remote.options, Watcher())
    back.join()
    assert report.state == "committed", report.reason
    assert "settle" in {step.name for step in report.steps}
    assert remote.serving_release() == one.release
