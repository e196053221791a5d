"""What services decide, seen from here: in `status`, and live in `watch`, over one connection and after a restart."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny_release import GOVERNOR

from edgeship.cli.main import run
from edgeship.deploy import deploy, rollback
from edgeship.deploy.watching import Seen, Watcher
from edgeship.progress import Silent
from edgeship.report.watching import Shown, watch_block, watch_document, watch_line

ROOT = Path(__file__).parents[2]


def valid(name: str, document: Any) -> None:
    schema = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)


def serve(bench: Any, version: str = "1", **how: Any) -> Any:
    report = deploy(
        bench.bundle(version, **{"governor": GOVERNOR, **how}), bench.host, bench.options, Silent()
    )
    assert report.state == "committed", report
    return report


def test_status_says_what_the_governor_does(local: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--host", local.host.text]
    serve(local, "0", governor=None)
    assert run(["status", *at]) == 0 and "governor" not in capsys.readouterr().out
    serve(local)
    assert run(["tune", *at, "governor.watts=3", "governor.variant=none"]) == 0
    capsys.readouterr()
    assert run(["status", *at]) == 0
    said = capsys.readouterr().out
    assert (
        "governor: small (budget); 12.5 requests/s; p50 2.0 ms, p95 3.5 ms; 1 missed, 2 refused; load 25 %"
        in said
    )
    assert "48.5 C; - of 3 W" in said
    assert "settings of this device: governor.variant=none, governor.watts=3" in said
    assert run(["status", *at, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    valid("status", document)
    found = document["apps"]["kws"]
    assert found["governor"]["rung"] == "small" and found["governor"]["watts"] == {"unavailable": "not known"}
    assert found["settings"] == {"governor.watts": 3.0, "governor.variant": {"unavailable": "none is set"}}
    rollback(local.host, "kws", local.options, Silent())
    assert run(["status", *at]) == 0
    said = capsys.readouterr().out
    assert (
        "settings of this device: governor.variant=none, governor.watts=3 (this release reads none)" in said
    )
    assert "governor: " not in said


def command(bench: Any, *words: str) -> list[str]:
    at = ["--host", bench.host.text]
    if bench.host.kind == "ssh":
        at += ["--root", str(bench.root), "--no-sudo", "--ssh-config", str(bench.options.ssh_config)]
    return [sys.executable, "-c", "from edgeship.cli import main; main()", "watch", *at, *words]


def start(bench: Any, *words: str, **how: Any) -> subprocess.Popen[str]:
    how.setdefault("stdout", subprocess.PIPE)
    return subprocess.Popen(
        command(bench, *words), stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **how,
    )  # fmt: skip


def read_until(stream: Any, what: Any, seconds: float = 60) -> list[dict[str, Any]]:
    """Return the documents read until one is what is waited for."""
    found: list[dict[str, Any]] = []
    timer = threading.Timer(seconds, lambda: os._exit(99))
    timer.start()
    try:
        for line in stream:
            found.append(json.loads(line))
            if what(found[-1]):
                return found
    finally:
        timer.cancel()
    raise AssertionError(f"it ended before that was seen: {found[-3:]}")


def test_it_is_watched_over_one_connection_and_again_after_the_link_was_lost(remote: Any, sshd: Any) -> None:
    serve(remote)
    at = [
        "--host",
        remote.host.text,
        "--root",
        str(remote.root),
        "--no-sudo",
        "--ssh-config",
        str(remote.options.ssh_config),
    ]
    watching = start(remote, "--json", "--period", "0.2")
    first = read_until(watching.stdout, lambda d: d["governor"].get("rung") == "big")
    valid("watch", first[-1])
    assert first[-1]["state"] == "committed" and first[-1]["app"] == "kws"
    assert run(["tune", *at, "governor.watts=3"]) == 0
    read_until(watching.stdout, lambda d: d["governor"].get("rung") == "small")
    children = Path(f"/proc/{sshd.process.pid}/task/{sshd.process.pid}/children")
    (session,) = remote.wait_for(lambda: len(found := children.read_text().split()) == 1 and found)
    sshd.stop()
    os.kill(int(session), signal.SIGKILL)  # the one connection for all of it
    lost = read_until(
        watching.stdout, lambda d: "unavailable" in d["release"] and "unavailable" in d["governor"]
    )
    valid("watch", lost[-1])
    sshd.start()
    again = read_until(watching.stdout, lambda d: d["governor"].get("rung") == "small")
    assert again[-1]["release"] == first[-1]["release"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 0 and "Traceback" not in watching.stderr.read()  # type: ignore[union-attr]


def test_it_ends_by_itself_and_says_what_it_cannot_watch(
    local: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--host", local.host.text]
    assert run(["watch", *at, "--seconds", "5"]) == 2
    assert "error: not-deployed" in capsys.readouterr().err
    serve(local, "0", governor=None)
    assert run(["watch", *at, "--seconds", "1.5", "--period", "0.3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(
        line.endswith(f"{local.host.text} kws: this release has no governor") for line in lines
    )
    for wrong in (["--period", "0"], ["--seconds", "-1"], ["--host", "nonsense://"]):
        assert run(["watch", *at, *wrong]) == 2
        assert "error: " in capsys.readouterr().err
    # One that cannot be watched keeps no other from being watched.
    assert run(["watch", *at, "--host", "local:/nowhere", "--seconds", "2"]) == 0
    out = capsys.readouterr().out
    assert "this release has no governor" in out and "local:/nowhere: not reached: " in out


def test_on_a_terminal_it_is_drawn_over_itself(local: Any) -> None:
    serve(local)
    ours, theirs = pty.openpty()
    watching = start(local, "--period", "0.2", stdout=theirs)
    os.close(theirs)
    seen, until = "", time.monotonic() + 60
    while seen.count("serves      big") < 2 and time.monotonic() < until:
        seen += os.read(ours, 4096).decode()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 0 and "Traceback" not in watching.stderr.read()  # type: ignore[union-attr]
    os.close(ours)
    assert re.search(r"\x1b\[\d+A\x1b\[J", seen), "drawn anew where it stood"
    assert (
        "load        [#####...............] 25 %" in seen
        and "power       - W of 8 W  7.5 J estimated" in seen
    )
    assert "time        big 100 % of 3.0 s" in seen


DOCUMENT = {"rung": "big", "reason": "accurate", "rate": 2.0, "load": 0.5, "settings": {"watts": 4}}


def seen(moment: float, host: str = "pi@a", lost: str | None = None, **governor: Any) -> Seen:
    line = {
        "clock": 1.0,
        "boot": "b",
        "state": "COMMITTED",
        "release": "a" * 64,
        "governor": {**DOCUMENT, **governor},
    }
    return Seen(host=host, app="kws", moment=moment, line=None if lost else line, lost=lost)


def test_changes_are_kept_and_nothing_a_service_says_draws_elsewhere() -> None:
    shown = Shown("pi@a")
    for moment in range(20):
        shown.take(seen(moment, rung=("big", "small")[moment % 2], reason="in-time"))
    assert len(shown.changes) == 6 and shown.changes[-1] == (19, "big", "small", "in-time")
    shown.take(seen(20, lost="the connection to pi@a was lost"))
    text = "\n".join(watch_block([shown]))
    assert (
        "NOT REACHED: the connection to pi@a was lost; trying again" in text
        and "big -> small  (in-time)" in text
    )
    wild = seen(
        21,
        rung="\x1b[2Jbig\n\n",
        reason=7,
        rate="many",
        load=float("nan"),
        watts=True,
        p50_ms=None,
        settings=[],
    )
    shown.take(wild)
    other = Shown("pi@b")
    for lines in (watch_block([shown]), watch_block([shown, other]), [watch_line(wild)]):
        assert not any("\x1b" in line or "\n" in line for line in lines)
    rows = watch_block([shown, other])
    assert len(rows) == 4 and "pi@b" in rows[3]
    assert watch_line(seen(0, lost="gone")).endswith("pi@a kws: not reached: gone")
    valid("watch", watch_document(seen(0, lost="gone")))
    valid("watch", watch_document(seen(0)))
    lost = "no reading of soc: nothing goes up until it is back"
    blind = seen(
        0, reason="blind", why=lost, joules_by="cpu-seconds", problems=["governor.watts is set, and so on"]
    )
    told = watch_line(blind)
    assert f"(blind: {lost})" in told and told.count("governor.watts") == 1, "the service says it, once"
    assert "draws" not in told and "why" not in watch_line(seen(0, why="a sentence for every word"))
    shown = Shown("pi@a")
    shown.take(blind)
    assert f"(blind: {lost}; mode" in watch_block([shown])[1]
    shown.take(seen(0, joules=None, joules_by="cpu-seconds", cpu_seconds=3.25))
    assert "- W of 4 W  3.2 s of processor time (no meter)" in "\n".join(watch_block([shown]))
    bare = seen(0)
    assert bare.line is not None
    bare.line["governor"] = {}
    assert "- (-); - requests/s" in watch_line(bare)


def test_nonsense_of_a_device_is_told_and_never_read() -> None:
    heard: list[Seen] = []
    from edgeship.deploy import DeployOptions
    from edgeship.values import Host

    watcher = Watcher(Host(text="pi@a", kind="local"), "kws", DeployOptions(), 1.0, heard.append)
    good = json.dumps({"ok": True, **(seen(0).line or {})}).encode()
    for piece in (
        b"{}\n[1]\nnot json",
        b"\n" + good[:30],
        good[30:] + b"\n" + b'{"ok":true}\n',
        b"x" * (1 << 20),
    ):
        watcher._heard(piece)
    assert [each.lost is None for each in heard] == [False, False, False, True, False]
    assert all("nonsense" in str(each.lost) for each in heard if each.lost)
    assert len(watcher._rest) < 1 << 20


def test_a_log_is_a_file_of_the_services_own(tmp_path: Path) -> None:
    from edgeship.device.helper.live import read_log

    secret, log = tmp_path / "shadow", tmp_path / "decisions.jsonl"
    secret.write_text("root")
    log.symlink_to(secret)
    assert read_log(str(log)) is None
    log.unlink()
    os.mkfifo(log)
    assert read_log(str(log)) is None
    log.unlink()
    assert read_log(str(log)) is None
    log.write_text("[]\n")
    assert read_log(str(log)) == "[]\n"


def test_what_decides_is_the_same_on_both_sides_and_no_glue() -> None:
    from edgeship.bundle.replay import deciding_files
    from edgeship.device.helper.live import DECIDES

    ours = set(deciding_files())
    assert ours == {
        path.name
        for path in (ROOT / "edgeship/runtime").glob("*.py")
        if DECIDES.match(f"runtime/{path.name}")
    }
    assert {"es_govern.py", "es_govern_slow.py", "es_decisions.py"} <= ours
    assert not ours & {"es_governing.py", "es_governor.py", "es_governor_told.py"}
