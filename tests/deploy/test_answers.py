"""Devices that answer nonsense, endlessly, or with a damaged helper: told in words, within bounds."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from edgeship.cli.main import run
from edgeship.deploy import answers, bench, deploy, history, logs, pin, status, verify, words
from edgeship.deploy.session import Session
from edgeship.deploy.trust import show_trust
from edgeship.device.layout import helper_path
from edgeship.device.ship import helper_sha256, helper_source
from edgeship.errors import DeviceError
from edgeship.progress import Silent
from edgeship.report import bench as bench_report
from edgeship.report import operate, trust


@pytest.fixture
def hostile(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that has the device's python3 be a shell script of these lines."""
    place = Path(helper_path(str(local.root), helper_sha256()))
    place.parent.mkdir(parents=True)
    place.write_bytes(helper_source())
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("EDGESHIP_DEBUG", "1")  # what is not an error of ours fails the test

    def be(script: str) -> Any:
        (tmp_path / "bin/python3").write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
        (tmp_path / "bin/python3").chmod(0o755)
        return local

    return be


def answer(hostile: Any, tmp_path: Path, data: bytes) -> Any:
    (tmp_path / "answer").write_bytes(data)
    return hostile(f"cat {tmp_path / 'answer'}")


SOUND = {"ok": True, "apps": ["kws"]}
NONSENSE: dict[str, bytes] = {
    "nothing but ok": b'{"ok":true}',
    "ok that is no yes": b'{"ok":[]}',
    "a refusal without words": b'{"ok":false}',
    "a list": b"[]",
    "nested deeply": b'{"ok":' + b"[" * 200_000,
    "names that are numbers": b'{"ok":true,"apps":[1,2]}',
    "a number as apps": b'{"ok":true,"apps":1e300}',
    "damaged packing": b"x" + b"\x9c" * 50,
    "packing cut off": zlib.compress(json.dumps(SOUND).encode() * 200)[:-8],
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_told_as_nonsense(
    what: str, hostile: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = answer(hostile, tmp_path, NONSENSE[what])
    for verb in ("status", "history"):
        assert run([verb, "--host", device.host.text]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: bad-answer\n  {device.host.text} answered nonsense to apps: "), said
        assert f"look at the device: edgeship target probe {device.host.text}" in said


def test_a_packed_answer_that_grows_without_end(hostile: Any, tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"[" * (1 << 20)) for _ in range(256)) + packer.flush()
    device = answer(hostile, tmp_path, bomb)
    with pytest.raises(DeviceError, match="it unpacks to more than 16 MiB") as caught:
        status(device.host, None, device.options)
    assert caught.value.reference == "bad-answer" and len(bomb) < 1 << 20


def test_an_answer_without_end(hostile: Any, capsys: pytest.CaptureFixture[str]) -> None:
    device = hostile("exec head -c 300000000 /dev/zero")
    assert run(["status", "--host", device.host.text]) == 1
    assert capsys.readouterr().err.startswith("error: answer-too-long\n")
    report = deploy(device.bundle("1"), device.host, device.options, Silent())
    assert report.state == "failed" and report.reason.startswith("answer-too-long: "), report


def test_a_log_may_be_longer_than_other_answers(hostile: Any, tmp_path: Path) -> None:
    lines = ["x" * 1000] * 30_000
    (tmp_path / "logs").write_text(json.dumps({"ok": True, "lines": lines}))
    (tmp_path / "apps").write_text(json.dumps(SOUND))
    asks_apps = 'case "$(cat)" in *\'"verb":"apps"\'*) cat APPS;; *) cat LOGS;; esac'
    device = hostile("true")
    script = asks_apps.replace("APPS", str(tmp_path / "apps")).replace("LOGS", str(tmp_path / "logs"))
    (tmp_path / "bin/python3").write_text(f"#!/bin/sh\n{script}\n")
    assert logs(device.host, "kws", device.options) == lines


@pytest.mark.parametrize("verb", ["hello", "have", "prove", "activate"])
def test_a_deployment_that_hears_nonsense_ends_safely(
    verb: str, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    whole = Session._heard

    def heard(self: Any, command: Any, progress: Any) -> Any:
        done = whole(self, command, progress)
        asked = next(command.pieces())
        changed = f'"verb":"{verb}"'.encode() in asked
        return SimpleNamespace(status=0, stdout=b'{"ok":true}', stderr="") if changed else done

    monkeypatch.setattr(Session, "_heard", heard)
    report = deploy(local.bundle("2"), local.host, local.options, Silent())
    monkeypatch.undo()
    assert report.state == ("reverted" if verb == "activate" else "failed"), report
    assert f"answered nonsense to {verb}: " in report.reason
    assert local.serving_release() == one.release


# --- the helper's own file, damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3000, 40_000])
def test_a_damaged_helper_is_sent_again(local: Any, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    place = Path(helper_path(str(local.root), helper_sha256()))
    at = ["--host", local.host.text]
    place.write_bytes(helper_source()[:size])
    assert run(["status", *at]) == 0
    said = capsys.readouterr()
    assert "committed; running" in said.out
    assert said.err == f"note: {local.host.text}: the helper there was damaged, and was sent again\n"
    assert place.read_bytes() == helper_source() and [p.name for p in place.parent.iterdir()] == [place.name]
    place.write_bytes(helper_source()[:size])
    told: list[str] = []
    hears = SimpleNamespace(step=lambda _: None, advance=lambda *_: None, note=told.append)
    assert deploy(local.bundle("2"), local.host, local.options, hears).state == "committed"
    assert told == [f"{local.host.text}: the helper there was damaged, and was sent again"]


def test_a_whole_helper_that_fails_is_not_asked_twice(hostile: Any, tmp_path: Path) -> None:
    """It may have done what it was asked before it was killed."""
    counted = tmp_path / "count"
    whole = 'case "$*" in *hexdigest*) exec /usr/bin/python3 "$@";; esac'
    device = hostile(f"{whole}\necho asked >> {counted}\necho Killed >&2; exit 137")
    with pytest.raises(DeviceError, match="the helper could not run") as caught:
        status(device.host, None, device.options)
    assert caught.value.reference == "helper-failed" and counted.read_text() == "asked\n"


# --- any answer at all ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(make_local: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, Any]]]:
    """The answers of a real device to every question of two deployments and the verbs."""
    found: list[tuple[str, Any]] = []
    whole = Session._reply

    def reply(self: Any, verb: str, done: Any) -> Any:
        answered = whole(self, verb, done)
        found.append((verb, answered))
        return answered

    with pytest.MonkeyPatch.context() as patch, make_local(tmp_path_factory.mktemp("heard")) as device:
        patch.setattr(Session, "_reply", reply)
        for version in ("1", "2"):
            report = deploy(device.bundle(version), device.host, device.options, Silent())
            assert report.state == "committed", report
        for ask in (status, history, verify, bench, logs):
            ask(device.host, "kws", device.options)
        pin(device.host, "kws", device.options, release=report.release)
        show_trust(device.host, device.options)
        yield found


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


ODD = st.sampled_from(
    [None, True, 0, -1, 1 << 70, 1e30, 1e308, float("nan"), float("inf"), "", "x", "\x1b[2J\n", "\ud800", [], {}, [[]],
     {"a": 1}, [None], ["x"], {"unavailable": "why"}]
)  # fmt: skip


def read_all(verb: str, reply: Any) -> None:
    """Read an answer in every way that edgeship does."""
    if verb in ("hello", "status"):
        found = {"host": "h", "at": "--host h", "apps": {"kws": reply}}
        assert operate.status_exit_code(found) in (0, 3, 5)
        operate.status_text(found)
        json.dumps(operate.status_document(found))
    elif verb == "history":
        operate.history_text("h", reply)
        operate.history_document("h", reply)
    elif verb == "verify":
        operate.verify_text("h", "--host h", reply)
    elif verb == "bench" and "error" not in reply["bench"]:
        bench_report.bench_text({**reply["bench"], "release": reply["release"]})
    elif verb in ("policy", "trust"):
        told = {**reply, "host": "h", "at": "--host h"}
        trust.trust_text(told)
        trust.trust_document([told])
    elif verb in ("prove", "activate", "health"):
        words.golden_report(reply["prove"])
        words.engine_report(reply["prove"])
        if verb == "prove" and reply["reason"] is None:
            words.describe_proof(reply["prove"])
            words.latency_gate(reply["prove"], 5.0)
    elif verb == "confirm":
        words.describe_bake(reply, 3)


@seed(3)
@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_taken_can_be_read(data: st.DataObject, heard: list[tuple[str, Any]]) -> None:
    verb, reply = data.draw(st.sampled_from(heard))
    reply = copy.deepcopy(reply)
    for _ in range(data.draw(st.integers(0, 2))):
        place, key = data.draw(st.sampled_from(places(reply)))
        if isinstance(place, dict) and data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = copy.deepcopy(data.draw(ODD))
    if "ok" in reply and answers.wrong(verb, reply) is None and reply["ok"] is True:
        read_all(verb, reply)


def test_a_whole_log_of_decisions_is_an_answer() -> None:
    from edgeship.device.helper.live import LOG_MOST

    line = '[["dispatch",1.0,0.0,0,1.0,null,null,1],[0,false,0.0,1,1],"accurate"]\n'
    reply = {"ok": True, "release": "a" * 64, "log": line * (2 * LOG_MOST // len(line)), "deciding": {}}
    assert answers.wrong("decisions", reply) is None
    assert answers.read(json.dumps(reply).encode(), answers.longest("decisions")) == reply
    assert "log is not a text" in (answers.wrong("decisions", {**reply, "log": 3}) or "")
