"""Settings of a running service: shown, changed without a restart, brought by a deployment and taken back with it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny_release import GOVERNOR

from edgeship.bundle.sign import new_key, public_key
from edgeship.cli.main import run
from edgeship.deploy import deploy, history
from edgeship.deploy.trust import change_trust
from edgeship.progress import Silent

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def valid(name: str, text: str) -> dict[str, Any]:
    """Return a document, held against its published schema."""
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text())).validate(
        document
    )
    return document


def serve(
    bench: Any, version: str = "1", *, governed: bool = True, state: str = "committed", **how: Any
) -> Any:
    options = {name: how.pop(name) for name in ("settings", "lifted", "signers") if name in how}
    bundle = bench.bundle(version, governor=GOVERNOR if governed else None, **how)
    report = deploy(bundle, bench.host, bench.with_options(**options).options, Silent())
    assert report.state == state, report
    return report


def governor(bench: Any) -> dict[str, Any]:
    """Return what the service itself says."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{bench.port}/v2/models/kws/governor", timeout=10
    ) as answer:
        return dict(json.load(answer))


def own(bench: Any) -> dict[str, Any]:
    """Return the device's own settings."""
    path = bench.root / "apps/kws/kept/settings.json"
    return dict(json.loads(path.read_text())["settings"]) if path.exists() else {}


def pid(bench: Any) -> int:
    return int(bench.status()["serving"]["pid"])


