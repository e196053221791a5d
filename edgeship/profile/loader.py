"""Loads target profiles by name, alias or path, and says exactly what is wrong with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeship.errors import InputError
from edgeship.profile.extends import resolve
from edgeship.profile.names import KIND, find_profile, is_abstract, profile_files
from edgeship.profile.schema import TargetProfile
from edgeship.strictyaml import Document, KeyPath, Mark, Problem, problems_in, refuse


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
    merged, files = resolve(path, folders=folders, machine=machine)
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
    merged, _ = resolve(path, folders=folders, machine=machine)
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
        if path.stem not in found and not is_abstract(path):
            found[path.stem] = load_profile(str(path), folders=folders, machine=machine)
    return tuple(found[name] for name in sorted(found))


def _naming_problems(path: Path, merged: Document) -> list[Problem]:
    name = merged.value.get("name")
    if isinstance(name, str) and name != path.stem:
        text = f"expected '{path.stem}', the file's name, found '{name}'"
        return [Problem(mark=merged.mark(("name",)), path=("name",), text=text)]
    return []
