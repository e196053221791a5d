"""The bundle of a search, from the store where the very same was made before: `kept_bundle(...)`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeship.assets import sources_digest
from edgeship.bundle.engines import PACKAGE
from edgeship.bundle.parts import BundleParts
from edgeship.bundle.seal import open_bundle, read_manifest
from edgeship.digest import canonical_json, sha256_bytes, sha256_file, sha256_json
from edgeship.errors import InputError
from edgeship.pipeline.answering import with_answers
from edgeship.pipeline.inputs import Inputs
from edgeship.pipeline.rungs import seal_ladder
from edgeship.pipeline.site import BuildSite
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.values import Bundle
from edgeship.whole import whole

MOST = 8
"""Bundles that are kept, the last ones used: they are megabytes each."""
TOLD = "told.json"
NOT_SHIPPED = "log"
"""What a compiler said, with paths and times of the day: no bundle holds it."""


def kept_bundle(site: BuildSite, parts: BundleParts, inputs: Inputs) -> Bundle:
    """Return the bundle that `seal_ladder` makes of `parts` and what its variants answer to the data in `inputs`, in
    the folder of results: made, or what was made before of the same parts by the same edgeship, with the same notes
    told. Raises as `seal_ladder` does.

    A file of the same release that lies in the folder stays, with its signatures.
    """
    store = site.work / "compress" / "bundles"
    folder = store / sha256_json(_everything(parts))[:32]
    if (kept := _kept(folder, site)) is not None:
        return kept
    notes = _Keeping(site.progress)
    told = replace(site, progress=notes)
    bundle, _ = seal_ladder(told, with_answers(told, parts, inputs))
    shutil.rmtree(folder, ignore_errors=True)  # damaged, where there is one
    with whole(folder) as part:
        part.mkdir()
        shutil.copyfile(bundle.path, part / bundle.path.name)
        said = {"file": bundle.path.name, "sha256": bundle.sha256, "notes": notes.kept}
        (part / TOLD).write_text(json.dumps(said))
    for old in sorted(store.iterdir(), key=lambda p: -p.stat().st_mtime)[MOST:]:
        shutil.rmtree(old, ignore_errors=True)
    return bundle


def _kept(folder: Path, site: BuildSite) -> Bundle | None:
    """Return the bundle kept in `folder`, now in the folder of results; None where there is none, or not as it was."""
    try:
        told = json.loads((folder / TOLD).read_text())
        kept = folder / told["file"]
        if sha256_file(kept) != told["sha256"]:
            return None
        manifest = read_manifest(kept)
        folder.touch()
    except (OSError, ValueError, KeyError, InputError):
        return None
    for note in told["notes"]:
        site.progress.note(note)
    release, path = sha256_bytes(canonical_json(manifest)), site.out / kept.name
    if not path.exists() or sha256_file(path) != told["sha256"]:
        try:
            if (signed := open_bundle(path)).release == release:
                return signed
        except InputError:
            pass  # none is there, or a damaged one
        with whole(path) as part:
            shutil.copyfile(kept, part)
    return Bundle(
        path=path,
        sha256=told["sha256"],
        bytes=path.stat().st_size,
        release=release,
        app=manifest["app"],
        target=manifest["target"],
        manifest=manifest,
    )


def _everything(parts: BundleParts) -> dict[str, Any]:
    """Return all that decides what a bundle holds, as JSON: its parts, this edgeship with its templates, and what else
    has a hand in golden vectors and in packing."""
    return {
        "parts": _told(parts),
        "edgeship": sources_digest(),
        "litert": importlib.metadata.version(PACKAGE),
        "numpy": importlib.metadata.version("numpy"),
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "machine": [platform.machine(), *platform.libc_ver()],
    }


def _told(value: Any) -> Any:
    """Return a value as JSON. Of files the name: their digests stand beside them."""
    if isinstance(value, TargetProfile):
        return value.digest()
    if isinstance(value, Project):
        said = (value.goals, value.preprocess, value.preprocess_by_input)
        return [value.file.model_dump(mode="json"), *map(_told, said)]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name != NOT_SHIPPED]
        return {"": type(value).__name__, **{name: _told(getattr(value, name)) for name in names}}
    if isinstance(value, Mapping):
        return [[_told(key), _told(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float):
        return repr(value)  # NaN and infinity are no JSON
    return value if value is None or isinstance(value, str | int) else repr(value)


class _Keeping:
    """Progress that keeps what was noted."""

    def __init__(self, inner: Progress) -> None:
        self.inner, self.kept = inner, list[str]()

    def step(self, text: str) -> None:
        self.inner.step(text)

    def advance(self, done: int, total: int, unit: str) -> None:
        self.inner.advance(done, total, unit)

    def note(self, text: str) -> None:
        self.kept.append(text)
        self.inner.note(text)
