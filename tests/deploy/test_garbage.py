"""What stays on a device and what does not: collection, leftovers of uploads, and what `verify` says of the rest."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.deploy import deploy, remove, verify
from edgeship.progress import Silent
from edgeship.values import Host

WEEK = 7 * 24 * 3600.0


def commit(bench: Any, version: str, **options: Any) -> Any:
    bundle = bench.bundle(version, **options)
    report = deploy(bundle, bench.host, bench.options, Silent())
    assert report.state == "committed", report.reason
    return bundle


def drift(bench: Any) -> list[str]:
    found: list[str] = verify(bench.host, "kws", bench.options)["drift"]
    return found


def test_a_long_manifest_is_read_as_a_whole(local: Any) -> None:
    """A release of thousands of files has one; its blobs go with it."""
    bench = local.with_options(keep=1)
    blobs = bench.root / "cas"
    first = commit(bench, "1", provenance={"notes": "n" * (2 << 20)})
    assert drift(bench) == []
    inside = {f["sha256"] for f in first.manifest["files"].values()}
    for version in ("2", "3"):
        commit(bench, version)
    assert drift(bench) == [] and not (bench.root / "apps/kws/releases" / first.release).exists()
    left = {p.name for p in blobs.glob("??/*")}
    assert first.release not in left
    shared = {f["sha256"] for f in bench.bundle("3").manifest["files"].values()}
    assert not left & (inside - shared)


def test_verify_sees_what_was_slipped_in(local: Any, tmp_path: Path) -> None:
    """A folder that is a link would bring modules of somebody else's; permissions are nobody's to change."""
    release = local.root / "apps/kws/releases" / commit(local, "1").release
    assert drift(local) == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (release / "runtime" / "socket").symlink_to(elsewhere)
    assert drift(local) == [f"release {release.name[:12]}: runtime/socket does not belong to the release"]
    (release / "runtime" / "socket").unlink()
    main = release / "runtime/main.py"
    main.chmod(0o4777)
    assert drift(local) == [f"release {release.name[:12]}: runtime/main.py has the permissions 4777"]
    main.chmod(0o444)
    assert drift(local) == []


def test_verify_hashes_the_store_whatever_the_root_is_called(local: Any, tmp_path: Path) -> None:
    root = tmp_path / "incoming9"
    bench = replace(local, host=Host(text=f"local:{root}", kind="local", directory=root), root=root)
    try:
        bundle = commit(bench, "1")
        blob = root / "cas" / bundle.release[:2] / bundle.release
        assert blob.stat().st_nlink == 2
        copy = blob.read_bytes()
        blob.unlink()  # the release keeps its own name for the content
        blob.write_bytes(copy.replace(b"test", b"tesT", 1))
        assert drift(bench) == [f"blob {bundle.release[:12]} has changed"]
    finally:
        bench.stop_services()


def test_what_cut_uploads_left_goes_after_a_week_and_with_the_application(local: Any) -> None:
    bundle = commit(local, "1")
    incoming, cas = local.root / "cas/incoming/kws", local.root / "cas"
    old, young = incoming / ("a" * 64 + ".part"), incoming / ("b" * 64 + ".part")
    lost, fresh = cas / "cc" / ("c" * 64), cas / "dd" / ("d" * 64)
    for path in (old, young, lost, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half of a model")
    before = time.time() - WEEK - 60
    for path in (old, lost):
        os.utime(path, (before, before))
    used = cas / bundle.release[:2] / bundle.release
    os.utime(used, (before, before))
    commit(local, "2")
    assert not old.exists() and not lost.exists(), "what a week-old upload left is still here"
    assert young.exists() and fresh.exists(), "an upload may still go on with it"
    assert used.exists(), "a kept release is made of it"
    remove(local.host, "kws", local.options)
    assert not incoming.exists() and fresh.exists()
