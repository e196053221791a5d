"""Where the files that travel with edgeship are: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from edgeship.errors import EdgeshipError

PACKAGE = Path(__file__).resolve().parent


def targets_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the target profiles that edgeship ships. Raises EdgeshipError `assets-missing`."""
    return _folder("targets", package)


def templates_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the templates for devices. Raises EdgeshipError `assets-missing`."""
    return _folder("templates", package)


def runtime_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the runtime that is copied into bundles (never imported)."""
    folder = package / "runtime"
    if folder.is_dir():
        return folder
    raise _missing("runtime", [folder])


def sources_digest(package: Path = PACKAGE) -> str:
    """Return one digest of edgeship's own files: code, the runtime, locks, templates. About 10 ms."""
    digest = hashlib.sha256()
    for folder in (package, templates_folder(package)):
        for path in sorted(folder.rglob("*")):
            if path.suffix != ".pyc" and path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def target_folders(
    *, environment: Mapping[str, str], project: Path | None = None, package: Path = PACKAGE
) -> tuple[Path, ...]:
    """Return where target profiles are looked for, first hit wins.

    `targets/` in the project's folder (the one with edgeship.yaml), the folders of EDGESHIP_TARGETS
    (separated as in PATH), `~/.config/edgeship/targets` (XDG_CONFIG_HOME honoured), then what edgeship ships.
    Only the last must exist.
    """
    own = [Path(p) for p in environment.get("EDGESHIP_TARGETS", "").split(os.pathsep) if p]
    shipped = targets_folder(package)
    config = environment.get("XDG_CONFIG_HOME")
    if config:
        own.append(Path(config) / "edgeship" / "targets")
    elif home := environment.get("HOME"):
        own.append(Path(home) / ".config" / "edgeship" / "targets")
    if project is not None:
        own.insert(0, project / "targets")
    distinct = dict.fromkeys(p.resolve() for p in own if p.is_dir())
    return (*(p for p in distinct if p != shipped.resolve()), shipped)


def _folder(name: str, package: Path) -> Path:
    inside = package / "_assets" / name
    beside = package.parent / name
    # A checkout has pyproject.toml beside the package; site-packages may hold a stranger's `targets` instead.
    if inside.is_dir():
        return inside
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise _missing(name, [inside, beside])


def _missing(name: str, looked: list[Path]) -> EdgeshipError:
    return EdgeshipError(
        "assets-missing",
        f"edgeship's own '{name}' folder is not where it should be: this installation is incomplete",
        context={"looked in": ", ".join(map(str, looked))},
        hint="pip install --force-reinstall edgeship",
    )
