"""Pins: a release that stays on the device whatever comes after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.cli.main import run
from edgeship.deploy import deploy, history, rollback
from edgeship.progress import Silent

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def kept(bench: Any) -> set[str]:
    return {entry["release"] for entry in bench.status()["releases"]}


def test_a_pinned_release_outlives_collection(local: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench = local.with_options(keep=1)
    bundles = [bench.bundle(str(number)) for number in range(1, 5)]
    for bundle in bundles[:2]:
        assert deploy(bundle, bench.host, bench.options, Silent()).state == "committed"
    pinned = bundles[0].release
    at = ["--host", bench.host.text]
    assert run(["pin", pinned[:8], *at, "--dry-run"]) == 0
    assert f"pin release {pinned}" in capsys.readouterr().out and bench.status()["pins"] == []
    assert run(["pin", pinned[:8], *at]) == 0
    out = capsys.readouterr().out
    assert f"release {pinned[:12]} is pinned: no deployment deletes it" in out
    assert f"edgeship rollback --host {bench.host.text} --app kws --to {pinned[:12]}" in out
    assert run(["pin", pinned[:8], *at, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / "pin.schema.json").read_text())).validate(document)
    assert (document["changed"], document["pins"]) == (False, [pinned])
    for bundle in bundles[2:]:
        assert deploy(bundle, bench.host, bench.options, Silent()).state == "committed"
    assert kept(bench) == {pinned, bundles[2].release, bundles[3].release}
    assert run(["status", *at]) == 0
    assert "pinned" in capsys.readouterr().out
    assert run(["status", *at, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / "status.schema.json").read_text())).validate(
        document
    )
    roles = {
        entry["release"]: (entry["role"], entry["pinned"]) for entry in document["apps"]["kws"]["releases"]
    }
    assert roles[pinned] == ("kept", True) and roles[bundles[3].release] == ("current", False)
    back = rollback(bench.host, "kws", replace(bench.options), Silent(), release=pinned[:8])
    assert back.state == "committed" and bench.serving_release() == pinned
    assert run(["pin", pinned[:8], *at, "--remove"]) == 0
    assert "is no longer pinned: the next deployment may delete it" in capsys.readouterr().out
    assert run(["pin", pinned[:8], *at, "--remove"]) == 0
    assert "was not pinned: the next deployment may delete it" in capsys.readouterr().out
    log = history(bench.host, "kws", bench.options)
    told = [(e["event"], e["to"]) for e in log["entries"] if "pinned" in e["event"]]
    assert told == [("pinned", pinned), ("unpinned", pinned)] and log["broken_at"] is None


def test_wrong_input(local: Any, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--host", local.host.text]
    assert run(["pin", "abcdef", *at]) == 2
    assert "error: not-deployed" in capsys.readouterr().err
    bundle = local.bundle("1")
    assert deploy(bundle, local.host, local.options, Silent()).state == "committed"
    for wrong in ("ffffffff", "zz", bundle.release[:3], ""):
        assert run(["pin", wrong, *at]) == 2
        said = capsys.readouterr().err
        assert "error: no-such-release" in said and bundle.release[:12] in said and "hint: " in said
    assert run(["pin", *at]) == 2
    assert "Missing argument 'RELEASE'" in capsys.readouterr().err
    assert local.status()["pins"] == []
