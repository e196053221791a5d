"""What a device lacks to run its model: the runtime library or a wheelhouse, its licences, and what it must
bring."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from edgeship.assets import runtime_folder
from edgeship.bundle.elf import MAGIC, Needs, check_elf
from edgeship.bundle.engines import LIBRARY, PACKAGE, EngineFiles, litert_files
from edgeship.bundle.licences import licence_files
from edgeship.bundle.unpack import Wheel, missing_requirements, read_wheel
from edgeship.bundle.wheels import SHIPPED_LOCK, WheelRequest, fetch_wheel
from edgeship.errors import InputError, ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress

TFLITE = "tflite-runtime"
SPOKEN = tuple(f"3.{minor}" for minor in range(7, 16))
"""Python versions the runtime's own code speaks: 3.7 syntax, and nothing that later versions dropped."""
BASE_RAM_MB = {"litert": 32, "tflite_runtime": 64}
"""Resident memory of an engine that serves a small model, rounded up: 16.5 and 39 MB measured, and the
server's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The part of a release that depends on the target and not on the model."""

    files: dict[str, bytes]
    """Name in the release -> content: lib/, site/ and licences/."""
    library: str | None
    site: str | None
    python: tuple[str, ...]
    """Python versions it serves."""
    needs: Needs
    packages: tuple[str, ...]
    """Python packages the device itself must have, as pip requirements."""
    libraries: tuple[str, ...]
    """sonames the device itself must have."""
    versions: dict[str, str]
    """Distribution -> version of all that is in it."""


def make_payload(
    profile: TargetProfile, *, cache: Path, progress: Progress, lock: Path = SHIPPED_LOCK
) -> Payload:
    """Return the payload of a target, every native file checked against the profile.

    Raises ToolError for what cannot be fetched or does not fit (`wheel-...`, `elf-...`), InputError
    `wheelhouse-incomplete`, `unsupported-libc`, `unknown-engine-file`.
    """
    if profile.libc.kind != "glibc":
        raise InputError(
            "unsupported-libc",
            f"there is no runtime library for {profile.libc.kind}",
            context={"target": profile.name, "key": "libc.kind", "wanted": "glibc"},
            hint="use a distribution with glibc on the device",
        )
    engine = _engine(profile, cache, progress, lock)
    python, wheels = _wheels(profile, cache, progress, lock)
    files = {f"lib/{name}": content for name, content in engine.libraries.items()}
    for wheel in wheels:
        files |= {f"site/{name}": content for name, content in wheel.files.items()}
    needs = _check(profile, files)
    licences = licence_files(
        wheels, {f"{PACKAGE}-{engine.version}": engine.licences} if engine.libraries else {}
    )
    return Payload(
        files=files | licences,
        library=f"lib/{LIBRARY}" if engine.libraries else None,
        site="site" if wheels else None,
        python=python,
        needs=needs,
        packages=from_device(profile),
        libraries=tuple(sorted({*needs.libraries, *profile.runtime.libraries, *_delegate(profile)})),
        versions={w.name: w.version for w in wheels}
        | ({PACKAGE: engine.version} if engine.libraries else {}),
    )


def engine_entry(profile: TargetProfile, payload: Payload) -> dict[str, Any]:
    """Return the `engine` of service.json."""
    runtime = profile.runtime
    return {
        "name": runtime.engine,
        "version": runtime.version,
        "delegate": runtime.delegate,
        "delegate_library": runtime.delegate_library,
        "threads": runtime.threads,
        "library": payload.library,
        "site": payload.site,
    }


def from_device(profile: TargetProfile) -> tuple[str, ...]:
    """Return the Python packages the device must bring itself: a preinstalled engine's, and its distribution's.

    Other packages of the distribution hold shared libraries; those are asked for by soname.
    """
    own = wanted_packages(profile) if profile.runtime.preinstalled else ()
    names = {canonicalize_name(Requirement(text).name) for text in own}
    return (*own, *(name for name in distribution_python(profile) if canonicalize_name(name) not in names))


def distribution_python(profile: TargetProfile) -> tuple[str, ...]:
    """Return the Python packages among a target's distribution packages, by the names pip knows them under."""
    found = (re.fullmatch(r"python3?-(.+)", name) for name in profile.runtime.distribution_packages)
    return tuple(match[1] for match in found if match)


def wanted_packages(profile: TargetProfile) -> tuple[str, ...]:
    """Return the pip requirements of a target: the engine's, where it is a package, then those of the
    profile."""
    packages = list(profile.runtime.packages)
    names = {canonicalize_name(Requirement(text).name) for text in packages}
    if profile.runtime.engine == "tflite_runtime" and TFLITE not in names:
        packages.insert(0, f"{TFLITE}=={profile.runtime.version}")
    return tuple(packages)


