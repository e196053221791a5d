"""The list of targets: the few figures of each profile that a list shows, without the schema of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeship.profile.extends import resolve
from edgeship.profile.names import is_abstract, profile_files

if TYPE_CHECKING:
    from edgeship.profile.schema import TargetProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTarget:
    """What a list says of a target; the fields are those of the profile."""

    name: str
    title: str
    summary: str
    aliases: tuple[str, ...]
    architecture: str
    engine: str
    delegate: str
    wants: tuple[str, ...]


def list_targets(
    *, folders: Sequence[Path], proved: Path, machine: str | None = None
) -> tuple[ListedTarget, ...]:
    """Return every target in `folders`, bases left out, by name. An earlier folder hides a later one's.

    Profiles in `proved`, edgeship's own folder, are known to be right: tests hold them against the schema. Any other
    profile is checked as a whole. Raises the errors of `load_profile`.
    """
    found: dict[str, ListedTarget] = {}
    for path in profile_files(folders):
        if path.stem not in found and not is_abstract(path):
            found[path.stem] = _listed(path, folders, machine, proved=path.parent == proved)
    return tuple(found[name] for name in sorted(found))


def _listed(path: Path, folders: Sequence[Path], machine: str | None, *, proved: bool) -> ListedTarget:
    if proved:
        merged, files = resolve(path, folders=folders, machine=machine)
        plain = _of_values(merged.value)
        if plain and all(file.parent == path.parent for file in files):
            return plain
    from edgeship.profile.loader import load_profile

    return of_profile(load_profile(str(path), folders=folders, machine=machine))


def _of_values(value: Mapping[str, Any]) -> ListedTarget | None:
    """Return what a list says of a profile's plain values; None where something is missing (the schema says what)."""
    try:
        listed = ListedTarget(
            name=value["name"],
            title=value["title"],
            summary=value["summary"],
            aliases=value.get("aliases", ()),
            architecture=value["architecture"],
            engine=value["runtime"]["engine"],
            delegate=value["runtime"]["delegate"],
            wants=value["precision"]["wants"],
        )
    except (KeyError, TypeError):
        return None
    texts = (listed.name, listed.title, listed.summary, listed.architecture, listed.engine, listed.delegate)
    lists = (listed.aliases, listed.wants)
    if not all(isinstance(each, tuple) for each in lists) or not listed.wants:
        return None
    return listed if all(isinstance(text, str) for text in (*texts, *listed.aliases, *listed.wants)) else None


def of_profile(profile: TargetProfile) -> ListedTarget:
    """Return what a list says of a profile."""
    return ListedTarget(
        name=profile.name,
        title=profile.title,
        summary=profile.summary,
        aliases=profile.aliases,
        architecture=profile.architecture,
        engine=profile.runtime.engine,
        delegate=profile.runtime.delegate,
        wants=profile.precision.wants,
    )
