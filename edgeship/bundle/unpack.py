"""The files of a wheel as they go into a release: what Python imports, and the licences; nothing it can do
without."""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import Parser
from email.policy import compat32
from pathlib import Path, PurePosixPath

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeship.errors import ToolError

LIBRARY_SCHEMES = ("purelib", "platlib")
"""Parts of a `.data` folder that belong on `sys.path` (binary distribution format specification)."""

NOT_SHIPPED_FOLDERS = frozenset({"tests", "test", "testing_data", "__pycache__", "include"})
NOT_SHIPPED_SUFFIXES = (".pyi", ".pyc", ".a", ".h", ".hpp", ".pxd", ".pyx", ".lib", "/py.typed")
NOT_SHIPPED_OF: Mapping[str, tuple[str, ...]] = {
    # Build tools and typing helpers that `import numpy` never loads: 2 MB of 60.
    "numpy": ("numpy/f2py/", "numpy/distutils/", "numpy/typing/", "numpy/_pyinstaller/", "numpy/doc/"),
}
LICENCE = re.compile(r"(^|/)(licen[cs]e|copying|notice|authors)[^/]*$", re.IGNORECASE)
FILE_LIMIT = 256 << 20
"""Bytes one unpacked file may have: the largest known, numpy's OpenBLAS, has 36 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel's identity and content, as far as a release carries it."""

    name: str
    version: str
    files: dict[str, bytes]
    """Name below `site/` -> content."""
    licences: dict[str, bytes]
    """File name -> text."""
    licence_name: str
    """What the metadata says, for wheels that carry no text."""
    requires: tuple[str, ...]
    requires_python: str
    native: bool
    """Whether it serves one Python version only: it holds extension modules without a stable ABI."""
    omitted: int
    """Bytes left out."""


def read_wheel(path: Path) -> Wheel:
    """Return the shipped part of a wheel. Raises ToolError `wheel-broken`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise ToolError(
            "wheel-broken",
            f"{path.name} is not a sound wheel: {error}",
            hint=f"rm {path}",
        ) from None


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one member's content. Raises ValueError where it is larger than any real one."""
    if archive.getinfo(name).file_size > FILE_LIMIT:
        raise ValueError(f"{name} has {archive.getinfo(name).file_size} bytes")
    return archive.read(name)


def read_licences(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return the licence texts of a wheel by name: those of its metadata without the folder, others with `_`
    for `/`."""
    texts: dict[str, bytes] = {}
    for name in sorted(archive.namelist()):
        if LICENCE.search(name) and not name.endswith((".py", ".so")) and "/include/" not in name:
            short = name.partition(".dist-info/")[2].removeprefix("licenses/") or name
            texts[short.replace("/", "_")] = member(archive, name)
    return texts


def _read(archive: zipfile.ZipFile, path: Path) -> Wheel:
    stem = "-".join(path.name.split("-")[:2])
    info = f"{stem}.dist-info"
    metadata = Parser(policy=compat32).parsestr(archive.read(f"{info}/METADATA").decode())
    name = canonicalize_name(str(metadata["Name"]))
    files: dict[str, bytes] = {}
    omitted = 0
    for entry in sorted(archive.infolist(), key=lambda e: e.filename):
        if entry.is_dir():
            continue
        _check_entry(entry)
        place = library_name(entry.filename, stem)
        if place is None or not is_shipped(place, name):
            omitted += entry.file_size
        elif place in files:
            raise ValueError(f"{place} stands in it twice")
        else:
            files[place] = member(archive, entry.filename)
    return Wheel(
        name=name,
        version=str(metadata["Version"]),
        files=files,
        licences=read_licences(archive),
        licence_name=str(metadata["License-Expression"] or metadata["License"] or "not stated").splitlines()[
            0
        ],
        requires=tuple(metadata.get_all("Requires-Dist") or ()),
        requires_python=str(metadata["Requires-Python"] or ""),
        native="-none-" not in path.name and "-abi3-" not in path.name,
        omitted=omitted,
    )


def library_name(name: str, stem: str) -> str | None:
    """Return where a wheel's member goes below `site/`; None for scripts, headers and data, which go
    elsewhere.

    Of the metadata only METADATA stays, so that `importlib.metadata` on the device can tell the version.
    """
    first, _, rest = name.partition("/")
    if first == f"{stem}.data":
        scheme, _, inner = rest.partition("/")
        return inner if scheme in LIBRARY_SCHEMES and inner else None
    if first == f"{stem}.dist-info":
        return name if rest == "METADATA" else None
    return name


def is_shipped(name: str, package: str) -> bool:
    """Return whether a device needs this file of a package."""
    path = PurePosixPath(name)
    if NOT_SHIPPED_FOLDERS & set(path.parts[:-1]) or f"/{name}".endswith(NOT_SHIPPED_SUFFIXES):
        return False
    return not name.startswith(NOT_SHIPPED_OF.get(package, ()) or ("\0",))


def missing_requirements(
    wheels: Iterable[Wheel], provided: Iterable[str], *, python: str, machine: str
) -> tuple[str, ...]:
    """Return what `wheels` require and neither they nor `provided` (distribution names) satisfy, for that
    device."""
    have = {wheel.name: wheel.version for wheel in wheels}
    elsewhere = {canonicalize_name(name) for name in provided}
    environment = {
        **{k: str(v) for k, v in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    missing: set[str] = set()
    for wheel in wheels:
        for text in wheel.requires:
            need = Requirement(text)
            if need.marker and not Marker(str(need.marker)).evaluate(environment):
                continue
            name = canonicalize_name(need.name)
            if name in elsewhere or (name in have and need.specifier.contains(have[name], prereleases=True)):
                continue
            missing.add(f"{need.name}{need.specifier} (for {wheel.name} {wheel.version})")
    return tuple(sorted(missing))


def _check_entry(entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.split("/")
    if entry.filename.startswith("/") or ".." in parts or "" in parts or "\\" in entry.filename:
        raise ValueError(f"unsafe name {entry.filename!r}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ValueError(f"{entry.filename} is a symbolic link")
