"""Bundles whose manifest says what no bundle can say: refused when they are opened, before any device hears of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.seal import open_bundle
from edgeship.cli.main import run
from edgeship.digest import canonical_json, sha256_bytes, write_tar
from edgeship.errors import InputError

FILES = {"service.json": b"{}\n"}


def packed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Return a bundle that is sound but for what `change` does to its manifest."""
    manifest: dict[str, Any] = {
        "schema": "edgeship.manifest/1", "app": "kws", "version": "1", "target": "t", "requires": {}, "engine": {},
        "chosen": "c", "variants": [], "provenance": {},
        "files": {n: {"sha256": sha256_bytes(d), "bytes": len(d), "executable": False} for n, d in FILES.items()},
    }  # fmt: skip
    change(manifest)
    path = folder / "odd.edgeship"
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as stream:
        write_tar(stream, {"manifest.json": canonical_json(manifest), **FILES})  # type: ignore[arg-type]
    return path


ODD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "libc a number": (lambda m: m["requires"].update(libc=5), "requires.libc is not an object"),
    "a ladder of texts": (
        lambda m: m["requires"].update(ladder={"base_mb": 32, "resident_mb": {"a": "x"}}),
        "requires.ladder.resident_mb",
    ),
    "a ladder without a base": (lambda m: m["requires"].update(ladder={"resident_mb": {}}), "requires.ladder"),
    "disk a text": (lambda m: m["requires"].update(disk_bytes="x"), "requires.disk_bytes is not a whole number"),
    "disk below zero": (lambda m: m["requires"].update(disk_bytes=-1), "requires.disk_bytes is not a whole"),
    "disk endless": (lambda m: m["requires"].update(disk_bytes=1 << 70), "requires.disk_bytes is not a whole"),
    "unknown manager": (lambda m: m["requires"].update(service="x"), "requires.service is not one of auto, systemd"),
    "manager a list": (lambda m: m["requires"].update(service=[]), "requires.service is not one of auto, systemd"),
    "an option for Python": (lambda m: m["requires"].update(interpreter="-c"), "requires.interpreter is not the name"),
    "python numbers": (lambda m: m["requires"].update(python=[3.7]), r"requires.python\[0\] is not a short text"),
    "device without ways": (
        lambda m: m["requires"].update(devices=[{"name": "x"}]), r"requires.devices\[0\].any_of is missing",
    ),
    "delegate a text": (lambda m: m["requires"].update(delegate="x"), "requires.delegate is not an object"),
    "app that climbs": (lambda m: m.update(app="../../x"), "app is not a plain name"),
    "target that climbs": (lambda m: m.update(target="../x"), "target is not a plain name"),
    "version with a row of its own": (lambda m: m.update(version="1\ncurrent  feedfacecafe"), "version is not 1 to 64"),
    "version that paints": (lambda m: m.update(version="1\x1b]0;PWNED\x07"), "version is not 1 to 64 characters"),
    "version empty": (lambda m: m.update(version=""), "version is not 1 to 64 characters"),
    "variants of numbers": (lambda m: m.update(variants=[5]), r"variants\[0\] is not an object"),
    "compile without a reason": (
        lambda m: m.update(variants=[{"recipe": "c", "compile": {"compiled": True}}]), "compile.reason is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ODD)
def test_an_odd_manifest_is_refused_when_opened(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESHIP_DEBUG", "1")  # what is not an error of ours fails the test
    change, reason = ODD[how]
    path = packed(tmp_path, change)
    with pytest.raises(InputError, match=reason) as caught:
        open_bundle(path)
    assert caught.value.reference == "bundle-corrupt"
    assert run(["deploy", str(path), "--host", f"local:{tmp_path / 'device'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: bundle-corrupt\n") and not (tmp_path / "device").exists()
    assert "\x1b" not in said and "\x07" not in said


def test_what_says_little_is_still_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(packed(tmp_path, lambda m: None))]) == 0
    assert (
        "a device must have: any processor, any C library, Python of any version" in capsys.readouterr().out
    )
