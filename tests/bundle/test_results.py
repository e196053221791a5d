"""Which bundle is meant by a folder of results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.results import bundle_in
from edgeship.bundle.seal import seal
from edgeship.digest import sha256_bytes
from edgeship.errors import InputError


def sealed(out: Path, target: str = "host", version: str = "1") -> Path:
    """Return a bundle of one file in folder `out`."""
    content = {"service.json": version.encode()}
    manifest: dict[str, Any] = {
        "schema": "edgeship.manifest/1", "app": "demo", "version": version, "target": target, "requires": {},
        "engine": {}, "chosen": "fp32", "variants": [], "provenance": {},
        "files": {n: {"sha256": sha256_bytes(d), "bytes": len(d), "executable": False} for n, d in content.items()},
    }  # fmt: skip
    return seal(content, manifest, executable=(), out=out).path


def refused(folder: Path, *targets: str) -> InputError:
    with pytest.raises(InputError) as caught:
        bundle_in(folder, targets)
    return caught.value


def test_the_bundle_of_the_target_that_is_asked_for(tmp_path: Path) -> None:
    host, coral = sealed(tmp_path), sealed(tmp_path, "coral-dev-board")
    (tmp_path / "compress.json").write_text("{}")
    assert bundle_in(tmp_path, {"host"}) == host
    assert bundle_in(tmp_path, {"coral-dev-board", "pi"}) == coral
    several = refused(tmp_path)
    assert several.reference == "several-bundles" and "--target coral-dev-board" in str(several.hint)
    for_others = refused(tmp_path, "pi")
    assert for_others.reference == "no-bundle-for-target"
    assert for_others.context["bundles are for"] == "coral-dev-board, host"
    coral.unlink()
    assert bundle_in(tmp_path) == host, "the only one there is"


def test_of_two_for_a_target_the_one_that_compress_names(tmp_path: Path) -> None:
    first, second = sealed(tmp_path), sealed(tmp_path, version="2")
    os.utime(first, (2e9, 2e9))
    several = refused(tmp_path, "host")
    assert several.reference == "several-bundles" and {first.name, second.name} < set(several.context)
    assert str(first) in str(several.hint) and "the newest" in str(several.hint)
    said = {"schema": "edgeship.compress/1", "targets": [{"target": "host", "bundle": f"out/{second.name}"}]}
    (tmp_path / "compress.json").write_text(json.dumps(said))
    assert bundle_in(tmp_path, {"host"}) == second
    (tmp_path / "compress.json").write_text("{broken")
    assert refused(tmp_path, "host").reference == "several-bundles"


def test_where_there_is_none_the_folder_says_why(tmp_path: Path) -> None:
    assert refused(tmp_path).reference == "no-bundle" and refused(tmp_path).context["holds"] == "nothing"
    (tmp_path / "compress.json").write_text(json.dumps({"chosen": None, "reason": "nothing is within 60 kB"}))
    error = refused(tmp_path, "host")
    assert error.reference == "no-bundle" and error.context["compress said"] == "nothing is within 60 kB"


def test_a_saved_model_stays_a_model_and_other_folders_are_no_results(tmp_path: Path) -> None:
    sealed(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert bundle_in(tmp_path) is None
    other = tmp_path / "other"
    (other / "inside").mkdir(parents=True)
    assert bundle_in(other) is None


def test_a_broken_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.edgeship").write_bytes(b"\x1f\x8b broken")
    assert refused(tmp_path).reference == "bundle-corrupt"
