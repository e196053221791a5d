"""What `status` exits with: 0 only where what was confirmed last is what runs, and words on what to type where not."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.cli.main import run
from edgeship.deploy import deploy
from edgeship.progress import Silent

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/status.schema.json").read_text())


@pytest.fixture
def asked(local: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that asks for the status: (exit status, text, the problem in JSON)."""

    def ask() -> tuple[int, str, Any]:
        at = ["--host", local.host.text]
        code = run(["status", *at])
        text = capsys.readouterr().out
        assert run(["status", *at, "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        return code, text, document["apps"].get("kws", {}).get("problem")

    return ask


def kill(process: dict[str, Any]) -> None:
    os.kill(process["pid"], signal.SIGKILL)


def told(local: Any, name: str) -> dict[str, Any]:
    return dict(json.loads((local.root / "apps/kws/run" / name).read_text()))


def gone(process: dict[str, Any]) -> bool:
    return (
        not Path(f"/proc/{process['pid']}/cmdline").exists()
        or not Path(f"/proc/{process['pid']}/cmdline").read_bytes()
    )


def test_nothing_serves(local: Any, asked: Any) -> None:
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    code, text, problem = asked()
    assert (
        code == 0
        and "committed; running" in text
        and problem == {"unavailable": "nothing is known to be wrong"}
    )
    record = told(local, "supervisor.json")
    kill(record["supervisor"])
    kill(record["child"])
    local.wait_for(lambda: gone(record["child"]))
    code, text, problem = asked()
    assert code == 3 and problem in text
    assert f"nothing serves, and release {one.release[:12]} should" in text
    assert f"edgeship logs --host {local.host.text} --app kws" in text
    # what it says to type works
    command = text.partition("start it again: ")[2].partition(",")[0].replace("BUNDLE", str(one.path))
    assert run([*shlex.split(command)[1:], "--allow-unsigned", "--quiet"]) == 0
    assert asked()[0] == 0 and local.serving_release() == one.release


def test_another_release_serves(local: Any, asked: Any) -> None:
    one, two = local.bundle("1"), local.bundle("2")
    for bundle in (one, two):
        assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    start = local.root / "apps/kws/run/start.json"
    start.write_text(json.dumps({**json.loads(start.read_text()), "release": one.release}))
    kill(told(local, "supervisor.json")["child"])  # the supervising process starts what stands there
    local.wait_for(lambda: (local.status()["serving"] or {}).get("release") == one.release)
    code, text, _ = asked()
    assert code == 3
    assert f"release {one.release[:12]} serves, and release {two.release[:12]} should; why: " in text


def test_a_trial_is_no_problem_until_it_is_overdue(local: Any, asked: Any, controller: Any) -> None:
    bench = local.with_options(trial_seconds=8)
    one = bench.bundle("1")
    assert deploy(one, bench.host, bench.options, Silent()).state == "committed"
    child = controller(bench.bundle("2", prove_seconds=2), bench)
    local.wait_for(lambda: local.record()["state"] == "TRIAL")
    child.kill()
    child.wait()
    kill(told(local, "deadman.json")["process"])
    code, text, problem = asked()
    assert code == 0 and "on trial: goes back by itself in" in text and "unavailable" in problem
    local.wait_for(lambda: local.status()["seconds_left"] == 0)
    code, text, problem = asked()
    assert code == 3 and "its trial is overdue" in problem and problem in text
    three = bench.bundle("3")
    command = text.partition("first: ")[2].splitlines()[0].replace("BUNDLE", str(three.path))
    assert run([*shlex.split(command)[1:], "--quiet"]) == 0
    assert asked()[0] == 0 and local.serving_release() == three.release


def test_a_device_where_nothing_is_deployed(local: Any, asked: Any) -> None:
    from dataclasses import replace

    from edgeship.values import Goal

    staged = deploy(local.bundle("1"), local.host, replace(local.options, goal=Goal.STAGE), Silent())
    assert staged.state == "staged" and asked()[0] == 0
    assert run(["remove", "--host", local.host.text, "--yes"]) == 0
    code, text, _ = asked()
    assert code == 0 and "nothing is deployed here" in text


def test_a_version_cannot_forge_a_row(local: Any, asked: Any) -> None:
    """The device may hold what no bundle of ours says: the manifest it keeps is changed here, behind its back."""
    one = local.bundle("1")
    assert deploy(one, local.host, local.options, Silent()).state == "committed"
    manifest = local.root / "apps/kws/releases" / one.release / "manifest.json"
    manifest.chmod(0o644)
    forged = f"1\ncurrent  {'f' * 12}  2\x1b[A\x1b]0;PWNED\x07"
    manifest.write_text(json.dumps({**one.manifest, "version": forged}))
    _, text, _ = asked()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len([line for line in text.splitlines() if line.startswith("current")]) == 1
