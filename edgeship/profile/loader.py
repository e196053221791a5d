"""Finds target profiles by name, alias or path, resolves `extends:`, and says exactly what is wrong with one.

`extends:` takes the named profile and lays this file over it: mappings merge key by key; lists, text and numbers
replace what was there; null empties it. `name`, `title`, `summary`, `aliases`, `abstract` and `recognised_by` are
never inherited. `sources` add up, except that a figure set again here needs a source of its own.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.errors import InputError
from edgeship.profile.schema import TargetProfile
from edgeship.registry import did_you_mean
from edgeship.strictyaml import Document, KeyPath, Mark, Problem, load, problems_in, refuse

KIND = "target-profile"
OWN = ("name", "title", "summary", "aliases", "abstract", "recognised_by")
"""Keys that say which profile this is, and so are not inherited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedProfile:
    """A profile with where each of its values was written."""

    profile: TargetProfile
    document: Document
    files: tuple[Path, ...]
    """The profile's own file first, then what it extends, nearest first."""

    def origin(self, path: KeyPath) -> Mark:
        """Return the file and line that a value comes from."""
        return self.document.mark(path)


def load_profile(name_or_path: str, *, folders: Sequence[Path], machine: str | None = None) -> TargetProfile:
    """Return the target called `name_or_path` (name, alias, or path of a .yaml file).

    `folders` are searched in order (see `edgeship.assets.target_folders`); `machine` (default: this one's)
    decides an `extends:` by machine. Raises InputError: `unknown-target`, `abstract-target`,
    `target-profile-syntax`, `invalid-target-profile`, `extends-cycle`, `unknown-base`.
    """
    return load_with_origins(name_or_path, folders=folders, machine=machine).profile


def load_with_origins(
    name_or_path: str, *, folders: Sequence[Path], machine: str | None = None
) -> LoadedProfile:
    """Return what `load_profile` returns, with the file and line of every value."""
    path = find_profile(name_or_path, folders=folders)
    merged, files = _resolve(path, folders=folders, machine=machine or platform.machine(), seen=())
    if merged.value.get("abstract") is True:
        raise InputError(
            "abstract-target",
            f"'{merged.value.get('name', path.stem)}' is a base for other targets, not a target",
            context={"file": path},
            hint="edgeship target list",
        )
    problems = [*problems_in(TargetProfile, merged), *_naming_problems(path, merged)]
    if problems:
        raise refuse(problems, kind=KIND, hint=f"edgeship target check {path}")
    return LoadedProfile(profile=TargetProfile.model_validate(merged.value), document=merged, files=files)


def check_profile(path: Path, *, folders: Sequence[Path], machine: str | None = None) -> Document:
    """Return the merged document of a profile file, base or target, that has no problem.

    Keys that only a target needs may be missing from a base. Raises the errors of `load_profile`.
    """
    merged, _ = _resolve(path, folders=folders, machine=machine or platform.machine(), seen=())
    problems = [*problems_in(TargetProfile, merged), *_naming_problems(path, merged)]
    if merged.value.get("abstract") is True:
        problems = [p for p in problems if not p.missing or p.path[0] in ("name", "title", "summary")]
    if problems:
        raise refuse(problems, kind=KIND, hint="edgeship target show x86-64-linux shows a complete profile")
    return merged


def list_profiles(*, folders: Sequence[Path], machine: str | None = None) -> tuple[TargetProfile, ...]:
    """Return every target in `folders`, bases left out, by name. An earlier folder hides a later one's."""
    found: dict[str, TargetProfile] = {}
    for path in profile_files(folders):
        if path.stem not in found and not _is_abstract(path):
            found[path.stem] = load_profile(str(path), folders=folders, machine=machine)
    return tuple(found[name] for name in sorted(found))


def profile_files(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the profile files of every folder, in the order of search."""
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.glob("*.yaml"))


def find_profile(name_or_path: str, *, folders: Sequence[Path]) -> Path:
    """Return the file of a target: a path as it is, else by name, else by alias. Raises `unknown-target`."""
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    names: dict[str, Path] = {}
    aliases: dict[str, Path] = {}
    for path in profile_files(folders):
        names.setdefault(path.stem, path)
    if name_or_path in names:
        return names[name_or_path]
    for path in names.values():
        for alias in _aliases(path):
            aliases.setdefault(alias, path)
    if name_or_path in aliases:
        return aliases[name_or_path]
    targets = [name for name, path in names.items() if not _is_abstract(path)]
    near = did_you_mean(name_or_path, [*targets, *aliases])
    raise InputError(
        "unknown-target",
        f"unknown target '{name_or_path}'" + (f"; did you mean '{near}'?" if near else ""),
        context={"known": ", ".join(sorted(targets)) or "(none)", "looked in": ", ".join(map(str, folders))},
        hint="edgeship target list" if not near else f"edgeship target show {near}",
    )


def _resolve(
    path: Path, *, folders: Sequence[Path], machine: str, seen: tuple[Path, ...]
) -> tuple[Document, tuple[Path, ...]]:
    """Return a file laid over everything it extends, and the files in between."""
    if path in seen:
        chain = " -> ".join(p.stem for p in (*seen[seen.index(path) :], path))
        raise InputError(
            "extends-cycle",
            f"{_shown(path)}: extends: these profiles extend each other: {chain}",
            context={"files": ", ".join(_shown(p) for p in seen)},
            hint="remove 'extends:' from one of them",
        )
    own = load(path, shown=_shown(path), kind=KIND)
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


def _naming_problems(path: Path, merged: Document) -> list[Problem]:
    name = merged.value.get("name")
    if isinstance(name, str) and name != path.stem:
        text = f"expected '{path.stem}', the file's name, found '{name}'"
        return [Problem(mark=merged.mark(("name",)), path=("name",), text=text)]
    return []


def _is_abstract(path: Path) -> bool:
    try:
        return load(path, shown=_shown(path), kind=KIND).value.get("abstract") is True
    except InputError:
        return False


def _aliases(path: Path) -> tuple[str, ...]:
    """Return a file's aliases; none where the file cannot be read (its own turn will say why)."""
    try:
        aliases = load(path, shown=_shown(path), kind=KIND).value.get("aliases", ())
    except InputError:
        return ()
    return tuple(a for a in aliases if isinstance(a, str)) if isinstance(aliases, tuple) else ()


def _shown(path: Path) -> str:
    """Return a path as errors name it: the folder's name and the file's, as in targets/coral.yaml."""
    return f"{path.parent.name}/{path.name}" if path.is_absolute() and path.parent.name else str(path)
