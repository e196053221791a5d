"""Settings that are changed on a device: what may stand in them, whose word counts, and what a power cut leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from trust_lab import DAY, NOW, by, refused, tell

from edgeship.digest import canonical_json

RELEASE = "c" * 64


class Cut(BaseException):
    """The power goes."""


@pytest.fixture
def running(helper: ModuleType, place: Any) -> Any:
    """A device with a governed release in use that takes unsigned releases."""
    folder = Path(place.release(RELEASE))
    folder.mkdir(parents=True)
    governor = {
        "settings": {"watts": 5.0, "mode": "auto"},
        "rungs": [{"variant": "small"}, {"variant": "big"}],
    }
    (folder / "service.json").write_text(json.dumps({"governor": governor}))
    helper.change_state(place, "COMMITTED", to=RELEASE, tx="one", result="committed")
    tell(helper, place, unsigned="allow")
    return place


def tune(
    helper: ModuleType, place: Any, settings: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    request = {"verb": "tune", "root": place.root, "app": "kws", "settings": settings or {}, **more}
    return dict(helper.tune(place, helper.parse_request(canonical_json(request))))


def on_disk(place: Any) -> dict[str, Any] | None:
    path = Path(place.of("kept", "settings.json"))
    return json.loads(path.read_text())["settings"] if path.exists() else None


def test_settings_are_laid_over_and_taken_back_one_by_one(helper: ModuleType, running: Any) -> None:
    told = tune(helper, running, {"watts": 3, "deadline_ms": 50.0})
    assert told["changed"] and told["own"] == {"watts": 3, "deadline_ms": 50.0} == on_disk(running)
    assert told["settings"] == {"watts": 5.0, "mode": "auto"} and told["rungs"] == ["small", "big"]
    path = Path(running.of("kept", "settings.json"))
    assert path.stat().st_mode & 0o777 == 0o644 and path.parent.stat().st_mode & 0o777 == 0o755
    document = json.loads(path.read_text())
    assert document["schema"] == "edgeship.settings/1" and document["at"] == told["at"] > 0
    assert not tune(helper, running, {"watts": 3})["changed"]
    assert tune(helper, running, {"watts": None}, lift=["temperature_c"])["own"] == {
        "deadline_ms": 50.0,
        "temperature_c": None,
    }
    assert tune(helper, running, {"mode": "off"}, reset=True)["own"] == {"mode": "off"}
    assert tune(helper, running, reset=True)["own"] == {} and on_disk(running) is None
    log = [
        (e["event"], e.get("reason"), bool(e.get("by")))
        for e in helper.read_audit(running)[0]
        if "tune" in e["event"]
    ]
    assert log[0] == ("tuned", "governor.deadline_ms=50.0, governor.watts=3", True) and len(log) == 4
    assert log[-1] == ("tuned", "the release's settings", True)


def kept(place: Any) -> list[str]:
    return [path.name for path in Path(place.of("kept")).iterdir()]


WRONG: list[dict[str, Any]] = [
    {"settings": {"wats": 3}},
    {"settings": {"watts": 0}},
    {"settings": {"watts": -1}},
    {"settings": {"watts": "3"}},
    {"settings": {"watts": True}},
    {"settings": {"watts": 1e300}},
    {"settings": {"mode": "fast"}},
    {"settings": {"mode": ["auto"]}},
    {"settings": {"variant": "../x"}},
    {"settings": {"variant": "x" * 300}},
    {"settings": {"log": 1}},
    {"settings": {"load": 1.5}},
    {"settings": {"still": -0.1}},
    {"settings": {"battery": {"below_percent": 3}}},
    {"settings": {"battery": [{"below_percent": 20}, {"below_percent": 50}]}},
    {"settings": {"battery": [{"below_percent": 20, "wats": 1}]}},
    {"settings": {"battery": [{"watts": 1}]}},
    {"settings": {"battery": [{"below_percent": 100 - n} for n in range(17)]}},
    {"settings": {}, "lift": ["mode"]},
    {"settings": {"watts": 3}, "lift": ["watts"]},
    {"settings": {}, "lift": [["watts"]]},
    {"settings": {}, "reset": "yes"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong)[:60])
def test_what_cannot_be_a_setting_changes_nothing(
    helper: ModuleType, running: Any, wrong: dict[str, Any]
) -> None:
    tune(helper, running, {"watts": 3})
    code = (
        "bad-request"
        if "reset" in wrong
        else "unknown-setting"
        if "wats" in wrong["settings"]
        else "wrong-setting"
    )
    assert refused(helper, lambda: tune(helper, running, **wrong)).code == code
    assert on_disk(running) == {"watts": 3}


def test_names_of_requests_are_of_their_kinds(helper: ModuleType, running: Any) -> None:
    for wrong in ({"settings": [1]}, {"lift": "watts"}):
        assert (
            refused(helper, lambda w=wrong: tune(helper, running, **{"settings": {}, **w})).code
            == "bad-request"
        )
    text = b'{"verb":"tune","root":"/x","app":"kws","settings":{"watts":NaN}}'
    assert refused(helper, lambda: helper.tune(running, helper.parse_request(text))).code == "wrong-setting"


def test_not_while_on_trial_and_not_where_nothing_runs(helper: ModuleType, running: Any) -> None:
    helper.change_state(running, "TRIAL", tx="two", boot=helper.boot_identity())
    assert refused(helper, lambda: tune(helper, running, {"watts": 3})).code == "busy"
    helper.change_state(running, "NONE", to=None)
    assert refused(helper, lambda: tune(helper, running, {"watts": 3})).code == "nothing-deployed"
    assert on_disk(running) is None


def test_settings_must_mean_something_to_the_release(helper: ModuleType, running: Any) -> None:
    assert tune(helper, running, {"variant": "big"})["own"] == {"variant": "big"}
    for wrong in ({"variant": "large"}, {"battery": [{"below_percent": 20, "variant": "large"}]}):
        refusal = refused(helper, lambda w=wrong: tune(helper, running, w))
        assert (refusal.code, refusal.facts["known"]) == ("no-such-rung", ["small", "big"])
    (Path(running.release(RELEASE)) / "service.json").write_text("{}")
    assert refused(helper, lambda: tune(helper, running, {"watts": 3})).code == "no-governor"
    told = tune(helper, running, {"variant": None})
    assert told["own"] == {} and not told["governed"] and told["settings"] == {}


CALLS = ("open", "write", "fsync", "rename", "unlink", "chmod")


def cut_power(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, at: int, work: Callable[[], Any]) -> bool:
    """Do `work` until the power goes before its `at`-th system call that changes anything; return whether it went."""
    left = [at]
    found = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})

    def counting(name: str) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return getattr(os, name)(*words, **named)

        return call

    for name in CALLS:
        setattr(found, name, counting(name))
    with monkeypatch.context() as patch:
        patch.setattr(helper, "os", found)
        try:
            work()
        except Cut:
            return True
    return False


def test_a_power_cut_leaves_the_old_or_the_new_settings(
    helper: ModuleType, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(helper, running, {"watts": 3})
    old, seen = {"watts": 3}, set()
    for new in ({"watts": 4, "load": 0.5}, {}):
        for at in range(100):
            went = cut_power(
                helper,
                monkeypatch,
                at,
                lambda new=new: tune(helper, running, new, reset=True),  # type: ignore[misc]
            )
            found = on_disk(running) or {}
            assert found in (old, new)
            seen.add((str(new), found == new))
            if not went:
                break
            helper.keep_settings(running, old)
        assert found == new and at > 3
        old = new
    assert len(seen) == 4


def test_a_trial_begins_with_what_it_came_with_and_leaves_nothing(
    helper: ModuleType, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for old in ({"watts": 3}, {}):
        for at in range(100):
            helper.keep_settings(running, old)
            change = {"settings": {"watts": 2.5}}
            helper.arm_change(running, "two", change, RELEASE)
            assert (on_disk(running) or {}) == old, "what serves until the switch keeps its settings"
            helper.begin_with_next(running, "two")
            assert on_disk(running) == {**old, "watts": 2.5}
            went = cut_power(helper, monkeypatch, at, lambda: helper.take_back(running, "two"))
            assert (on_disk(running) or {}) in ({**old, "watts": 2.5}, old)
            helper.take_back(running, "two")
            assert (on_disk(running) or {}) == old
            assert kept(running) == (["settings.json"] if old else [])
            if not went:
                break
        assert at > 2
    helper.arm_change(running, "three", None, RELEASE)
    helper.take_back(running, "three")
    assert kept(running) == []


def change(place: Any, key: Path, settings: dict[str, Any], **said: Any) -> dict[str, Any]:
    """Return the fields of a request to tune, signed."""
    fields = {"settings": settings, "lift": [], "reset": False}
    statement = {
        "schema": "edgeship.tune/1", "device": device(place), "app": "kws", **fields,
        "sequence": 1, "signed_at": NOW - 5, "expires": NOW + DAY, **said,
    }  # fmt: skip
    return {**fields, "signatures": [by(key, canonical_json(statement).decode())]}


def device(place: Any) -> str:
    return str(json.loads((Path(place.trust) / "device.json").read_text()))


def test_a_device_of_signed_releases_takes_signed_settings(
    helper: ModuleType, running: Any, keys: SimpleNamespace
) -> None:
    place = running
    tell(helper, place, keys.ann, keys.bob)
    told = helper.tuned(place, {})
    assert told["signed"] == {"device": device(place), "sequence": 1} and told["own"] == {}
    good = change(place, keys.ann, {"watts": 3})
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "nobody": ("unsigned", {**good, "signatures": []}),
        "stranger": ("unknown-signer", change(place, keys.eve, {"watts": 3})),
        "other value": ("other-settings", {**good, "settings": {"watts": 30}}),
        "reset added": ("other-settings", {**good, "reset": True}),
        "other device": ("other-settings", change(place, keys.ann, {"watts": 3}, device="0" * 32)),
        "other app": ("other-settings", change(place, keys.ann, {"watts": 3}, app="vww")),
        "ahead": ("tuned-since", change(place, keys.ann, {"watts": 3}, sequence=2)),
        "expired": ("signature-expired", change(place, keys.ann, {"watts": 3}, expires=NOW - 1)),
        "a release's": ("bad-statement", {**good, "signatures": [by(keys.ann)]}),
        "no object": ("bad-statement", {**good, "signatures": [by(keys.ann, "[]\n")]}),
        "torn": ("bad-signature", {**good, "signatures": [{**good["signatures"][0], "signature": "x"}]}),
    }
    for code, fields in wrong.values():
        assert refused(helper, lambda f=fields: tune(helper, place, **f)).code == code, code
        assert on_disk(place) is None
    told = tune(helper, place, **good)
    assert told["own"] == {"watts": 3} and told["by"] == "ann"
    assert helper.tuned(place, {})["signed"]["sequence"] == 2
    assert refused(helper, lambda: tune(helper, place, **good)).code == "tuned-since", (
        "said once, never again"
    )
    assert tune(helper, place, **change(place, keys.bob, {"watts": None}, sequence=2))["own"] == {}
    assert refused(helper, lambda: tune(helper, place, **good)).code == "tuned-since"
    assert [e["by"] for e in helper.read_audit(place)[0] if e["event"] == "tuned"] == ["ann", "bob"]
    tell(helper, place, threshold=2, max_age_days=1)
    assert refused(helper, lambda: tune(helper, place, **change(place, keys.ann, {}, sequence=3))).code == (
        "too-few-signatures"
    )
    one, two = (change(place, key, {"load": 0.5}, sequence=3) for key in (keys.ann, keys.bob))
    both = {**one, "signatures": one["signatures"] + two["signatures"]}
    assert tune(helper, place, **both)["by"] == "ann, bob"
    old = change(place, keys.ann, {}, sequence=4, signed_at=NOW - 2 * DAY)
    assert refused(helper, lambda: tune(helper, place, **old)).code == "signature-stale"


def test_what_only_revoked_keys_signed_counts_nowhere(
    helper: ModuleType, running: Any, keys: SimpleNamespace
) -> None:
    from trust_lab import fingerprint

    helper.must_sign(running)
    (Path(running.trust) / "device.json").write_text('"%s"' % ("0" * 32))
    tell(helper, running, unsigned="allow", revoke=(fingerprint(keys.eve),))
    signed = change(running, keys.eve, {"watts": 3})
    assert refused(helper, lambda: tune(helper, running, **signed)).code == "key-revoked"
    assert tune(helper, running, {"watts": 3})["changed"]
