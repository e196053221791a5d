"""--dry-run: what would be done, as values; nobody is contacted and nothing is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.deploy import plan
from edgeship.remote import parse_host
from edgeship.values import Goal, as_json


def test_the_steps_are_those_of_a_real_deployment(local: Any) -> None:
    from edgeship.deploy import deploy
    from edgeship.progress import Silent

    bundle = local.bundle("1")
    steps = plan(bundle, local.host, local.options)
    assert not local.root.exists()
    report = deploy(bundle, local.host, local.options, Silent())
    assert [s.name for s in steps] == [s.name for s in report.steps]
    for step in steps:  # every file it names is there afterwards
        for path in step.writes:
            assert local.root.exists() and (local.root / path.removeprefix(f"{local.root}/")).exists(), path


def test_goals_and_service_managers_show(local: Any) -> None:
    bundle = local.bundle("1")
    board = parse_host("pi@10.0.0.7")
    options = replace(local.options, goal=Goal.STAGE)
    assert [s.name for s in plan(bundle, board, options)][-1] == "stage"
    assert [s.name for s in plan(bundle, board, replace(options, goal=Goal.TEST))][-1] == "prove"
    written = [w for step in plan(bundle, board, local.options) for w in step.writes]
    outside = [path for path in written if path.startswith("/etc/")]
    assert outside == [
        "/etc/systemd/system/edgeship-recover-kws.service",
        "/etc/init.d/edgeship-recover-kws",
        "/etc/cron.d/edgeship-kws",
        "/etc/systemd/system/edgeship-bake-kws.service",
        "/etc/systemd/system/edgeship-kws.service.d/bake.conf",
        "/etc/systemd/system/edgeship-kws.service",
        "/etc/init.d/edgeship-kws",
    ]
    known = replace(local.options, service="openrc")
    written = [w for step in plan(bundle, board, known) for w in step.writes]
    outside = [path for path in written if path.startswith("/etc/")]
    assert outside == ["/etc/init.d/edgeship-recover-kws", "/etc/init.d/edgeship-kws"]
    assert "/var/lib/edgeship/apps/kws/current" in written
    assert all(isinstance(entry["text"], str) for entry in as_json(plan(bundle, board, options)))


def test_every_command_of_a_real_deployment_is_planned(local: Any, monkeypatch: Any) -> None:
    """What is printed is what is run: each line and each request, but for what only the device can answer."""
    from edgeship.deploy import deploy
    from edgeship.deploy.planned import FENCE, RESTARTS, TX
    from edgeship.progress import Silent
    from edgeship.remote.local import LocalTransport

    bundle = local.bundle("1")
    planned = [command for step in plan(bundle, local.host, local.options) for command in step.commands]
    ran: list[tuple[str, bytes]] = []
    whole = LocalTransport.run

    def run(self: Any, command: Any, *more: Any) -> Any:
        ran.append((command.shell_line(), next(command.pieces())))
        return whole(self, command, *more)

    monkeypatch.setattr(LocalTransport, "run", run)
    assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    assert [line for line, _ in ran] == [command.line for command in planned]
    answers = {"fence": FENCE, "tx": TX, "restarts": RESTARTS}
    asked = 0
    for (_, sent), command in zip(ran, planned, strict=True):
        if not sent.startswith(b'{"'):
            continue
        asked += 1
        request = {**json.loads(sent)}
        told = json.loads(command.stdin.partition(" and the bytes")[0])
        assert request.keys() == told.keys()
        for name, value in told.items():
            if name == "blobs" and request["verb"] == "put":
                assert {blob["sha256"] for blob in request[name]} == set(planned_digests(bundle))
            elif name == "bases":
                assert request[name] == []  # a device that has nothing has nothing to build on
            else:
                assert value == answers.get(name, request[name]), (request["verb"], name)
    assert asked == len(planned) - 2  # all but the probe and the helper itself


def test_every_command_of_a_rollback_is_planned(local: Any, monkeypatch: Any, capsys: Any) -> None:
    import jsonschema

    from edgeship.cli.main import run
    from edgeship.deploy import deploy, rollback, rollback_plan
    from edgeship.deploy.planned import FENCE, RESTARTS, TX
    from edgeship.progress import Silent
    from edgeship.remote.local import LocalTransport

    one, two = local.bundle("1"), local.bundle("2")
    for bundle in (one, two):
        assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    before = {path: path.read_bytes() for path in local.root.glob("apps/kws/state.*")}
    words = ["rollback", "--host", local.host.text, "--dry-run"]
    assert run(words) == 0
    text = capsys.readouterr().out
    assert f"where release {two.release[:12]} serves; go to release {one.release[:12]}" in text
    assert 'exec "$p" -I' in text and '"verb":"activate"' in text and "writes " in text
    assert run([*words, "--quiet"]) == 0
    assert "exec python3" not in capsys.readouterr().out
    assert run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = json.loads((Path(__file__).parents[2] / "docs/schemas/plan.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert before == {path: path.read_bytes() for path in before}, "--dry-run changed the device"

    steps = rollback_plan(local.host, None, local.options)
    planned = [json.loads(command.stdin) for step in steps for command in step.commands]
    ran: list[dict[str, Any]] = []
    whole = LocalTransport.run

    def heard(self: Any, command: Any, *more: Any) -> Any:
        ran.append(json.loads(next(command.pieces())))
        return whole(self, command, *more)

    monkeypatch.setattr(LocalTransport, "run", heard)
    report = rollback(local.host, None, local.options, Silent())
    assert report.state == "committed" and [s.name for s in report.steps] == [s.name for s in steps]
    asked = ran[2:]  # which application, and what it has: asked for the plan, too
    answers = {"fence": FENCE, "tx": TX, "restarts": RESTARTS}
    for sent, told in zip(asked, planned, strict=True):
        assert sent.keys() == told.keys()
        assert {k: v for k, v in told.items() if v != answers.get(k)} == {
            k: v for k, v in sent.items() if told[k] != answers.get(k)
        }


def planned_digests(bundle: Any) -> list[str]:
    return [bundle.release, *(info["sha256"] for info in bundle.manifest["files"].values())]


def test_every_file_is_planned_with_its_size_and_digest(local: Any) -> None:
    from edgeship.deploy import deploy
    from edgeship.progress import Silent

    bundle = local.bundle("1")
    planned = {f.path: f for step in plan(bundle, local.host, local.options) for f in step.files}
    assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    folder = local.root / "apps/kws/releases" / bundle.release
    there = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert there.keys() == planned.keys()
    for path, data in there.items():
        assert planned[path].sha256 == hashlib.sha256(data).hexdigest()
        assert planned[path].bytes in (len(data), None if path.endswith("/manifest.json") else -1)


def test_text_and_json_of_a_plan(local: Any, capsys: Any) -> None:
    import jsonschema

    from edgeship.cli.main import run

    bundle = local.bundle("1")
    words = ["deploy", str(bundle.path), "--host", local.host.text, "--host", "pi@10.0.0.7", "--dry-run"]
    assert run([*words, "--quiet"]) == 0
    short = capsys.readouterr().out
    assert "without --quiet every one is shown" in short and "exec python3" not in short
    assert run(words) == 0
    full = capsys.readouterr().out
    assert "sudo -n" in full and '"verb":"activate"' in full and f"sha256 {bundle.release}" in full
    assert run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = json.loads((Path(__file__).parents[2] / "docs/schemas/plan.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert [host["host"] for host in document["hosts"]] == [local.host.text, "pi@10.0.0.7"]
    assert not local.root.exists()
    for more in ([], ["--dry-run"]):  # what is refused is refused when it is only planned, too
        assert run([*words[:-1], "--target", "raspberry-pi-zero-2w", *more]) == 2
        assert "error: bundle-for-another-target" in capsys.readouterr().err
