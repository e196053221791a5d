"""Whose releases a device takes: the helper's own words on signatures, made and judged by the real ssh-keygen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trust_lab import DAY, NOW, RELEASE, by, fingerprint, refused, set_clock, statement, tell, tree

from edgeship.device.ship import helper_source
from edgeship.digest import canonical_json, sha256_bytes


def wrong_header(entry: dict[str, str]) -> dict[str, str]:
    """Return a signature for another namespace whose header claims to be for edgeship."""
    import base64

    lines = entry["signature"].strip().splitlines()
    data = base64.b64decode("".join(lines[1:-1])).replace(b"\0\0\0\x08edgewise", b"\0\0\0\x08edgeship")
    body = base64.b64encode(data).decode()
    return {**entry, "signature": "\n".join([lines[0], body, lines[-1]]) + "\n"}


NEGATIVE: dict[str, tuple[str, Callable[[Any], list[Any]]]] = {
    "nobody signed": ("unsigned", lambda k: []),
    "a stranger's key": ("unknown-signer", lambda k: [by(k.eve)]),
    "another namespace": ("wrong-namespace", lambda k: [by(k.ann, namespace="file")]),
    "another namespace, relabelled": (
        "bad-signature",
        lambda k: [wrong_header(by(k.ann, namespace="edgewise"))],
    ),
    "another key's signature body": (
        "bad-signature",
        lambda k: [{**by(k.ann), "statement": by(k.eve, sequence=99)["statement"]}],
    ),
    "a revoked key": ("key-revoked", lambda k: [by(k.bob)]),
    "expired": ("signature-expired", lambda k: [by(k.ann, expires=NOW)]),
    "too old": ("signature-stale", lambda k: [by(k.ann, signed_at=NOW - 91 * DAY)]),
    "older than what ran": ("older-release", lambda k: [by(k.ann, sequence=4)]),
    "another release": ("wrong-release", lambda k: [by(k.ann, release="b" * 64)]),
    "another app": ("wrong-release", lambda k: [by(k.ann, app="other")]),
    "signature cut in half": (
        "bad-signature",
        lambda k: [{**by(k.ann), "signature": by(k.ann)["signature"][:120]}],
    ),
    "signature's armour damaged": (
        "bad-signature",
        lambda k: [{**by(k.ann), "signature": by(k.ann)["signature"].replace("U1NIU0lH", "!!!!!!!!")}],
    ),
    "statement cut": (
        "bad-signature",
        lambda k: [{**by(k.ann), "statement": by(k.ann)["statement"][:-9]}],
    ),
    "one space more": (
        "bad-signature",
        lambda k: [{**by(k.ann), "statement": by(k.ann)["statement"] + " "}],
    ),
    "signed, but no statement": ("bad-statement", lambda k: [by(k.ann, "hello\n")]),
    "signed, but a list": ("bad-statement", lambda k: [by(k.ann, "[1]\n")]),
    "a sequence below zero": ("bad-statement", lambda k: [by(k.ann, sequence=-1)]),
    "a sequence of truth": ("bad-statement", lambda k: [by(k.ann, sequence=True)]),
    "a sequence beyond reason": ("bad-statement", lambda k: [by(k.ann, sequence=1 << 53)]),
    "an expiry in words": ("bad-statement", lambda k: [by(k.ann, expires="never")]),
    "another document": ("bad-statement", lambda k: [by(k.ann, schema="edgeship.statement/2")]),
    "an endless statement": ("bad-signature", lambda k: [by(k.ann, version="v" * 5000)]),
    "an endless signature": (
        "bad-signature",
        lambda k: [{**by(k.ann), "signature": by(k.ann)["signature"] + "A" * 20_000}],
    ),
    "endless signatures": ("bad-signature", lambda k: [by(k.ann)] * 17),
    "no text": ("bad-signature", lambda k: [{"statement": 7, "signature": None}]),
    "no object": ("bad-signature", lambda k: ["x"]),
}


@pytest.mark.parametrize("how", NEGATIVE)
def test_a_signature_that_does_not_hold_is_refused_and_nothing_changes(
    how: str, helper: ModuleType, place: Any, keys: Any
) -> None:
    code, make = NEGATIVE[how]
    tell(helper, place, keys.ann, keys.bob, max_age_days=90)
    tell(helper, place, revoke=(fingerprint(keys.bob),))
    helper.write_slots(place.trust, "floor", {"fences": {}, "time": 0, "sequences": {"kws": 5}})
    signatures, before = make(keys), tree(place)
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, signatures))
    assert seen.code == code and tree(place) == before
    request = {"release": RELEASE, "signatures": signatures, "allow_unsigned": True}
    assert refused(helper, lambda: helper.lease(place, request)).code == code
    assert tree(place) == before
    stage = {"release": RELEASE, "signatures": signatures, "fence": 0, "tx": "t"}
    assert refused(helper, lambda: helper.stage(place, stage)).code == code
    assert tree(place) == before


@pytest.mark.parametrize("name", ["ann", "old"])
def test_a_good_signature_holds(name: str, helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.ann, keys.old)
    key = getattr(keys, name)
    found = helper.authorise(place, RELEASE, [by(keys.eve), by(key, sequence=7)])
    assert found == {"sequence": 7, "signed_at": NOW - DAY, "signers": [fingerprint(key)]}


def test_a_threshold_wants_different_keys(helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.ann, keys.bob, threshold=2)
    twice = [by(keys.ann), by(keys.ann, sequence=11)]
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, twice))
    assert seen.code == "too-few-signatures" and seen.reason == "1 of 2 needed signatures hold"
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, [by(keys.ann), by(keys.eve)]))
    assert seen.code == "too-few-signatures" and "may not sign for this device" in seen.reason
    # What two keys give is what both agree to: one key alone cannot lift the floor out of reach.
    both = [by(keys.ann, sequence=1 << 50, signed_at=1 << 50), by(keys.bob, sequence=12)]
    found = helper.authorise(place, RELEASE, both)
    assert (found["sequence"], found["signed_at"], len(found["signers"])) == (12, NOW - DAY, 2)
    tell(helper, place, revoke=(fingerprint(keys.bob),), threshold=1)
    assert helper.authorise(place, RELEASE, both)["signers"] == [fingerprint(keys.ann)]


def test_a_device_never_told_refuses_until_it_is_told(helper: ModuleType, place: Any, keys: Any) -> None:
    before = tree(place)
    lease = {"release": RELEASE, "signatures": [by(keys.ann)]}
    assert refused(helper, lambda: helper.lease(place, lease)).code == "trust-not-set"
    assert tree(place) == before
    helper.lease(place, {**lease, "allow_unsigned": True})
    assert helper.read_policy(place)["unsigned"] == "allow"
    assert helper.authorise(place, RELEASE, []) is None
    tell(helper, place, keys.ann)
    assert refused(helper, lambda: helper.lease(place, {**lease, "signatures": []})).code == "unsigned"


def test_what_was_told_is_not_overridden_by_a_deployment(helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.ann)
    request = {"release": RELEASE, "signatures": [], "allow_unsigned": True}
    assert refused(helper, lambda: helper.lease(place, request)).code == "unsigned"
    # A lease that is granted, for a signed release or for going back, tells nothing either.
    for granted in ({"release": RELEASE, "signatures": [by(keys.ann)]}, {"release": None}):
        helper.lease(place, {**granted, "allow_unsigned": True})
        assert helper.read_policy(place)["unsigned"] == "refuse"


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "[]", "null", '{"unsigned": "allow"}', "{" * 5000,
        '{"schema":"edgeship.policy/1","unsigned":"allow","threshold":1,"max_age_days":null,"revoked":[],"x":1}',
        '{"schema":"edgeship.policy/1","unsigned":"yes","threshold":1,"max_age_days":null,"revoked":[]}',
        '{"schema":"edgeship.policy/1","unsigned":"refuse","threshold":0,"max_age_days":null,"revoked":[]}',
        '{"schema":"edgeship.policy/1","unsigned":"refuse","threshold":true,"max_age_days":null,"revoked":[]}',
        '{"schema":"edgeship.policy/1","unsigned":"refuse","threshold":1,"max_age_days":-1,"revoked":[]}',
        '{"schema":"edgeship.policy/1","unsigned":"refuse","threshold":1,"max_age_days":NaN,"revoked":[]}',
        '{"schema":"edgeship.policy/1","unsigned":"refuse","threshold":1,"max_age_days":1,"revoked":["all"]}',
    ],
)  # fmt: skip
def test_a_damaged_policy_refuses_everything(content: str, helper: ModuleType, place: Any, keys: Any) -> None:
    Path(place.trust, "policy.json").write_text(content)
    for signatures in ([], [by(keys.ann)]):
        request = {"release": RELEASE, "signatures": signatures, "allow_unsigned": True}
        assert refused(helper, lambda r=request: helper.lease(place, r)).code == "trust-damaged"  # type: ignore[misc]


def test_freshness_stands_on_the_newest_signing_time_and_a_wrong_clock_leaves_no_trace(
    helper: ModuleType, place: Any, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(helper, place, keys.ann)
    confirmed(helper, place, keys, sequence=10, signed_at=NOW)
    replayed = [by(keys.ann, sequence=10, expires=NOW - 1)]
    set_clock(helper, monkeypatch, 0)  # 1970: the floor's time is the clock then
    assert refused(helper, lambda: helper.authorise(place, RELEASE, replayed)).code == "signature-expired"
    good = [by(keys.ann, sequence=10)]
    assert helper.authorise(place, RELEASE, good)
    set_clock(helper, monkeypatch, NOW + 400 * DAY)
    assert refused(helper, lambda: helper.authorise(place, RELEASE, good)).code == "signature-expired"
    helper.lease(place, {"release": None})
    set_clock(helper, monkeypatch, NOW)
    assert helper.authorise(place, RELEASE, good)


def confirmed(helper: ModuleType, place: Any, keys: Any, **changes: Any) -> dict[str, Any]:
    """Have RELEASE accepted and confirmed; return the state record."""
    signatures = [by(keys.ann, **changes)]
    accepted = helper.authorise(place, RELEASE, signatures)
    helper.keep_signatures(place, RELEASE, signatures, accepted)
    record = helper.change_state(place, "COMMITTED", to=RELEASE, tx="t")
    helper.raise_floor(place, record)
    return dict(record)


def test_the_floor_rises_with_what_is_confirmed_and_never_falls(
    helper: ModuleType, place: Any, keys: Any
) -> None:
    tell(helper, place, keys.ann)
    record = confirmed(helper, place, keys, sequence=10)
    for _ in range(2):
        helper.raise_floor(place, record)
        assert helper.read_floor(place)["sequences"] == {"kws": 10}
    helper.raise_fence(place, None)
    assert helper.read_floor(place)["sequences"] == {"kws": 10}
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, [by(keys.ann, sequence=9)]))
    assert seen.code == "older-release" and "its sequence is 9, and 10 ran here already" in seen.reason
    # A torn slot loses to the other one: never to nothing.
    newest = max(
        (Path(place.trust, f"floor.{i}") for i in (0, 1)), key=lambda p: json.loads(p.read_text())["seq"]
    )
    newest.write_bytes(newest.read_bytes()[:40])
    assert helper.read_floor(place)["sequences"] == {"kws": 10}


def test_a_floor_that_was_not_raised_is_raised_on_the_next_contact(
    helper: ModuleType, place: Any, keys: Any
) -> None:
    tell(helper, place, keys.ann)
    signatures = [by(keys.ann, sequence=10)]
    helper.keep_signatures(place, RELEASE, signatures, helper.authorise(place, RELEASE, signatures))
    helper.change_state(place, "COMMITTED", to=RELEASE, tx="t")  # and the power goes here
    assert helper.read_floor(place).get("sequences") is None
    helper.lease(place, {"release": None})
    assert helper.read_floor(place)["sequences"] == {"kws": 10}


def test_a_kept_release_may_come_back_unless_its_key_is_revoked(
    helper: ModuleType, place: Any, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(helper, place, keys.ann, keys.bob)
    confirmed(helper, place, keys, sequence=10, expires=NOW + DAY)
    other = "b" * 64
    helper.keep_signatures(place, other, [by(keys.ann, release=other, sequence=3)], None)
    set_clock(helper, monkeypatch, NOW + 2 * DAY)
    assert helper.check_trusted(place, RELEASE, kept=True) and helper.still_trusted(place, RELEASE)
    assert refused(helper, lambda: helper.check_trusted(place, RELEASE)).code == "signature-expired"
    # One that never ran here is no kept release, whatever the controller says.
    assert refused(helper, lambda: helper.check_trusted(place, other, kept=True)).code == "older-release"
    tell(helper, place, revoke=(fingerprint(keys.ann),))
    assert refused(helper, lambda: helper.check_trusted(place, RELEASE, kept=True)).code == "key-revoked"
    assert not helper.still_trusted(place, RELEASE)


def test_signatures_left_by_an_interrupted_staging_are_swept(
    helper: ModuleType, place: Any, keys: Any
) -> None:
    tell(helper, place, keys.ann)
    folder = Path(place.of("signatures"))
    Path(place.of("releases", RELEASE)).mkdir()
    for name in (f"{RELEASE}.json", f"{RELEASE}.json.tmp-7", f"{'b' * 64}.json"):
        (folder / name).write_text("{}")
    helper.lease(place, {"release": None})
    assert [path.name for path in folder.iterdir()] == [f"{RELEASE}.json"]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file of the device that is none of edgeship's."""
    path = tmp_path / "outside"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


