"""`edgeship bench` on a device: energy and all variants told, and a soak that outlives whoever asked for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.cli.main import run
from edgeship.deploy import deploy
from edgeship.deploy.soaking import Soak
from edgeship.errors import DeviceError, InputError
from edgeship.progress import Silent
from edgeship.remote import LinkLost

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/bench.schema.json").read_text())


@pytest.fixture(scope="module")
def bench(make_local: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A device with one release, for all tests here: what a soak leaves, the next one replaces."""
    with make_local(tmp_path_factory.mktemp("soak")) as local:
        report = deploy(local.bundle("1"), local.host, local.options, Silent())
        assert report.state == "committed", report
        yield local


@pytest.fixture(autouse=True)
def ended(bench: Any) -> Iterator[None]:
    """End what still soaks, and forget it."""
    yield
    for path in bench.root.rglob("soak.json"):
        with contextlib.suppress(OSError):
            os.kill(json.loads(path.read_text())["process"]["pid"], signal.SIGKILL)
    for path in bench.root.rglob("soak.*"):
        path.unlink()


def soaked(bench: Any, seconds: float | None, lines: list[Any], **options: Any) -> dict[str, Any]:
    soak = Soak(bench.host, "kws", bench.options, Silent())
    soak.looks_every = 0.1
    return soak.run(seconds, line=lambda line, _: lines.append(line), **options)


def test_energy_and_variants_are_told(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--host", bench.host.text]
    assert run(["bench", *at, "--idle", "0.5", "--rungs", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["asked"] == {"idle": "0.5", "rungs": "yes"}
    assert run(["bench", *at, "--rungs"]) == 0
    out = capsys.readouterr().out
    assert (
        "energy 1.20 mJ a run above idle (measured by board-power, board; 3.10 W at work, 2.70 W idle)" in out
    )
    assert "small      1.000   1.000   2.000" in out and "big: not measured: no memory" in out


def test_a_soak_to_its_end(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[Any] = []
    found = soaked(bench, 1.0, lines)
    assert found["soak"]["ended"] == "done" and len(lines) >= 2 and found["release"]
    jsonschema.Draft202012Validator(SCHEMA).validate({**found, "host": "h"})
    assert run(["bench", "--host", bench.host.text, "--soak", "last"]) == 0
    seen = capsys.readouterr()
    assert "throttled for 1 s" in seen.out and "temperature 50.0 degC at first" in seen.out
    assert "p50 0.500 ms, p99 0.700 ms, 50.0 degC, under-voltage for 1 s" in seen.out
    assert "p50" not in seen.err, "one that is over is shown once"


def test_ctrl_c_ends_it_on_the_device_and_shows_what_there_is(bench: Any) -> None:
    command = [sys.executable, "-m", "edgeship", "bench", "--host", bench.host.text, "--soak", "1h", "--json"]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells have what they run in the background ignore it, and whoever that starts inherits so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    bench.wait_for(lambda: list(bench.root.rglob("soak.jsonl")))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert json.loads(out)["soak"]["ended"] == "stopped"


def test_it_goes_on_when_this_end_is_lost_and_is_found_again(bench: Any) -> None:
    command = [sys.executable, "-m", "edgeship", "bench", "--host", bench.host.text, "--soak", "2s", "-q"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bench.wait_for(lambda: list(bench.root.rglob("soak.jsonl")))
    child.kill()
    child.wait()
    lines: list[Any] = []
    found = soaked(bench, 3600.0, lines)  # one runs: it is not begun anew
    assert found["soak"]["ended"] == "done" and found["soak"]["wanted_seconds"] == 2.0


def test_one_that_runs_is_shown_and_said_to_be_another(bench: Any) -> None:
    class EndsWhatIsSaidToRun(Silent):
        def note(self, text: str) -> None:
            if "a soak runs there already; this is that one" in text:
                raise KeyboardInterrupt

    command = [sys.executable, "-m", "edgeship", "bench", "--host", bench.host.text, "--soak", "10m", "-q"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bench.wait_for(lambda: list(bench.root.rglob("soak.jsonl")))
    child.kill()
    child.wait()
    another = Soak(bench.host, "kws", bench.options, EndsWhatIsSaidToRun())
    found = another.run(1.0, variant="big", line=lambda line, wanted: None)
    assert (found["soak"]["ended"], found["soak"]["wanted_seconds"]) == ("stopped", 600.0)


def test_a_lost_link_is_tried_again_then_told(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    soak = Soak(bench.host, "kws", bench.options, Silent())
    soak.looks_every = 0.0
    monkeypatch.setattr("edgeship.deploy.retry.FIRST_PAUSE", 0.0)
    monkeypatch.setattr("edgeship.deploy.retry.LONGEST_PAUSE", 0.0)
    asked, whole = [], Soak._ask

    def ask(self: Soak, session: Any, action: str, line: Any, **fields: Any) -> dict[str, Any]:
        asked.append(action)
        if action == "look":
            raise LinkLost("link-lost", "cut")
        return whole(self, session, action, line, **fields)

    monkeypatch.setattr(Soak, "_ask", ask)
    with pytest.raises(DeviceError) as caught:
        soak.run(60.0, line=lambda *_: None)
    assert caught.value.reference == "soak-out-of-reach" and asked == ["start"] + ["look"] * 8
    assert f"edgeship bench --host {bench.host.text} --soak last" in str(caught.value.hint)


def test_one_that_was_killed_is_told_with_what_it_left(bench: Any) -> None:
    lines: list[Any] = []

    def kill(line: dict[str, Any]) -> None:
        lines.append(line)
        note = json.loads(next(bench.root.rglob("soak.json")).read_text())
        os.kill(note["process"]["pid"], signal.SIGKILL)
        time.sleep(0.1)

    soak = Soak(bench.host, "kws", bench.options, Silent())
    soak.looks_every = 0.1
    with pytest.raises(DeviceError) as caught:
        soak.run(60.0, line=lambda line, _: kill(line))
    assert caught.value.reference == "bench-failed" and "ended without a result" in caught.value.message
    assert caught.value.context["known"].startswith(f"{len(lines)} lines, which cover ")


def test_no_soak_and_wrong_words(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no soak runs") as caught:
        soaked(bench, None, [])
    assert caught.value.reference == "no-soak"
    for words, wanted in (
        (["--soak", "soon"], "'soon' is no duration from 1s to 168h"),
        (["--soak", "900h"], "'900h' is no duration"),
        (["--soak", "1h", "--rungs"], "leave --rungs out"),
    ):
        assert run(["bench", "--host", bench.host.text, *words]) == 2
        assert wanted in capsys.readouterr().err
