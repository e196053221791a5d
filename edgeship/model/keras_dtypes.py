"""A Keras file that computes in float32 throughout: `in_float32(path, folder)`. Worker side.

Half precision is for training on GPUs: TFLite has no kernels for it, and the weights are the same numbers
wider. It has as few for doubles, whose weights are rounded once. Byte inputs are for pictures as cameras give
them: the same numbers again, and a recipe decides afterwards how the input is stored. All of it stands in the
model's config, so a copy of the file with another config is the same model; each library then loads its own
weights its own way.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

OTHERS = ("float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
MIXED = OTHERS[3:]
"""Policies; what they compute with stands beside them in the config and tells nothing new."""
BYTES = ("uint8", "int8", "uint16", "int16")
INDEXED = ("Embedding", "IntegerLookup", "CategoryEncoding", "Hashing", "HashedCrossing")
"""Layers whose input numbers name things: a model that has one keeps its integers."""
POLICIES = ("DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1")
CONFIG = "config.json"


def in_float32(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """Return `path` where its config needs no change (or cannot be read: the loader tells why), else a copy of
    it in `folder` with another config, and what was changed."""
    text = _config_of(path)
    try:
        config = json.loads(text) if text else None
    except ValueError:
        return path, []
    found: set[str] = set()
    indexed = any(f'"{kind}"' in json.dumps(config) for kind in INDEXED)
    changed = _rewritten(config, found, () if indexed else BYTES)
    if not found:
        return path, []
    copy = folder / path.name
    _write(path, copy, json.dumps(changed))
    halves = sorted(found.intersection(MIXED) or found.intersection(OTHERS))
    inputs = sorted(found.intersection(BYTES))
    notes = [f"the model was trained in {', '.join(halves)}: converted in float32"] if halves else []
    if inputs:
        notes.append(f"the model's input is {', '.join(inputs)}: taken as float32 numbers of the same values")
    return copy, notes


def _rewritten(value: Any, found: set[str], numbers: tuple[str, ...]) -> Any:
    """Return a config with float32 for other precisions, and for the integers `numbers` at the inputs; `found`
    takes what was replaced."""
    if isinstance(value, list):
        return [_rewritten(item, found, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _rewritten(item, found, numbers) for key, item in value.items()}
    kind, inner = made.get("class_name"), made.get("config")
    if isinstance(inner, dict):
        if kind in POLICIES and inner.get("name") in OTHERS:
            found.add(inner["name"])
            inner["name"] = "float32"
        if kind == "InputLayer" and inner.get("dtype") in numbers:
            found.add(inner["dtype"])
            inner["dtype"] = "float32"
    if made.get("dtype") in OTHERS:
        found.add(made["dtype"])
        made["dtype"] = "float32"
    return made


def _config_of(path: Path) -> str | bytes | None:
    """Return the config as it stands in the file, or None for a file without one."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read(CONFIG) if CONFIG in archive.namelist() else None
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError:
        return None
    return config if isinstance(config, str | bytes) else None


def _write(source: Path, copy: Path, config: str) -> None:
    """Write `copy`, the file `source` with another config."""
    if not zipfile.is_zipfile(source):
        import h5py

        shutil.copyfile(source, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = config
        return
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(copy, "w") as new:
        for entry in old.infolist():
            with old.open(entry) as stream, new.open(entry.filename, "w", force_zip64=True) as out:
                if entry.filename == CONFIG:
                    out.write(config.encode())
                else:
                    shutil.copyfileobj(stream, out, 1 << 20)
