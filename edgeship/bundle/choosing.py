"""Another variant of a bundle as the one that serves: `serving(bundle, name)`, a release of its own."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from edgeship.bundle.form import variant_name
from edgeship.bundle.seal import MANIFEST, extract, seal
from edgeship.digest import sha256_bytes
from edgeship.errors import InputError
from edgeship.values import Bundle

MODEL_LINE = re.compile(r"(?m)^(  model  +.*, )(?:recipe|variant) \S+, [0-9,]+ bytes$")


def serving(bundle: Bundle, name: str, *, out: Path) -> Bundle:
    """Return the bundle whose release serves the variant `name`, written into folder `out`; `bundle` if it does.

    The governor of a ladder is told to have that one answer always (`settings.variant`), which can be taken back on the
    device. Everything else in it is the same: a device that has one release needs a few kilobytes for the other. What
    was signed was the other release, so that the new one has no signatures. Raises InputError `unknown-variant`, and as
    `extract` does.
    """
    manifest = bundle.manifest
    if manifest["chosen"] == name and "ladder" not in manifest.get("requires", {}):
        return bundle
    entries = {variant_name(entry): entry for entry in manifest["variants"]}
    if name not in entries:
        raise InputError(
            "unknown-variant",
            f"the bundle has no variant '{name}'",
            context={"bundle": bundle.path, "it has": ", ".join(entries)},
            hint="build it with every variant that no other beats: edgeship build MODEL --target T --ladder"
            if len(entries) == 1
            else f"edgeship deploy {shlex.quote(str(bundle.path))} --variant {next(iter(entries))} --host ...",
        )
    with tempfile.TemporaryDirectory(prefix="edgeship-variant-") as folder:
        release = Path(folder) / "release"
        extract(bundle, release)
        files: dict[str, Path | bytes] = {
            str(path.relative_to(release)): path
            for path in release.rglob("*")
            if path.is_file() and path.name != MANIFEST
        }
        try:
            changed = _changed(release, entries[name], name)
        except (OSError, ValueError, TypeError, RecursionError):  # whoever sealed it wrote no service there
            raise InputError(
                "bundle-corrupt",
                f"{bundle.path.name} holds no service.json and README.txt that can be read",
                context={"file": bundle.path},
                hint="build anew: edgeship build MODEL --target T --ladder -o DIR",
            ) from None
        entries_of_files = {**manifest["files"]}
        for file, content in changed.items():
            entries_of_files[file] = {
                **manifest["files"][file],
                "sha256": sha256_bytes(content),
                "bytes": len(content),
            }
        runnable = tuple(file for file, entry in entries_of_files.items() if entry["executable"])
        document = {**manifest, "chosen": name, "files": entries_of_files}
        return seal({**files, **changed}, document, executable=runnable, out=out)


def _changed(release: Path, entry: dict[str, Any], name: str) -> dict[str, bytes]:
    """Return the files that say which variant serves: service.json, and the README where it names one."""
    text, readme = (release / "service.json").read_text(encoding="utf-8"), release / "README.txt"
    service = {**json.loads(text), "chosen": name}
    if isinstance(service.get("governor"), dict):
        governor = service["governor"]
        service["governor"] = {**governor, "settings": {**governor.get("settings", {}), "variant": name}}
    changed = {"service.json": json.dumps(service, indent=2).encode() + b"\n"}
    if readme.is_file():
        told = f"variant {name}, {entry.get('bytes', 0):,} bytes"
        lines = MODEL_LINE.sub(lambda found: found[1] + told, readme.read_text(encoding="utf-8"))
        changed["README.txt"] = lines.encode()
    return changed