def runtime_requirements(folder: Path | None = None) -> tuple[str, ...]:
    """Return what the runtime itself needs beside the standard library (its requirements.txt; none without
    one)."""
    path = (folder or runtime_folder()) / "requirements.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    return tuple(text for line in lines if (text := line.partition("#")[0].strip()))


def _engine(profile: TargetProfile, cache: Path, progress: Progress, lock: Path) -> EngineFiles:
    runtime = profile.runtime
    if runtime.engine != "litert" or runtime.preinstalled:
        return EngineFiles(libraries={}, licences={}, version=runtime.version)
    return litert_files(
        tuple(dict.fromkeys((LIBRARY, *(name.rpartition("/")[2] for name in runtime.files)))),
        version=runtime.version,
        machine=profile.architecture,
        libc=profile.libc.kind,
        libc_version=profile.libc.version,
        cache=cache,
        progress=progress,
        lock=lock,
    )


def _wheels(
    profile: TargetProfile, cache: Path, progress: Progress, lock: Path
) -> tuple[tuple[str, ...], list[Wheel]]:
    """Return the Python versions served and the wheels for them: the profile's first version that all exist
    for."""
    wanted = (*(() if profile.runtime.preinstalled else wanted_packages(profile)), *runtime_requirements())
    if not wanted:
        return (profile.python.versions if profile.runtime.preinstalled else SPOKEN), []
    for number, python in enumerate(profile.python.versions):
        try:
            wheels = [
                read_wheel(fetch_wheel(r, cache=cache, progress=progress, lock=lock))
                for r in requests(profile, python, wanted)
            ]
        except ToolError as error:
            if error.reference != "wheel-not-available" or number + 1 == len(profile.python.versions):
                raise
            progress.note(f"Python {python}: {error.message}; trying {profile.python.versions[number + 1]}")
            continue
        _check_complete(profile, wheels, python)
        return served(wheels, python), wheels
    raise AssertionError("a profile names one Python version at least")


def requests(profile: TargetProfile, python: str, wanted: Iterable[str]) -> list[WheelRequest]:
    """Return one request per requirement for a device of the target that runs `python`."""
    return [
        WheelRequest(
            requirement=text,
            python=python,
            machine=profile.architecture,
            libc=profile.libc.kind,
            libc_version=profile.libc.version,
        )
        for text in wanted
    ]


def served(wheels: Iterable[Wheel], python: str) -> tuple[str, ...]:
    """Return the Python versions that all of `wheels` serve; one of them was fetched for `python`."""
    versions = {python} if any(w.native for w in wheels) else set(SPOKEN)
    for wheel in wheels:
        versions = {v for v in versions if SpecifierSet(wheel.requires_python).contains(f"{v}.99")}
    return tuple(v for v in SPOKEN if v in versions)


def _check_complete(profile: TargetProfile, wheels: list[Wheel], python: str) -> None:
    provided = list(distribution_python(profile))
    if profile.runtime.preinstalled:
        provided += [Requirement(text).name for text in wanted_packages(profile)]
    missing = missing_requirements(wheels, provided, python=python, machine=profile.architecture)
    if missing:
        raise InputError(
            "wheelhouse-incomplete",
            "the packages of the target need others that nobody provides",
            context={
                "target": profile.name,
                "key": "runtime.packages",
                "missing": ", ".join(missing),
                "for": f"Python {python} on {profile.architecture}",
            },
            hint="add them to runtime.packages, or to runtime.distribution_packages if the device has them",
        )


def _check(profile: TargetProfile, files: dict[str, bytes]) -> Needs:
    """Check what the native files really need, which is more than their wheels' tags say."""
    with tempfile.TemporaryDirectory(prefix="edgeship-elf-") as folder:
        native: list[tuple[str, Path]] = []
        for name, content in sorted(files.items()):
            if content.startswith(MAGIC):
                path = Path(folder) / str(len(native))
                path.write_bytes(content)
                native.append((name, path))
        return check_elf(
            native,
            machine=profile.architecture,
            libc=profile.libc.kind,
            libc_version=profile.libc.version,
            libstdcxx=profile.libc.libstdcxx,
            target=profile.name,
        )


def _delegate(profile: TargetProfile) -> tuple[str, ...]:
    library = profile.runtime.delegate_library
    return (library,) if library and "/" not in library else ()
