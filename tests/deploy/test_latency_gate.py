"""Latency limits on the staged tree: a device that is slower refuses, and nothing was switched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.cli.main import run
from edgeship.deploy import deploy
from edgeship.progress import Silent
from edgeship.report.deploys import deploy_document, deploy_text
from edgeship.values import Unavailable

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def test_a_device_that_is_too_slow_refuses(local: Any) -> None:
    old = local.bundle("1")
    assert deploy(old, local.host, local.options, Silent()).state == "committed"
    slow = local.bundle("2", p50=7.25)
    report = deploy(slow, local.host, replace(local.options, device_max_ms=5.0), Silent())
    assert report.state == "failed" and report.exit_code == 3
    words = "too-slow: p50 latency on the device is 7.25 ms, above the limit of 5 ms; the release was not switched to"
    assert report.reason == words and "--device-max-ms" in str(report.hint)
    assert [step.name for step in report.steps][-1] == "prove"
    assert local.record()["to"] == old.release and local.serving_release() == old.release
    document = deploy_document(report)
    schema = json.loads((SCHEMAS / "deploy.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["gates"][0]["verdict"] == "fail" and document["gates"][0]["value"] == 7.25
    assert document["latency_ms"]["p50"] == 7.25 and document["engine"]["delegated"] == "yes"
    text = deploy_text(report)
    assert "ran on fake 1, delegate none (took part: yes), p50 7.250 ms" in text
    assert "device-latency: p50 latency on the device is 7.25 ms, above the limit of 5 ms" in text
    good = deploy(slow, local.host, replace(local.options, device_max_ms=7.25), Silent())
    assert good.state == "committed" and good.exit_code == 0 and good.gates[0].verdict == "pass"


def test_a_latency_that_could_not_be_had_does_not_pass(local: Any) -> None:
    bundle = local.bundle("1", p50={"unavailable": "no run succeeded"})
    report = deploy(bundle, local.host, replace(local.options, device_max_ms=5.0), Silent())
    assert (report.state, report.exit_code, report.gates[0].verdict) == ("failed", 3, "no-data")
    assert "could not be had (no run succeeded)" in report.reason
    assert not (local.root / "apps/kws/current").exists()
    free = deploy(bundle, local.host, local.options, Silent())
    assert free.state == "committed" and not isinstance(free.latency_ms, Unavailable)


def test_a_silent_fall_back_to_the_cpu_fails_before_the_switch(local: Any) -> None:
    bundle = local.bundle("1", golden="fell back")
    report = deploy(bundle, local.host, local.options, Silent())
    assert report.state == "failed" and "the delegate gpu took no part" in report.reason
    assert report.engine.delegated == "no" and [step.name for step in report.steps][-1] == "prove"
    assert not (local.root / "apps/kws/current").exists()


def test_the_settings_file_and_the_command_line(
    local: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = local.bundle("1", p50=7.25)
    (tmp_path / "edgeship.yaml").write_text("deploy:\n  device_max_ms: 5\n")
    words = ["deploy", str(bundle.path), "--host", local.host.text]
    assert run(words) == 3
    assert "above the limit of 5 ms" in capsys.readouterr().out
    assert run([*words, "--device-max-ms", "6", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["gates"][0]["limit"] == 6.0
    assert run([*words, "--device-max-ms", "-1"]) == 2
    assert "device_max_ms" in capsys.readouterr().err
    assert run([*words, "--device-max-ms", "8"]) == 0
