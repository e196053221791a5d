"""Errors as text, digests, deterministic archives, the registry."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeship.digest import canonical_json, sha256_bytes, sha256_tree, write_tar
from edgeship.errors import EdgeshipError, GateError, InputError
from edgeship.registry import Registry
from edgeship.values import EXIT_CODE_OF_STATE, Metric, Unavailable, as_json


def test_error_text() -> None:
    error = InputError(
        "unknown-thing",
        "there is no such thing",
        context={"file": "a.yaml", "seen": "x"},
        hint="edgeship --help",
    )
    assert error.render() == (
        "error: unknown-thing\n  there is no such thing\n  file: a.yaml\n  seen: x\nhint: edgeship --help"
    )


@pytest.mark.parametrize("family", [InputError, GateError, EdgeshipError])
def test_error_survives_json(family: type[EdgeshipError]) -> None:
    error = family("a-reference", "text", context={"key": 3}, hint="do this")
    again = EdgeshipError.from_json(error.as_json())
    assert again.render() == error.render()
    assert again.exit_code == error.exit_code


def test_canonical_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"loss": float("nan")})


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_canonical_json_ignores_order(value: dict[str, object]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_tar_does_not_depend_on_time_owner_or_order(tmp_path: Path) -> None:
    file = tmp_path / "b"
    file.write_bytes(b"content")
    first, second = io.BytesIO(), io.BytesIO()
    write_tar(first, {"b": file, "manifest.json": b"{}", "a": b"1"}, executable=["a"])
    os.utime(file, (1, 1))
    file.chmod(0o600)
    write_tar(second, {"a": b"1", "manifest.json": b"{}", "b": file}, executable=["a"])
    assert first.getvalue() == second.getvalue()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as archive:
        names = archive.getnames()
    assert names == ["manifest.json", "a", "b"]


def test_tree_digest_sees_names_and_contents_only(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "x").write_bytes(b"1")
    os.utime(tmp_path / "two" / "sub" / "x", (1, 1))
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")
    (tmp_path / "two" / "sub" / "x").rename(tmp_path / "two" / "sub" / "y")
    assert sha256_tree(tmp_path / "one") != sha256_tree(tmp_path / "two")
    assert sha256_tree(tmp_path / "one" / "sub" / "x") == sha256_bytes(b"1")


def test_registry_says_what_is_known_and_what_is_near() -> None:
    registry = Registry("service manager", {"systemd": 1, "openrc": 2}, aliases={"sd": "systemd"})
    assert registry["sd"] == registry["systemd"] == 1
    with pytest.raises(InputError) as caught:
        registry["systmd"]
    assert caught.value.render() == (
        "error: unknown-service-manager\n"
        "  unknown service manager 'systmd'\n"
        "  known: systemd, openrc\n"
        "hint: did you mean 'systemd'?"
    )


def test_unavailable_is_never_null_or_zero() -> None:
    metric = Metric(
        name="top1", value=1.5, float_value=Unavailable(reason="no labels"), drop=Unavailable(reason="x")
    )
    assert as_json(metric)["float_value"] == {"unavailable": "no labels"}


def test_exit_codes_are_the_contract() -> None:
    assert EXIT_CODE_OF_STATE == {
        "committed": 0, "staged": 0, "tested": 0, "unchanged": 0, "planned": 0,
        "failed": 1, "reverted": 3, "unknown": 4, "degraded": 5,
    }  # fmt: skip
