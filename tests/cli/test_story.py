"""The whole story through the command line on a local device: every verb, its text, its JSON and its schema."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def device(tmp_path: Path, stop_services: Callable[[Path], None]) -> Iterator[Path]:
    """A folder that behaves as a device; whatever serves from it is ended."""
    folder = tmp_path / "device"
    yield folder
    stop_services(folder)


def data(tiny: Path) -> list[object]:
    return ["--calibration", tiny / "calibration.npz", "--eval", tiny / "eval.npz"]


def build(edgeship: Any, tiny: Path, *more: object) -> Any:
    said = edgeship("build", tiny / "model.tflite", "--target", "host", *data(tiny), "--json", *more)
    assert said.status == 0, said.err
    return said.document()


@pytest.mark.slow
def test_build_deploy_ask_and_go_back(
    edgeship: Any, tiny: Path, device: Path, tmp_path: Path, valid: Any
) -> None:
    host, listen = f"local:{device}", f"127.0.0.1:{free_port()}"
    built = build(edgeship, tiny, "--listen", listen)
    valid("build", built)
    target = built["targets"][0]
    assert target["chosen"] == "static_wi8_ai8"
    assert {v["recipe"] for v in target["variants"]} >= {"static_wi8_ai8", "weight_fp16", "float_fp32"}
    first = target["bundle"]

    beside = json.loads(Path(first).with_suffix(".report.json").read_text())
    valid("build", beside)
    assert beside["targets"][0]["variants"][0]["latency_ms"]["p50"] > 0

    inspected = edgeship("inspect", first, "--json")
    valid("inspect", inspected.document())

    planned = edgeship("deploy", first, "--host", host, "--dry-run", "--json")
    valid("plan", planned.document())
    assert not device.exists(), "--dry-run touched the device"

    said = edgeship("deploy", first, "--host", host, "--json")
    assert said.status == 0, said
    report = said.document()
    valid("deploy", report)
    assert report["state"] == "committed" and report["golden"]["failed"] == 0
    assert report["from"] == {"unavailable": "nothing was deployed before"}
    assert ask(report["serving"], report["app"], np.load(tiny / "eval.npz")["x"][0])

    again = edgeship("deploy", first, "--host", host, "--json").document()
    valid("deploy", again)
    assert again["state"] == "unchanged" and again["bytes_sent"] < 2000

    status = edgeship("status", "--host", host, "--json").document()
    valid("status", status)
    app = status["apps"]["model"]
    assert app["service"]["running"] and app["release"] == report["release"]

    # a new version, made and deployed in one command, then back to the one before
    said = edgeship(
        "deploy", tiny / "model.tflite", "--target", "host", "--host", host, *data(tiny),
        "--recipe", "fp16", "--listen", listen, "--json",
    )  # fmt: skip
    second = said.document()
    assert said.status == 0 and second["state"] == "committed" and second["from"] == report["release"]
    dry = edgeship("rollback", "--host", host, "--dry-run")
    assert report["release"][:12] in dry.out and second["release"][:12] in dry.out
    back = edgeship("rollback", "--host", host, "--json")
    valid("deploy", back.document())
    assert back.status == 0 and back.document()["release"] == report["release"]
    text = edgeship("status", "--host", host).out
    assert f"release {report['release'][:12]}: committed; running" in text

    benched = edgeship("bench", "--host", host, "--json").document()
    valid("bench", benched)
    assert benched["runs"] >= 50
    valid("logs", edgeship("logs", "--host", host, "--json").document())
    history = edgeship("history", "--host", host, "--json").document()
    valid("history", history)
    assert history["intact"] and len(history["entries"]) >= 6

    # drift is found, named, and exits 3
    verified = edgeship("verify", "--host", host, "--json")
    valid("verify", verified.document())
    assert verified.status == 0
    model = next((device / "apps/model/releases" / report["release"] / "models").glob("*.tflite"))
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    drifted = edgeship("verify", "--host", host)
    assert drifted.status == 3
    assert model.name in drifted.out and "hint: edgeship deploy" in drifted.out

    # and away with it: asked first, then gone with everything it used
    asked = edgeship("remove", "--host", host)
    assert asked.status == 2 and "error: not-confirmed" in asked.err and "--yes" in asked.err
    assert edgeship("status", "--host", host).status == 0
    gone = edgeship("remove", "--host", host, "--yes", "--json")
    assert gone.status == 0, gone.err
    valid("remove", gone.document())
    assert len(gone.document()["removed"]) == 2
    assert "nothing is deployed here" in edgeship("status", "--host", host).out
    assert not list((device / "cas").glob("??/*")) and not list((device / "apps").iterdir())
    again = edgeship("remove", "--host", host, "--yes")
    assert again.status == 2 and "error: not-deployed" in again.err


def ask(url: str, app: str, sample: Any) -> list[float]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    connection.request("GET", f"/v2/models/{app}")
    wanted = json.loads(connection.getresponse().read())["inputs"][0]
    body = {
        "inputs": [{**{k: wanted[k] for k in ("name", "datatype", "shape")}, "data": sample.ravel().tolist()}]
    }
    connection.request("POST", f"/v2/models/{app}/infer", json.dumps(body))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status == 200, content
    return list(content["outputs"][0]["data"])


@pytest.mark.slow
def test_same_inputs_same_bytes(
    edgeship: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds, other folders, other caches, another time zone: one bundle."""
    digests = set()
    for i, zone in enumerate(("UTC", "Pacific/Auckland")):
        folder = tmp_path / f"place{i}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("EDGESHIP_CACHE", str(folder / "cache"))
        monkeypatch.setenv("PYTHONHASHSEED", str(i + 1))
        built = build(edgeship, tiny, "-o", folder / "bundles")
        digests.add(built["targets"][0]["sha256"])
    assert len(digests) == 1