@pytest.fixture(scope="module")
def served(make_local: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A device with two variants to choose from, for tests that leave its settings as the release has them."""
    with make_local(tmp_path_factory.mktemp("served")) as bench:
        serve(bench)
        yield bench


def test_it_is_shown_changed_and_taken_back_without_a_restart(
    served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    local = served
    at = ["--host", local.host.text]
    before = pid(local)
    assert run(["tune", *at]) == 0
    shown = capsys.readouterr().out
    assert "governor.watts" in shown and "may serve, cheapest first: small, big" in shown
    row = next(line.split() for line in shown.splitlines() if line.startswith("governor.watts"))
    assert row == ["governor.watts", "8", "release", "8", "none"]
    assert run(["tune", *at, "governor.watts=3", "governor.deadline_ms=none", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert (
        "kws: governor.watts=3, governor.deadline_ms=none (writes " in said and "kept/settings.json" in said
    )
    assert own(local) == {} and governor(local)["rung"] == "big"
    assert run(["tune", *at, "governor.watts=3", "governor.deadline_ms=none"]) == 0
    said = capsys.readouterr().out
    assert (
        "changed; this device's own are governor.deadline_ms=none, governor.watts=3" in said
        and "taken up, without a restart" in said
    )
    assert "problem: no meter: governor.watts cannot be held" in said
    assert own(local) == {"watts": 3.0, "deadline_ms": None}
    assert (governor(local)["rung"], governor(local)["reason"]) == ("small", "budget")
    assert run(["tune", *at, "--json"]) == 0
    (device,) = valid("tune", capsys.readouterr().out)["devices"]
    rows = {row["setting"]: row for row in device["settings"]}
    assert rows["governor.watts"] == {
        "setting": "governor.watts", "value": 3.0, "from": "device", "release": 8.0, "device": 3.0,
        "default": {"unavailable": "none is set"},
    }  # fmt: skip
    assert rows["governor.load"]["value"] == 0.8 and rows["governor.load"]["from"] == "default"
    assert run(["tune", *at, "governor.watts=null"]) == 0
    assert own(local) == {"deadline_ms": None} and governor(local)["rung"] == "big"
    assert run(["tune", *at, "--reset", "governor.variant=small"]) == 0
    assert own(local) == {"variant": "small"} and governor(local)["rung"] == "small"
    capsys.readouterr()
    assert run(["tune", *at, "governor.variant=small"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    bands = "[{below_percent: 50, watts: 3}, {below_percent: 20, variant: small}]"
    assert run(["tune", *at, f"governor.battery={bands}"]) == 0
    assert f"governor.battery={bands}" in capsys.readouterr().out
    assert run(["tune", *at, "--reset"]) == 0 and own(local) == {}
    assert pid(local) == before and local.status()["serving"]["restarts"] == 0
    log = [e for e in history(local.host, "kws", local.options)["entries"] if e["event"] == "tuned"]
    assert (
        len(log) >= 5
        and log[-5]["reason"] == "governor.deadline_ms=none, governor.watts=3.0"
        and log[-5]["by"]
    )


WRONG = {
    "governor.wats=3": "unknown-setting",
    "watts=3": "unknown-setting",
    "governer.watts=3": "unknown-setting",
    "governor.watts=-3": "wrong-setting",
    "governor.watts=lots": "wrong-setting",
    "governor.mode=none": "wrong-setting",
    "governor.watts": "wrong-setting",
    "governor.variant=smal": "no-such-rung",
}


def test_wrong_input_changes_nothing_and_says_what_to_type(
    served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    local, at = served, ["--host", served.host.text]
    assert run(["tune", "--host", "local:/nowhere", "governor.watts=3"]) == 2
    assert "error: not-deployed" in capsys.readouterr().err
    for typed, reference in WRONG.items():
        assert run(["tune", *at, typed]) in (1, 2)
        said = capsys.readouterr().err
        assert f"error: {reference}\n" in said and "hint: " in said, said
        if reference == "unknown-setting":
            assert "governor.watts" in said.rpartition("hint: ")[2], said
    assert run(["tune", *at, "governor.variant=smal"]) == 1
    assert "hint: did you mean governor.variant=small?" in capsys.readouterr().err
    for twice in (["governor.watts=3", "governor.watts=4"], ["governor.watts=3", "governor.watts=none"]):
        assert run(["tune", *at, *twice]) == 2
        assert "governor.watts is set twice" in capsys.readouterr().err
    assert run(["tune", "--host", "local:/nowhere", *at, "governor.watts=3", "--json"]) == 2
    said = capsys.readouterr()
    assert f"{local.host.text}: was changed" in said.err and "local:/nowhere: was not" in said.err
    assert json.loads(said.out)["reference"] == "not-deployed" and own(local) == {"watts": 3.0}
    assert run(["tune", *at, "--reset"]) == 0


def test_a_release_without_a_governor_has_nothing_to_tune(
    local: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--host", local.host.text]
    serve(local, "0", governed=False)
    assert run(["tune", *at]) == 0
    assert "it has no governor, so there is nothing to tune" in capsys.readouterr().out
    assert run(["tune", *at, "governor.watts=3"]) == 1
    said = capsys.readouterr().err
    assert "error: no-governor" in said and "--ladder" in said
    serve(local, "1")
    assert run(["tune", *at, "governor.watts=3"]) == 0
    # Settings are the device's own: they stay with the application, and hold for whatever release reads them.
    assert run(["rollback", *at]) == 0 and own(local) == {"watts": 3.0}
    capsys.readouterr()
    assert run(["tune", *at]) == 0
    assert "kept on this device for one that has: governor.watts=3" in capsys.readouterr().out
    assert run(["rollback", *at]) == 0 and governor(local)["settings"]["watts"] == 3.0
    assert run(["rollback", *at]) == 0
    capsys.readouterr()
    assert run(["tune", *at, "governor.watts=null"]) == 0 and own(local) == {}
    assert "changed: nothing is kept" in capsys.readouterr().out
    assert run(["remove", *at, "--yes"]) == 0 and own(local) == {}


def test_a_deployment_brings_settings_and_takes_them_back(
    local: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--host", local.host.text]
    dead = serve(local, "0", state="reverted", serve="dies", settings={"watts": 3.0})
    assert "reverted" in dead.state and own(local) == {} and local.record()["state"] == "NONE"
    first = local.bundle("1", governor=GOVERNOR)
    words = ["deploy", str(first.path), *at, "--quiet"]
    assert run([*words, "--set", "governor.watts=3", "--dry-run"]) == 0
    assert "with governor.watts=3" in capsys.readouterr().out
    assert run([*words, "--set", "governor.watts=3", "--set", "governor.load=0.5"]) == 0
    assert own(local) == {"watts": 3.0, "load": 0.5} and governor(local)["reason"] == "budget"
    serve(local, "2", state="reverted", serve="dies", settings={"watts": 7.0})
    assert own(local) == {"watts": 3.0, "load": 0.5} and governor(local)["reason"] == "budget"
    serve(local, "4", settings={"watts": None}, lifted=("deadline_ms",))
    assert own(local) == {"load": 0.5, "deadline_ms": None} and governor(local)["rung"] == "big"
    # The release serves already: only the settings change, and nothing restarts.
    before = pid(local)
    same = deploy(
        local.bundle("4", governor=GOVERNOR),
        local.host,
        local.with_options(settings={"watts": 2.0}).options,
        Silent(),
    )
    assert same.state == "unchanged" and "settings changed" in same.reason and pid(local) == before
    assert own(local) == {"load": 0.5, "deadline_ms": None, "watts": 2.0}
    kept = sorted(path.name for path in (local.root / "apps/kws/kept").iterdir())
    assert [name for name in kept if name.startswith("settings")] == ["settings.json"], (
        "nothing of trials is left"
    )
    refused = serve(local, "5", state="failed", settings={"variant": "huge"})
    assert refused.reason.startswith("no-such-rung: ") and "no variant 'huge'" in refused.reason
    assert serve(local, "6", governed=False, state="failed", settings={"watts": 1.0}).reason.startswith(
        "no-governor: "
    )
    assert run([*words, "--set", "governor.watts=3", "--goal", "stage"]) == 2
    assert "--goal stage switches nothing" in capsys.readouterr().err
    assert own(local)["watts"] == 2.0
    events = [
        e["event"] for e in history(local.host, "kws", local.options)["entries"] if "tune" in e["event"]
    ]
    assert events.count("tuned-back") == 2


def test_a_crash_loop_after_the_confirmation_takes_them_back(local: Any) -> None:
    bench, trouble = local.with_options(bake_seconds=60, bake_restarts=0), local.folder / "trouble"
    serve(bench, "1", settings={"watts": 3.0})
    serve(bench, "2", serve="dies later", after=0.1, only_if=str(trouble), settings={"watts": 6.0})
    assert own(bench) == {"watts": 6.0}
    trouble.touch()
    bench.wait_for(lambda: bench.record().get("result") == "went-back")
    assert own(bench) == {"watts": 3.0}


def test_a_device_of_signed_releases_wants_them_signed(
    local: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeship.bundle.sign import sign

    at, keys = ["--host", local.host.text], [tmp_path / "ann", tmp_path / "eve"]
    for key in keys:
        new_key(key, comment=key.name, passphrase=False)
    known = public_key(keys[0])
    change_trust(
        local.host,
        local.options,
        signers=[{"name": "ann", "key": known.line}],
        changes={"unsigned": "refuse"},
    )
    bundle = sign(local.bundle("1", governor=GOVERNOR), keys[0])
    unsigned = deploy(bundle, local.host, local.with_options(settings={"watts": 3.0}).options, Silent())
    assert unsigned.state == "failed" and unsigned.reason.startswith("unsigned: ") and own(local) == {}
    signing = local.with_options(settings={"watts": 3.0}, signers=(keys[0],)).options
    assert deploy(bundle, local.host, signing, Silent()).state == "committed" and own(local) == {"watts": 3.0}
    assert run(["tune", *at, "governor.watts=4"]) == 1
    said = capsys.readouterr().err
    assert "error: unsigned" in said and "the change is not signed" in said and "--sign-with KEY" in said
    assert run(["tune", *at, "governor.watts=4", "--sign-with", str(keys[1])]) == 1
    assert "error: unknown-signer" in capsys.readouterr().err and own(local) == {"watts": 3.0}
    for watts in (4.0, 5.0):
        assert run(["tune", *at, f"governor.watts={watts}", "--sign-with", str(keys[0])]) == 0
        assert own(local) == {"watts": watts}
    assert run(["tune", *at]) == 0, "looking asks for no signature"
    by = [
        e["by"]
        for e in history(local.host, "kws", local.options)["entries"]
        if e["event"] == "tuned" and "by" in e
    ]
    assert by == ["ann", "ann"]
