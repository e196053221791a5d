"""A release with a ladder: every variant is timed on the device, the figures are kept for its service, and gone with
it; what is not used there is said."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny_release import GOVERNOR

from edgeship.deploy import deploy
from edgeship.deploy.answers import ANSWERS
from edgeship.deploy.words import ladder_report
from edgeship.report.deploys import deploy_document, deploy_text
from edgeship.shape import problem
from edgeship.values import Unavailable

SCHEMA = Path(__file__).parents[2] / "docs/schemas/deploy.schema.json"
WHY = "small is at least as accurate and not slower"
PROOF = {"vectors": 2, "failed": 0, "engine": {}, "latency_ms": {"unavailable": "-"}}
RUNG = {"cold_seconds": 0.1, "seconds": 0.02, "p95_seconds": 0.03, "threads": 2, "memory_bytes": 100}


def figures(bench: Any, release: str) -> Path:
    return Path(bench.root / f"apps/kws/kept/figures-{release}.json")


def test_figures_are_kept_shown_and_gone_with_their_release(local: Any, notes: Any) -> None:
    one = local.bundle("1", governor=GOVERNOR, left_out=[["big", WHY]])
    report = deploy(one, local.host, local.options, notes)
    assert report.state == "committed", report
    kept = figures(local, one.release)
    document = json.loads(kept.read_text())
    assert (document["schema"], document["release"]) == ("edgeship.figures/1", one.release)
    assert document["rungs"]["big"]["seconds"] == 0.01 and set(document["rungs"]) == {"small", "big"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644, "the service's own user reads it"
    assert [(r.variant, r.used, r.reason) for r in report.ladder] == [
        ("small", True, ""),
        ("big", False, WHY),
    ]
    assert any(text.endswith(f"big is not used here: {WHY}") for text in notes.notes)
    told = deploy_document(report)
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    assert told["ladder"][0]["latency_ms"] == {"cold": 50.0, "p50": 2.0, "p95": 4.0}
    assert f"no: {WHY}" in deploy_text(report)

    assert [rung["within"] for rung in told["ladder"]] == ["", ""]

    # One that dies is gone back from: the figures of what serves again are there.
    dead = deploy(local.bundle("2", governor=GOVERNOR, serve="dies"), local.host, local.options, notes)
    assert dead.state == "reverted" and json.loads(kept.read_text()) == document

    # A release that cannot be timed has none, not even those that an earlier proof left; and it serves.
    three = local.bundle("3", governor=GOVERNOR, figures="none")
    figures(local, three.release).write_text("{}")
    report = deploy(three, local.host, local.options, notes)
    assert report.state == "committed" and isinstance(report.ladder, Unavailable)
    assert "the engine gave up" in report.ladder.reason and not figures(local, three.release).exists()
    jsonschema.validate(deploy_document(report), json.loads(SCHEMA.read_text()))
    assert "not timed on the device" in deploy_text(report)

    # A release without a ladder has no figures, and takes those of collected releases along.
    report = deploy(local.bundle("4"), local.host, replace(local.options, keep=2), notes)
    assert report.state == "committed" and report.ladder == () and "ladder" not in deploy_document(report)
    assert not list((local.root / "apps/kws/kept").glob("figures-*")), "version 1 is gone"


def test_one_that_serves_as_half_of_a_cascade_only_is_told_so(local: Any, notes: Any) -> None:
    one = local.bundle("1", governor=GOVERNOR, within=[["big", "small+big"]])
    report = deploy(one, local.host, local.options, notes)
    assert [(r.variant, r.used, r.within) for r in report.ladder] == [
        ("small", True, ""),
        ("big", True, "small+big"),
    ]
    told = deploy_document(report)
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    assert told["ladder"][1]["within"] == "small+big"
    rows = [line.split() for line in deploy_text(report).splitlines()]
    assert ["in", "small+big", "only"] in [row[-3:] for row in rows] and any(
        row[-1:] == ["yes"] for row in rows
    )


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ({"unavailable": "no time"}, None),
        ({"rungs": {"a": RUNG}, "left_out": [["a", "why"]]}, None),
        ({"rungs": {"a": RUNG}, "left_out": [], "within": [["a", "a+b"], ["a"]]}, None),
        ({"rungs": {"a": RUNG}, "left_out": [], "within": "a"}, "ladder"),
        ({"rungs": {"a": {**RUNG, "memory_bytes": None}}, "left_out": []}, None),
        ({"rungs": {"a": {**RUNG, "seconds": "soon"}}, "left_out": []}, "ladder"),
        ({"rungs": {"a": {}}, "left_out": []}, "ladder"),
        ({"rungs": [], "left_out": []}, "ladder"),
        ({"rungs": {}, "left_out": "x"}, "ladder"),
        ({}, "ladder"),
        (3, "ladder"),
    ],
)
def test_what_a_device_says_of_its_ladder_is_read_or_refused(ladder: Any, said: str | None) -> None:
    proof = {**PROOF, "ladder": ladder}
    wrong = problem(ANSWERS["prove"], {"ok": True, "reason": None, "prove": proof})
    assert (wrong is None) == (said is None), wrong
    if said is None:
        report = ladder_report(proof)
        assert isinstance(report, Unavailable) or report[0].variant == "a"
