"""A real bundle on real aarch64 userland: it installs itself without a network, runs, answers, and agrees exactly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeship.cli.main import run
from edgeship.deploy import DeployOptions, deploy
from edgeship.progress import Silent
from edgeship.remote import parse_host
from edgeship.values import Bundle, GoldenReport

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow, pytest.mark.shared]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Bundle:
    """MLPerf Tiny's int8 keyword spotter for `aarch64-linux`, as the command line builds it."""
    from edgeship.bundle.seal import open_bundle

    out = tmp_path_factory.mktemp("arm")
    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kws = shared_data / "kws"
    words = ["build", kws / "mlperf_int8.tflite", "--target", "aarch64-linux", "--eval", kws / "eval.npz",
             "--app", "kws", "--listen", f"127.0.0.1:{port}", "-o", out, "--quiet"]  # fmt: skip
    assert run([str(word) for word in words]) == 0
    return open_bundle(next(out.glob("*.edgeship")))


def device(lab: Any, name: str, **options: Any) -> tuple[Any, DeployOptions]:
    made = lab.up(1, prefix=f"esarm-{os.getpid()}-{name}", base="arm64", disk="128M", **options)[0]
    choices = DeployOptions(
        ssh_config=lab.work / "ssh_config",
        allow_volatile_root=True,
        allow_no_boot_hook=True,
        allow_unsigned=True,
        trial_seconds=120,
        ready_seconds=60,
        cut_seconds=10,
    )
    return made, choices


@pytest.mark.timeout(600)
def test_it_installs_itself_answers_and_agrees_exactly(lab: Any, bundle: Bundle) -> None:
    made, options = device(lab, "good", cpu_model="cortex-a72")
    host = parse_host(made.name)
    report = deploy(bundle, host, options, Silent())
    assert report.state == "committed", report.reason
    assert isinstance(report.golden, GoldenReport) and report.golden.failed == 0
    proof = next(step.detail for step in report.steps if step.name == "prove")
    assert "hold exactly" in proof and "xnnpack" in proof, proof
    question = (
        "import json, urllib.request as u;"
        f"w = json.load(u.urlopen('{report.serving}/v2/models/kws'))['inputs'][0];"
        "d = {'inputs': [dict(name=w['name'], datatype=w['datatype'], shape=w['shape'], data=[0.0] * 490)]};"
        f"r = u.Request('{report.serving}/v2/models/kws/infer', json.dumps(d).encode());"
        "print(json.dumps(json.load(u.urlopen(r, timeout=60))))"
    )
    answer = subprocess.run(
        ["ssh", "-F", str(lab.work / "ssh_config"), made.name, f'python3 -c "{question}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(answer.stdout)["outputs"][0]["data"]) == 12
    assert deploy(bundle, host, options, Silent()).state == "unchanged"


@pytest.mark.timeout(600)
def test_a_device_that_computes_wrong_is_refused(
    lab: Any, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    made, options = device(lab, "wrong", cpu_model="max")
    host = parse_host(made.name)
    report = deploy(bundle, host, options, Silent())
    assert report.state == "failed", report
    assert "golden" in report.reason, report.reason
    said = run(["status", "--host", made.name, "--ssh-config", str(options.ssh_config)])
    assert said == 0
    text = capsys.readouterr().out
    assert "nothing was switched to; not running" in text, text
