"""The bundle in a folder of results, as `build` and `compress` leave it: `bundle_in`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeship.bundle.seal import SUFFIX, read_manifest
from edgeship.errors import InputError

COMPRESSED = "compress.json"
"""What `edgeship compress` tells beside its bundles: edgeship.compress/1."""
SAVED_MODEL = frozenset({"saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"})
LARGEST = 64 << 20
"""Bytes of a compress.json that is read."""


def bundle_in(folder: Path, targets: Collection[str] = ()) -> Path | None:
    """Return the one bundle in `folder` for a target that is asked for; with none asked for, the one that is there.

    None where the folder is no folder of results: a SavedModel stays a model, whatever lies beside it. Of several
    bundles for a target, those count that `compress.json` names. Raises InputError `no-bundle`, `no-bundle-for-target`,
    `several-bundles`, `bundle-corrupt`.
    """
    names = {path.name for path in folder.iterdir()}
    found = sorted(path for path in folder.glob("*" + SUFFIX) if path.is_file())
    results = COMPRESSED in names or any(name.endswith(".report.json") for name in names)
    if names & SAVED_MODEL or (names and not found and not results):
        return None
    said = _said(folder / COMPRESSED) if COMPRESSED in names else {}
    if not found:
        raise _none(folder, names, said)
    aimed = [(path, str(read_manifest(path)["target"])) for path in found]
    fits = [path for path, target in aimed if not targets or target in targets]
    if not fits:
        raise _for_others(folder, aimed, targets)
    named = set(_names(said))
    chosen = [path for path in fits if path.name in named] or fits
    if len(chosen) > 1:
        raise _several(folder, chosen, dict(aimed))
    return chosen[0]


def _said(path: Path) -> Any:
    """Return what compress.json holds; nothing where it cannot be read: the bundles speak for themselves."""
    try:
        return json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _names(said: Any) -> Iterator[str]:
    """Yield the names of bundles that a document holds, wherever they stand in it."""
    if isinstance(said, str) and said.endswith(SUFFIX):
        yield Path(said).name
    elif isinstance(said, dict | list):
        for each in said.values() if isinstance(said, dict) else said:
            yield from _names(each)


def _none(folder: Path, names: Collection[str], said: Any) -> InputError:
    reason = said.get("reason") if isinstance(said, dict) else None
    return InputError(
        "no-bundle",
        "this folder holds no bundle",
        context={"folder": folder, "holds": ", ".join(sorted(names)[:8]) or "nothing"}
        | ({"compress said": reason[:300]} if isinstance(reason, str) and reason else {}),
        hint=f"edgeship build MODEL --target T -o {shlex.quote(str(folder))}",
    )


def _for_others(folder: Path, aimed: Sequence[tuple[Path, str]], targets: Collection[str]) -> InputError:
    here = sorted({target for _, target in aimed})
    return InputError(
        "no-bundle-for-target",
        f"the folder holds no bundle for {' or '.join(sorted(targets))}",
        context={"folder": folder, "bundles are for": ", ".join(here)},
        hint=f"edgeship deploy {shlex.quote(str(folder))} --target {here[0]} --host ...",
    )


def _several(folder: Path, chosen: Sequence[Path], target_of: dict[Path, str]) -> InputError:
    newest = max(chosen, key=lambda path: path.stat().st_mtime)
    targets = sorted({target_of[path] for path in chosen})
    one_each = len(targets) == len(chosen)
    return InputError(
        "several-bundles",
        f"the folder holds {len(chosen)} bundles that could be meant",
        context={"folder": folder} | {path.name: f"for {target_of[path]}" for path in chosen[:8]},
        hint=f"edgeship deploy {shlex.quote(str(folder))} --target {targets[0]} --host ..."
        if one_each
        else f"edgeship deploy {shlex.quote(str(newest))} --host ...   (the newest)",
    )
