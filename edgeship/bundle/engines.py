"""The runtime library of engine `litert` for any machine: from this environment where it is the same, else
from a wheel."""

from __future__ import annotations

import importlib.metadata
import platform
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgeship.bundle.unpack import LICENCE, member, read_licences
from edgeship.bundle.wheels import SHIPPED_LOCK, WheelRequest, fetch_wheel
from edgeship.errors import InputError, ToolError
from edgeship.progress import Progress

PACKAGE = "ai-edge-litert"
FOLDER = "ai_edge_litert"
LIBRARY = "libLiteRt.so"
WHEEL_PYTHON = "3.11"
"""The library is the same in the wheels of every Python version; this one is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFiles:
    """Files of the engine's wheel: library name -> content, and licence texts by file name."""

    libraries: dict[str, bytes]
    licences: dict[str, bytes]
    version: str


def installed_version() -> str:
    """Return the version of LiteRT in this environment."""
    return importlib.metadata.version(PACKAGE)


def litert_files(
    names: tuple[str, ...],
    *,
    version: str,
    machine: str,
    libc: str,
    libc_version: str,
    cache: Path,
    progress: Progress,
    lock: Path = SHIPPED_LOCK,
) -> EngineFiles:
    """Return `names` (files of the wheel's package folder) of LiteRT `version` for a machine.

    Raises ToolError as `fetch_wheel` does, InputError `unknown-engine-file` where the wheel has no such file.
    """
    if machine == platform.machine() and libc == "glibc" and version == installed_version():
        return _from_environment(names, version)
    request = WheelRequest(
        requirement=f"{PACKAGE}=={version}",
        python=WHEEL_PYTHON,
        machine=machine,
        libc=libc,
        libc_version=libc_version,
    )
    return _from_wheel(fetch_wheel(request, cache=cache, progress=progress, lock=lock), names, version)


def host_litert(version: str, *, cache: Path, progress: Progress) -> bytes:
    """Return libLiteRt.so of `version` for this very machine."""
    return litert_files(
        (LIBRARY,),
        version=version,
        machine=platform.machine(),
        libc="glibc",
        libc_version=platform.libc_ver()[1],
        cache=cache,
        progress=progress,
    ).libraries[LIBRARY]


def _from_environment(names: tuple[str, ...], version: str) -> EngineFiles:
    files = importlib.metadata.files(PACKAGE) or []
    by_name = {str(f): Path(str(f.locate())) for f in files}
    libraries: dict[str, bytes] = {}
    for name in names:
        path = by_name.get(f"{FOLDER}/{name}")
        if path is None or not path.is_file():
            raise _unknown_file(
                name, version, [Path(f).name for f in by_name if f.startswith(f"{FOLDER}/lib")]
            )
        libraries[name] = path.read_bytes()
    texts = {
        n: p.read_bytes()
        for n, p in by_name.items()
        if ".dist-info/" in n and LICENCE.search(n) and p.is_file()
    }
    licences = {n.partition(".dist-info/")[2].removeprefix("licenses/"): t for n, t in texts.items()}
    return EngineFiles(libraries=libraries, licences=licences, version=version)


def _from_wheel(path: Path, names: tuple[str, ...], version: str) -> EngineFiles:
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.namelist()
            for name in names:
                if f"{FOLDER}/{name}" not in held:
                    raise _unknown_file(
                        name, version, [n.rpartition("/")[2] for n in held if n.startswith(f"{FOLDER}/lib")]
                    )
            libraries = {name: member(archive, f"{FOLDER}/{name}") for name in names}
            return EngineFiles(libraries=libraries, licences=read_licences(archive), version=version)
    except (zipfile.BadZipFile, OSError) as error:
        raise ToolError(
            "wheel-broken", f"{path.name} is not a sound wheel: {error}", hint=f"rm {path}"
        ) from None


def _unknown_file(name: str, version: str, held: list[str]) -> InputError:
    return InputError(
        "unknown-engine-file",
        f"{PACKAGE} {version} has no file '{name}'",
        context={"key": "runtime.files", "libraries in it": ", ".join(sorted(held)) or "(none)"},
        hint="edgeship target list",
    )