@pytest.mark.slow
def test_a_recipe_that_cannot_be_made_is_told_with_its_reason(
    edgeship: Any, tiny_models: Any, tmp_path: Path, valid: Any
) -> None:
    """Also in `--json` and with `-q`: it is a result, not a note on the way."""
    model = tiny_models.looping(tmp_path / "rnn.tflite")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    words = ["build", model, "--target", "host", "--calibration", "x.npy"]
    said = edgeship(*words, "--json")
    assert said.status == 0, said.err
    valid("build", said.document())
    (target,) = said.document()["targets"]
    assert target["chosen"] == "dynamic_wi8_afp32"
    ((recipe, reason),) = [f.values() for f in target["failed"]]
    assert recipe == "static_wi8_ai8" and "unroll=True" in reason

    said = edgeship(*words, "--recipe", "int8", "-q")
    assert said.status == 3
    assert "static_wi8_ai8 could not be made: the model holds 2 inner graphs (WHILE or IF" in said.out
    assert "no bundle: none of the recipes could be made from this model" in said.out


@pytest.mark.slow
def test_a_variant_that_devices_could_not_run_gives_way_to_the_next(
    edgeship: Any, tiny_models: Any, tmp_path: Path, valid: Any
) -> None:
    """Golden vectors tell it last of all; alone, it is the build's failure."""
    model = tiny_models.huge(tmp_path / "huge.tflite")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    words = ["build", model, "--target", "host", "--calibration", "x.npy", "--recipe", "fp16"]
    said = edgeship(*words, "--recipe", "fp32", "--json")
    assert said.status == 0, said.err
    valid("build", said.document())
    (target,) = said.document()["targets"]
    assert target["chosen"] == "float_fp32" and Path(target["bundle"]).is_file()
    assert "after weight_fp16 was stopped (weight_fp16 answers NaN or infinity" in target["reason"]
    (half,) = (v for v in target["variants"] if v["recipe"] == "weight_fp16")
    assert [g["reason"] for g in half["gates"] if g["name"] == "runtime"] == [
        "weight_fp16 answers NaN or infinity to inputs within its range"
    ]

    said = edgeship(*words, "-q")
    assert said.status == 1 and "error: golden-not-finite" in said.err


@pytest.mark.slow
def test_of_equal_files_one_is_marked_as_chosen(edgeship: Any, tiny_models: Any, tmp_path: Path) -> None:
    """Several recipes leave a model without weights as it is; only one of them was chosen."""
    said = edgeship("build", tiny_models.adder(tmp_path / "two.tflite"), "--target", "host")
    assert said.status == 0, said.err
    rows = [line.split() for line in said.out.splitlines() if line.startswith("*")]
    assert [row[1] for row in rows] == ["float_fp32"]


@pytest.mark.slow
def test_an_unmet_gate_makes_no_bundle(edgeship: Any, tiny: Path, tmp_path: Path, valid: Any) -> None:
    words = ["build", tiny / "model.tflite", "--target", "host", *data(tiny), "--max-kb", "0.5", "-o", "out"]
    said = edgeship(*words, "--json")
    assert said.status == 3
    valid("build", said.document())
    target = said.document()["targets"][0]
    assert "best found" in target["bundle"]["unavailable"]
    assert not list(tmp_path.glob("out/*.edgeship"))
    text = edgeship(*words)
    assert text.status == 3 and "no bundle: no variant meets" in text.out
    refused = edgeship(
        "deploy",
        tiny / "model.tflite",
        "--target",
        "host",
        *data(tiny),
        "--max-kb",
        "0.5",
        "--host",
        "local:dev",
    )
    assert refused.status == 3 and "error: gate-failed" in refused.err and not (tmp_path / "dev").exists()


