"""The whole road to a Coral board, on a device with a real aarch64 userland that has no Edge TPU and no libedgetpu."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.devlab, pytest.mark.root, pytest.mark.slow, pytest.mark.shared]

BOARD = """\
# A Coral USB Accelerator on an arm64 machine with Debian 12 that runs no systemd.
name: desk-coral
title: Coral on my desk
summary: Coral USB Accelerator on an arm64 machine with Debian 12.
extends: coral-usb-raspberry-pi
service: {manager: auto}
"""
UNCOMPILED = "uncompiled: runs on the CPU"


@pytest.mark.timeout(900)
def test_kws_on_a_board_without_libedgetpu(
    edgeship: Any, compiler: Any, shared_data: Path, lab: Any, valid: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    kws = shared_data / "kws"
    model = [kws / "mlperf_int8.tflite", "--eval", kws / "eval.npz", "--app", "kws"]
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "desk-coral.yaml").write_text(BOARD)
    device = lab.up(1, prefix=f"escoral-{os.getpid()}-a", base="arm64", disk="256M", cpu_model="cortex-a72")[
        0
    ]
    at = ["--host", device.name, "--ssh-config", lab.work / "ssh_config", "--json"]
    go = [*at, "--allow-volatile-root", "--allow-unsigned"]
    with socket.socket() as free:  # the lab's devices share this machine's loopback
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"

    # Nothing to compile with: refused on this machine, the device was never asked.
    path = os.environ["PATH"]
    refused = edgeship("deploy", *model, "--target", "desk-coral", *go)
    assert refused.status == 1 and refused.document()["reference"] == "edgetpu-compiler-missing"

    # Compiled: the device is refused, with what it lacks. The Dev Board brings all that the desk lacks.
    compiler()
    for target, lacks in (
        ("coral", ("libedgetpu.so.1: not found", "edgetpu was not found", "tflite-runtime==2.5.0.post1")),
        (
            "desk-coral",
            ("libedgetpu.so.1: not found", "edgetpu was not found (usb:1a6e:089a or usb:18d1:9302)"),
        ),
    ):
        said = edgeship("build", *model, "--target", target, "--json")
        assert said.status == 0, said.err
        report = edgeship("deploy", said.document()["targets"][0]["bundle"], *go)
        assert report.status == 1
        document = report.document()
        valid("deploy", document)
        assert document["state"] == "failed" and document["bytes_sent"] < 1000, "only asked"
        for words in lacks:
            assert words in document["reason"], document["reason"]

    # Without a compiler and allowed: it serves on the CPU, and says so wherever one looks.
    monkeypatch.setenv("PATH", path)
    said = edgeship("deploy", *model, "--target", "desk-coral", "--allow-uncompiled", "--listen", listen, *go)
    assert said.status == 0, said
    document = said.document()
    valid("deploy", document)
    assert document["state"] == "committed" and UNCOMPILED in document["reason"]
    assert document["golden"]["vectors"] >= 3 and document["golden"]["failed"] == 0
    assert UNCOMPILED in said.err, "the build's own table"
    status = edgeship("status", *at).document()
    valid("status", status)
    (release,) = status["apps"]["kws"]["releases"]
    assert release["variant"] == "static_wi8_ai8-uncompiled"
    assert "static_wi8_ai8-uncompiled" in edgeship("status", *at[:-1]).out
    assert right(listen, kws / "eval.npz") >= 4
    assert UNCOMPILED in edgeship("logs", *at[:-1], "--app", "kws").out
    url = f"http://{listen}/v2/models/kws"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert "static_wi8_ai8-uncompiled" in str(json.load(answer))

    # A compiled release does not push it aside on a device that cannot run it.
    compiler()
    assert edgeship("deploy", *model, "--target", "desk-coral", *go).status == 1
    assert right(listen, kws / "eval.npz") >= 4


def right(listen: str, data: Path) -> int:
    """Return how many of five samples the live service classifies rightly; each answer names the uncompiled variant."""
    found = 0
    with np.load(data) as held:
        samples = [(held["x"][i], int(held["y"][i])) for i in range(5)]
    for x, y in samples:
        entry = {
            "name": "input",
            "datatype": "FP32",
            "shape": [1, *x.shape],
            "data": x.reshape(-1).astype(float).tolist(),
        }
        url = f"http://{listen}/v2/models/kws"
        with urllib.request.urlopen(url, timeout=30) as answer:
            entry["name"] = json.load(answer)["inputs"][0]["name"]
        body = json.dumps({"inputs": [entry]}).encode()
        asked = urllib.request.Request(f"{url}/infer", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            document = json.load(answer)
        assert document["parameters"]["variant"] == "static_wi8_ai8-uncompiled", document["parameters"]
        found += int(np.argmax(document["outputs"][0]["data"]) == y)
    return found