@pytest.mark.parametrize("what", ["digest", "name", "absolute", "size", "list", "no json", "long"])
def test_a_hostile_manifest_reaches_nothing_outside(
    what: str, helper: ModuleType, place: Any, outside: Path
) -> None:
    helper.pin_unsigned(place, {"allow_unsigned": True})
    entry = {"sha256": "0" * 64, "bytes": 1, "executable": False}
    files: Any = {
        "digest": {"x": {**entry, "sha256": str(outside)}},
        "name": {"../../../../outside": entry},
        "absolute": {str(outside): entry},
        "size": {"x": {**entry, "bytes": -1}},
    }.get(what, ["x"])
    data = canonical_json({"app": "kws", "files": files})
    data = {"no json": b"{", "long": b" " * (5 << 20)}.get(what, data)
    release = sha256_bytes(data)
    blob = Path(place.blob(release))
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    before = tree(place)
    request = {"release": release, "signatures": [], "fence": 0, "tx": "t"}
    assert refused(helper, lambda: helper.stage(place, request)).code == "bad-manifest"
    assert tree(place) == before and not list(Path(place.of("releases")).iterdir())


def test_an_endless_request_is_cut_off(tmp_path: Path) -> None:
    import sys

    path = tmp_path / "es.py"
    path.write_bytes(helper_source())
    script = f"head -c 9000000 /dev/zero | tr '\\0' ' ' | {sys.executable} -I -B {path}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120)
    reply = json.loads(done.stdout)
    assert reply["code"] == "bad-request" and "longer than" in reply["reason"]


def test_signatures_are_judged_without_a_disk(helper: ModuleType, place: Any, keys: Any) -> None:
    """Not one byte can be written to any file; an ECDSA key, so that ssh-keygen itself must be asked."""
    import resource

    tell(helper, place, keys.ann, keys.old)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        for key in (keys.old, keys.ann):
            assert helper.authorise(place, RELEASE, [by(key)])["sequence"] == 10
        forged = dict(by(keys.old), statement=statement(sequence=11))
        said = refused(helper, lambda: helper.authorise(place, RELEASE, [forged]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.code == "bad-signature"