def test_targets(edgeship: Any, valid: Any, tmp_path: Path) -> None:
    listed = edgeship("target", "list", "--json").document()
    valid("targets", listed)
    shown = edgeship("target", "show", "coral", "--json").document()
    valid("target-show", shown)
    (tmp_path / "mine.yaml").write_text(
        edgeship("target", "show", "pi5").out.replace("raspberry-pi-5", "mine")
    )
    probed = edgeship("target", "probe", f"local:{tmp_path / 'here'}", "-o", "board.yaml", "--json")
    assert probed.status == 0, probed.err
    valid("probe", probed.document())
    assert probed.document()["profile"] == Path("board.yaml").read_text()
    checked = edgeship("target", "check", "board.yaml", "--json")
    assert checked.status == 0, checked.err
    valid("target-check", checked.document())


def test_init_writes_what_load_takes(edgeship: Any, tiny: Path, tmp_path: Path, valid: Any) -> None:
    shown = edgeship("init", tiny / "model.tflite", "--target", "coral", "--dry-run", "--json")
    valid("init", shown.document())
    assert not Path("edgeship.yaml").exists(), "--dry-run wrote a file"
    written = edgeship("init", tiny / "model.tflite", "--target", "coral", "-o", "other.yaml", "--json")
    valid("init", written.document())
    assert written.document()["file"] == "other.yaml"
    assert written.document()["settings"] == Path("other.yaml").read_text() == shown.document()["settings"]
    said = edgeship("init", tiny / "model.tflite", "--target", "coral")
    assert said.status == 0 and "next: fill in datasets" in said.out
    refused = edgeship("build", "--dry-run")
    assert refused.status == 2 and "error: calibration-missing" in refused.err
    planned = edgeship("build", "--dry-run", "--json", "--calibration", tiny / "calibration.npz")
    assert planned.status == 0, planned.err
    assert any("coral-dev-board: derive static_wi8_ai8" in step for step in planned.document()["steps"])


def test_without_calibration_integers_are_left_out_aloud(edgeship: Any, tiny: Path) -> None:
    said = edgeship("build", tiny / "model.tflite", "--target", "host", "--recipe", "fp32", "--json")
    assert said.status == 0, said.err
    metric = said.document()["targets"][0]["variants"][0]["metric"]
    assert "unavailable" in metric["value"]


def test_tools_and_checks(edgeship: Any, tiny: Path, valid: Any) -> None:
    valid("toolchains", edgeship("toolchain", "list", "--json").document())
    valid("doctor", edgeship("toolchain", "doctor", "--json").document())
    model = tiny / "model.tflite"
    valid("check", edgeship("check", model, "--target", "coral", "--json").document())
    valid("checks", edgeship("check", model, "--target", "coral", "--target", "pi5", "--json").document())


def test_a_question_nobody_answers_and_a_full_disk(edgeship: Any, valid: Any) -> None:
    """stdout that cannot be written is an error of one line, not a trace."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeship", "target", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[2],
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: output-lost"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_running(
    tiny: Path, tmp_path: Path, cache: Path, number: signal.Signals
) -> None:
    """A cancelled job ends with its workers and its temporary files, as after Ctrl-C."""
    (tmp_path / "mine.py").write_text(
        "import os, pathlib, time\n"
        "def slow(outputs, labels):\n"
        "    pathlib.Path('pid.part').write_text(str(os.getpid()))\n"
        "    os.rename('pid.part', 'pid')\n"
        "    time.sleep(120)\n"
        "    return 0.0\n"
    )
    (tmp_path / "tmp").mkdir()
    words = ["build", tiny / "model.tflite", "--target", "host", *data(tiny), "--metric", "mine:slow"]
    child = subprocess.Popen(
        [sys.executable, "-m", "edgeship", *map(str, words)],
        cwd=tmp_path,
        env={
            **os.environ,
            "EDGESHIP_CACHE": str(cache),
            "TMPDIR": str(tmp_path / "tmp"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        },
        stderr=subprocess.PIPE,
        text=True,
        # what a job in the background of a script inherits is not what a person's terminal gives
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)],
    )
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    worker = int((tmp_path / "pid").read_text())
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and "interrupted: nothing more was started" in err
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list(tmp_path.glob("**/*.edgeship"))
