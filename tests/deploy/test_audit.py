"""The audit log: each step stands in it once, and what was cut off its end is missed."""

from __future__ import annotations

from typing import Any

import pytest

from edgeship.cli.main import run
from edgeship.deploy import deploy, history, verify
from edgeship.progress import Silent


def commit(bench: Any, version: str) -> Any:
    bundle = bench.bundle(version)
    report = deploy(bundle, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    return bundle


def events(bench: Any) -> list[str]:
    return [entry["event"] for entry in history(bench.host, "kws", bench.options)["entries"]]


def test_each_step_is_told_once(local: Any) -> None:
    commit(local, "1")
    assert events(local) == ["armed", "trial", "committed"]


@pytest.mark.parametrize("left", [2, 0, None])
def test_a_log_that_was_cut_short_is_found_out(
    local: Any, left: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chain that ends early is still a chain; the state record knows the line it was written after."""
    commit(local, "1")
    commit(local, "2")
    log = local.root / "apps/kws/log/audit.jsonl"
    at = ["--host", local.host.text]
    assert run(["history", *at]) == 0 and run(["verify", *at]) == 0
    if left is None:
        log.unlink()
    else:
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:left]))
    number = (left or 0) + 1
    capsys.readouterr()
    assert run(["history", *at]) == 3
    assert f"the chain is broken at line {number}" in capsys.readouterr().out
    assert verify(local.host, "kws", local.options)["drift"] == [f"the audit log is broken at line {number}"]
    commit(local, "3")  # a device is not stopped by it, and its log does not forget it
    assert events(local)[left or 0] == "log-lost"
    assert verify(local.host, "kws", local.options)["drift"] == []
