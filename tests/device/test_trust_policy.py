"""What a device is told about whom to trust: changes of its policy, and devices whose ssh-keygen is too old to help."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trust_lab import RELEASE, by, fingerprint, public, refused, statement, tell, tree


def old_tool(folder: Path, words: str) -> str:
    folder.mkdir()
    tool = folder / "ssh-keygen"
    tool.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    tool.chmod(0o755)
    return str(folder)


OLD_TOOLS = (
    None,
    "unknown option -- Y",
    "ssh-keygen: illegal option -- Y",
    "Unsupported operation for -Y: x",
)


@pytest.fixture(params=OLD_TOOLS, ids=["no-tool", "unknown", "illegal", "unsupported"])
def old_device(request: Any, helper: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose ssh-keygen is older than 8.1, or not there."""
    tools = old_tool(tmp_path / "bin", request.param) if request.param else str(tmp_path / "empty")
    monkeypatch.setattr(helper, "CLEAN_PATH", tools)


@pytest.mark.parametrize("name", ["ann", "rsa"])
def test_an_old_device_verifies_by_itself(
    name: str, old_device: None, helper: ModuleType, place: Any, keys: Any
) -> None:
    key = getattr(keys, name)
    tell(helper, place, key)
    assert helper.authorise(place, RELEASE, [by(key)])["signers"] == [fingerprint(key)]
    forged = {**by(key), "statement": statement(sequence=11)}
    assert refused(helper, lambda: helper.authorise(place, RELEASE, [forged])).code == "bad-signature"
    other = by(keys.eve)
    assert refused(helper, lambda: helper.authorise(place, RELEASE, [other])).code == "unknown-signer"
    elsewhere = by(key, namespace="git")
    assert refused(helper, lambda: helper.authorise(place, RELEASE, [elsewhere])).code == "wrong-namespace"


@pytest.mark.parametrize(
    ("options", "may"),
    [("", True), ('namespaces="edgeship"', True), ('namespaces="git,edgeship"', True), ('namespaces="git"', False),
     ("cert-authority", False), ('valid-before="19991231"', False), ('namespaces="edgeship",cert-authority', False)],
)  # fmt: skip
def test_an_old_device_takes_no_line_that_it_does_not_understand(
    options: str, may: bool, old_device: None, helper: ModuleType, place: Any, keys: Any
) -> None:
    tell(helper, place, keys.ann)
    Path(helper.signers_path(place)).write_text(f"ann {options} {public(keys.ann)}\n")
    if may:
        assert helper.authorise(place, RELEASE, [by(keys.ann)])
    else:
        seen = refused(helper, lambda: helper.authorise(place, RELEASE, [by(keys.ann)]))
        assert seen.code == "bad-signature"


def test_an_old_device_refuses_keys_that_it_could_not_verify_and_cannot_be_locked_out(
    helper: ModuleType, place: Any, keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, path, before = by(keys.old), helper.CLEAN_PATH, tree(place)
    monkeypatch.setattr(helper, "CLEAN_PATH", str(tmp_path / "empty"))
    seen = refused(helper, lambda: tell(helper, place, keys.old))
    assert seen.code == "no-verifier" and tree(place) == before
    assert "ecdsa-sha2-nistp256" in seen.reason
    monkeypatch.setattr(helper, "CLEAN_PATH", path)
    tell(helper, place, keys.old)
    monkeypatch.setattr(helper, "CLEAN_PATH", str(tmp_path / "empty"))  # its ssh-keygen went away later
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, [signature]))
    assert seen.code == "no-verifier" and "OpenSSH 8.1 or newer" in seen.reason
    helper.change_trust(helper.Place(place.root), {"revoke": [fingerprint(keys.old)]})


def test_changes_that_cannot_be_change_nothing(helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.ann)
    before = tree(place)
    for code, request in (
        ("too-few-keys", {"changes": {"threshold": 2}}),
        ("bad-request", {"changes": {"threshold": 99}}),
        ("bad-request", {"changes": {"unsinged": "allow"}}),
        ("bad-request", {"revoke": ["everybody"]}),
        ("bad-key", {"signers": [{"name": "x", "key": "ssh-ed25519 AAAA"}]}),
        ("bad-key", {"signers": [{"name": "x", "key": "ssh-dss AAAA"}]}),
        ("bad-key", {"signers": [{"name": "a b\nc", "key": public(keys.bob)}]}),
        ("bad-key", {"signers": [{"name": "x", "key": f"cert-authority {public(keys.bob)}"}]}),
    ):
        seen = refused(helper, lambda r=request: helper.change_trust(helper.Place(place.root), r))  # type: ignore[misc]
        assert seen.code == code and tree(place) == before


def test_revoking_is_for_good_and_always_possible(helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.ann)
    found = helper.change_trust(helper.Place(place.root), {"revoke": [fingerprint(keys.ann)]})
    assert found["policy"]["revoked"] == [fingerprint(keys.ann)]
    assert refused(helper, lambda: helper.authorise(place, RELEASE, [by(keys.ann)])).code == "key-revoked"
    assert refused(helper, lambda: tell(helper, place, keys.ann)).code == "key-revoked"
    tell(helper, place, keys.bob)
    assert helper.authorise(place, RELEASE, [by(keys.bob)])


def test_allowed_signers_may_be_written_by_hand(helper: ModuleType, place: Any, keys: Any) -> None:
    tell(helper, place, keys.bob)
    Path(place.trust, "allowed_signers").write_text(
        f'# the build machine\n*@example.com,ci namespaces="edgeship,git" {public(keys.ann)} comment\n'
        f'eve@example.com namespaces="git" {public(keys.eve)}\n'
    )
    assert helper.authorise(place, RELEASE, [by(keys.ann)])["signers"] == [fingerprint(keys.ann)]
    seen = refused(helper, lambda: helper.authorise(place, RELEASE, [by(keys.eve)]))
    assert seen.code in ("bad-signature", "unknown-signer")
    assert [signer["name"] for signer in helper.show_trust(place, {})["signers"]] == [
        "*@example.com,ci", "eve@example.com",
    ]  # fmt: skip


def test_a_revocation_counts_where_unsigned_releases_are_taken(
    helper: ModuleType, place: Any, keys: Any
) -> None:
    """What only revoked keys signed is refused; what another key signed too, or nobody, is taken."""
    request = {"revoke": [fingerprint(keys.ann)], "changes": {"unsigned": "allow"}}
    helper.change_trust(helper.Place(place.root), request)
    for signatures in ([by(keys.ann)], [by(keys.ann), {"signature": "x"}, "x", {}]):
        seen = refused(helper, lambda s=signatures: helper.authorise(place, RELEASE, s))  # type: ignore[misc]
        assert seen.code == "key-revoked" and fingerprint(keys.ann) in seen.reason
    for signatures in ([], [by(keys.bob)], [by(keys.ann), by(keys.bob)], "x", [7]):
        assert helper.authorise(place, RELEASE, signatures) is None
