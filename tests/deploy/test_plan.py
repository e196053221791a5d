"""--dry-run: what would be done, as values; nobody is contacted and nothing is written."""

from __future__ import annotations

from dataclasses import replace
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
        "/etc/systemd/system/edgeship-kws.service",
        "/etc/init.d/edgeship-kws",
    ]
    known = replace(local.options, service="openrc")
    written = [w for step in plan(bundle, board, known) for w in step.writes]
    outside = [path for path in written if path.startswith("/etc/")]
    assert outside == ["/etc/init.d/edgeship-recover-kws", "/etc/init.d/edgeship-kws"]
    assert "/var/lib/edgeship/apps/kws/current" in written
    assert all(isinstance(entry["text"], str) for entry in as_json(plan(bundle, board, options)))
