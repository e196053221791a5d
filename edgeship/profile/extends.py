"""Resolves `extends:` of target profiles.

`extends:` takes the named profile and lays this file over it: mappings merge key by key; lists, text and numbers
replace what was there; null empties it. `name`, `title`, `summary`, `aliases`, `abstract` and `recognised_by` are
never inherited. `sources` add up, except that a figure set again here needs a source of its own.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.profile.names import KIND, profile_files, shown
from edgeship.registry import did_you_mean
from edgeship.strictyaml import Document, KeyPath, Mark, load

OWN = ("name", "title", "summary", "aliases", "abstract", "recognised_by")
"""Keys that say which profile this is, and so are not inherited."""


def resolve(path: Path, *, folders: Sequence[Path], machine: str | None) -> tuple[Document, tuple[Path, ...]]:
    """Return a file laid over everything it extends, unchecked, and the files: its own first, then the nearest.

    `machine` (default: this one's) decides an `extends:` by machine. Raises InputError: `target-profile-syntax`,
    `target-profile-not-readable`, `extends-cycle`, `unknown-base`, `invalid-target-profile` (no base for this machine).
    """
    return _resolve(path, folders=folders, machine=machine or platform.machine(), seen=())


def _resolve(
    path: Path, *, folders: Sequence[Path], machine: str, seen: tuple[Path, ...]
) -> tuple[Document, tuple[Path, ...]]:
    """Return a file laid over everything it extends, and the files in between."""
    if path in seen:
        chain = " -> ".join(p.stem for p in (*seen[seen.index(path) :], path))
        raise InputError(
            "extends-cycle",
            f"{shown(path)}: extends: these profiles extend each other: {chain}",
            context={"files": ", ".join(shown(p) for p in seen)},
            hint="remove 'extends:' from one of them",
        )
    own = load(path, shown=shown(path), kind=KIND)
    base_name = _base_name(own, machine)
    if base_name is None:
        return own, (path,)
    base_path = _base_path(base_name, own, path, folders)
    base, files = _resolve(base_path, folders=folders, machine=machine, seen=(*seen, path))
    value = dict(own.value) | {"extends": base_name}
    merged = merge(base, Document(file=own.file, value=value, marks=own.marks))
    return merged, (path, *files)


def _base_name(own: Document, machine: str) -> str | None:
    extends = own.value.get("extends")
    if isinstance(extends, Mapping):
        base = extends.get(machine)
        if isinstance(base, str):
            return base
        from edgeship.strictyaml import Problem, refuse  # pydantic comes with them

        known = ", ".join(extends)
        raise refuse(
            [
                Problem(
                    mark=own.mark(("extends",)),
                    path=("extends",),
                    text=f"nothing is said for this machine, '{machine}'; known: {known}",
                )
            ],
            kind=KIND,
            hint="edgeship target list",
        )
    return extends if isinstance(extends, str) else None


def _base_path(name: str, own: Document, path: Path, folders: Sequence[Path]) -> Path:
    """Return the file that `extends: name` means: beside the file first, then in the folders."""
    for folder in (path.parent, *folders):
        candidate = folder / f"{name}.yaml"
        if candidate.is_file() and candidate != path:
            return candidate
    if name == path.stem:
        return path
    known = sorted({p.stem for p in profile_files(folders)})
    near = did_you_mean(name, known)
    raise InputError(
        "unknown-base",
        f"{own.file}: extends: no profile is called '{name}'"
        + (f"; did you mean '{near}'?" if near else "")
        + f" (line {own.mark(('extends',)).line})",
        context={"known": ", ".join(known) or "(none)"},
        hint=f"edgeship target check {own.file}",
    )


def merge(base: Document, own: Document) -> Document:
    """Return `own` laid over `base` by the rules in this module's docstring, with the marks of both."""
    inherited = {k: v for k, v in base.value.items() if k not in OWN}
    marks = {p: m for p, m in base.marks.items() if p[0] not in OWN}
    set_here: list[KeyPath] = []
    value = _lay_over(inherited, own.value, (), marks, own.marks, set_here)
    _add_sources(value, marks, base, own, set_here)
    return Document(file=own.file, value=value, marks=marks)


def _lay_over(
    base: Mapping[str, Any],
    own: Mapping[str, Any],
    path: KeyPath,
    marks: dict[KeyPath, Mark],
    own_marks: Mapping[KeyPath, Mark],
    set_here: list[KeyPath],
) -> dict[str, Any]:
    result = dict(base)
    for key, item in own.items():
        here = (*path, key)
        below = base.get(key)
        if isinstance(item, Mapping) and isinstance(below, Mapping):
            marks[here] = own_marks[here]
            result[key] = _lay_over(below, item, here, marks, own_marks, set_here)
            continue
        for known in [p for p in marks if p[: len(here)] == here]:
            del marks[known]
        marks |= {p: m for p, m in own_marks.items() if p[: len(here)] == here}
        result[key] = item
        if key not in base or below != item:
            set_here.append(here)
    return result


def _add_sources(
    value: dict[str, Any],
    marks: dict[KeyPath, Mark],
    base: Document,
    own: Document,
    set_here: Sequence[KeyPath],
) -> None:
    """Append the base's sources, with their marks, to those of the profile itself."""
    sources = own.value.get("sources", ())
    inherited = base.value.get("sources", ())
    if not isinstance(sources, tuple) or not isinstance(inherited, tuple):
        return
    kept = [i for i, source in enumerate(inherited) if not _superseded(source, set_here)]
    for place, index in enumerate(kept, start=len(sources)):
        for path, mark in base.marks.items():
            if path[:2] == ("sources", index):
                moved = ("sources", place, *path[2:])
                marks[moved] = mark
    value["sources"] = (*sources, *(inherited[i] for i in kept))


def _superseded(source: object, set_here: Sequence[KeyPath]) -> bool:
    """Return whether a base's source speaks of a figure that the profile sets again."""
    if not isinstance(source, Mapping) or not isinstance(source.get("figure"), str):
        return False
    figure = tuple(source["figure"].split("."))
    return any(figure[: len(path)] == path for path in set_here)
