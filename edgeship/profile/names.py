"""Finds target profiles by name, alias or path; nothing of one is checked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeship.errors import InputError
from edgeship.registry import did_you_mean
from edgeship.strictyaml import load

KIND = "target-profile"


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
    targets = [name for name, path in names.items() if not is_abstract(path)]
    near = did_you_mean(name_or_path, [*targets, *aliases])
    raise InputError(
        "unknown-target",
        f"unknown target '{name_or_path}'" + (f"; did you mean '{near}'?" if near else ""),
        context={"known": ", ".join(sorted(targets)) or "(none)", "looked in": ", ".join(map(str, folders))},
        hint="edgeship target list" if not near else f"edgeship target show {near}",
    )


def is_abstract(path: Path) -> bool:
    """Return whether a profile is a base for others; one that cannot be read is not (its own turn will say why)."""
    try:
        return load(path, shown=shown(path), kind=KIND).value.get("abstract") is True
    except InputError:
        return False


def _aliases(path: Path) -> tuple[str, ...]:
    """Return a file's aliases; none where the file cannot be read (its own turn will say why)."""
    try:
        aliases = load(path, shown=shown(path), kind=KIND).value.get("aliases", ())
    except InputError:
        return ()
    return tuple(a for a in aliases if isinstance(a, str)) if isinstance(aliases, tuple) else ()


def shown(path: Path) -> str:
    """Return a path as errors name it: the folder's name and the file's, as in targets/coral.yaml."""
    return f"{path.parent.name}/{path.name}" if path.is_absolute() and path.parent.name else str(path)
