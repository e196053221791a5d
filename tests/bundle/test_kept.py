"""A bundle that was made before: the same is not made again, anything else is; damage is seen, signatures stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeship.bundle.parts import BundleParts
from edgeship.bundle.seal import put_signatures
from edgeship.bundle.sign import new_key, sign
from edgeship.compile.backend import CompileOptions, CompileResult
from edgeship.compile.ship import Shipped
from edgeship.model.source import open_model
from edgeship.pipeline import kept_bundle as keeping
from edgeship.pipeline.site import BuildSite
from edgeship.project import load_project
from edgeship.values import Bundle, InputRule, Variant

Notes = Any
NO_DATA: Any = SimpleNamespace(evaluation_prepared=None, calibration_prepared=None)


@pytest.fixture
def parts(
    sample: bytes, variant_of: Callable[..., Variant], profile_of: Callable[[str], Any], tmp_path: Path
) -> BundleParts:
    """The parts of the smallest bundle there is, for this machine."""
    path = tmp_path / "small.tflite"
    path.write_bytes(sample)
    variant = variant_of(path)
    return BundleParts(
        profile=profile_of("host"),
        project=load_project(directory=tmp_path),
        app="small",
        version="1",
        variants=(variant,),
        chosen=variant,
        source=open_model(path),
        evaluation=None,
        calibration=None,
        rules=(InputRule(),),
        labels=(),
    )


@pytest.fixture
def site(parts: BundleParts, tmp_path: Path, notes: Notes) -> BuildSite:
    return BuildSite(
        project=parts.project,
        out=tmp_path / "out",
        work=tmp_path / "work",
        scratch=tmp_path,
        progress=notes,
        compiling=CompileOptions(),
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BundleParts]:
    """What bundles were really made of."""
    seen: list[BundleParts] = []
    real = keeping.seal_ladder

    def counted(site: BuildSite, parts: BundleParts) -> tuple[Bundle, BundleParts]:
        seen.append(parts)
        return real(site, parts)

    monkeypatch.setattr(keeping, "seal_ladder", counted)
    return seen


def test_the_same_is_not_made_again_and_damage_is_seen(
    parts: BundleParts, site: BuildSite, made: list[BundleParts], notes: Notes, tmp_path: Path
) -> None:
    first = keeping.kept_bundle(site, parts, NO_DATA)
    told = list(notes.notes)
    assert told and len(made) == 1
    stat = first.path.stat()
    assert keeping.kept_bundle(site, parts, NO_DATA) == first
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    assert notes.notes == told * 2, "what was told is told again"
    there = keeping.kept_bundle(replace(site, out=tmp_path / "other"), parts, NO_DATA)
    assert there == replace(first, path=tmp_path / "other" / first.path.name)
    assert there.path.read_bytes() == first.path.read_bytes()
    assert len(made) == 1

    new_key(tmp_path / "ann", comment="ann@example.com", passphrase=False)
    signed = put_signatures(first, sign(first, tmp_path / "ann").signatures)
    assert keeping.kept_bundle(site, parts, NO_DATA).signatures == signed.signatures
    first.path.write_bytes(b"not a bundle")
    assert keeping.kept_bundle(site, parts, NO_DATA) == first and len(made) == 1

    (kept,) = (site.work / "compress" / "bundles").glob("*/*.edgeship")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert keeping.kept_bundle(site, parts, NO_DATA) == first and len(made) == 2
    assert keeping.kept_bundle(site, parts, NO_DATA) == first and len(made) == 2


def test_whatever_decides_what_a_bundle_holds_is_part_of_its_key(
    parts: BundleParts,
    profile_of: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "sources_digest", lambda: "this edgeship")
    other = replace(parts.chosen, artifact=replace(parts.chosen.artifact, sha256="0" * 64))
    card = replace(parts.chosen.scorecard, metric=replace(parts.chosen.scorecard.metric, value=90.3))
    file = parts.project.file
    longer = replace(parts.project, file=file.model_copy(update={"accept": ("agreement",)}))
    result = CompileResult(
        artifacts=(),
        compiled=True,
        reason="",
        mapped=1,
        total=1,
        subgraphs=1.0,
        estimates={},
        log={},
        tools={},
    )

    def shipped(version: str, log: str = "") -> BundleParts:
        by = dataclasses.replace(result, tools={"vela": version}, log={"said": log})
        return replace(parts, shipped=Shipped(variant=other, twin=other, profile=parts.profile, result=by))

    changed = [
        parts,
        replace(parts, chosen=other, variants=(other,)),
        replace(parts, chosen=replace(parts.chosen, scorecard=card)),
        replace(parts, profile=profile_of("raspberry-pi-5")),
        replace(parts, project=longer),
        replace(parts, version="2"),
        replace(parts, source=replace(parts.source, sha256="1" * 64)),
        replace(parts, labels=("a", "b")),
        replace(parts, rules=(InputRule(), InputRule())),
        replace(parts, also=(other,)),
        replace(parts, engine_reason="another refused it"),
        shipped("4.1"),
        shipped("4.2"),
    ]
    keys = [keeping.sha256_json(keeping._everything(each)) for each in changed]
    assert len(set(keys)) == len(keys)
    assert keeping.sha256_json(keeping._everything(shipped("4.1", log="at 10:15"))) == keys[-2]
    monkeypatch.setattr(keeping, "sources_digest", lambda: "another edgeship")
    assert keeping.sha256_json(keeping._everything(parts)) not in keys
