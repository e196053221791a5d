"""Wheels for a device, fetched by pip for its Python, processor and libc, and held to the digests of a lock
file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgeship.bundle.elf import parse_version
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.progress import Progress

SHIPPED_LOCK = Path(__file__).with_name("wheels.lock.yaml")
USER_LOCK = "wheels.lock.yaml"
"""In the cache: what the shipped lock does not know, pinned the first time it was fetched."""

OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
"""Minor version of the oldest manylinux per machine (PEP 600); 17 for every other."""
LEGACY_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""glibc minor -> the name that tag had before PEP 600."""
PIP_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRequest:
    """One exact requirement for one kind of device."""

    requirement: str
    """`name==version`."""
    python: str
    """X.Y of the interpreter that will import it."""
    machine: str
    libc: str
    libc_version: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags that the device's own pip would accept, best first."""
        return platform_tags(self.machine, self.libc, self.libc_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRow:
    """One line of the lock: this requirement there is this file with this digest."""

    requirement: str
    python: str
    machine: str
    libc: str
    file: str
    sha256: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags the file itself carries, in the order of its name."""
        return tuple(self.file.removesuffix(".whl").rpartition("-")[2].split("."))

    def serves(self, request: WheelRequest) -> bool:
        """Return whether this file is what `request` asks for and fits its libc version."""
        mine = (self.requirement, self.python, self.machine, self.libc)
        theirs = (request.requirement, request.python, request.machine, request.libc)
        return mine == theirs and not {"any", *request.tags}.isdisjoint(self.platforms)


def platform_tags(machine: str, libc: str, libc_version: str) -> tuple[str, ...]:
    """Return the platform tags a device's pip would accept, best first (PEP 600, PEP 656, and plain
    `linux`)."""
    version = parse_version(libc_version)
    if len(version) < 2:
        raise InputError("bad-libc-version", f"libc version '{libc_version}' is not of the form X.Y")
    major, minor = version[0], version[1]
    if libc == "musl":
        return (*(f"musllinux_{major}_{m}_{machine}" for m in range(minor, -1, -1)), f"linux_{machine}")
    tags: list[str] = []
    for m in range(minor, OLDEST_GLIBC.get(machine, 17) - 1, -1):
        tags.append(f"manylinux_{major}_{m}_{machine}")
        if m in LEGACY_TAGS:
            tags.append(f"{LEGACY_TAGS[m]}_{machine}")
    return (*tags, f"linux_{machine}")


def read_lock(path: Path) -> tuple[LockRow, ...]:
    """Return the rows of a lock file; none where the file does not exist. Raises InputError `lock-broken`."""
    if not path.is_file():
        return ()
    try:
        document: Any = yaml.safe_load(path.read_text())
        return tuple(LockRow(**{k: str(v) for k, v in row.items()}) for row in document["wheels"])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "lock-broken",
            f"{path.name} cannot be read as a lock of wheels: {error}",
            context={"file": path},
            hint="delete it if it lies in the cache; in the package: python -m edgeship.bundle.lock",
        ) from None


def find_row(request: WheelRequest, *locks: Path) -> LockRow | None:
    """Return the row that serves `request`, from the first of `locks` that has one."""
    return next((row for lock in locks for row in read_lock(lock) if row.serves(request)), None)


def lock_row(request: WheelRequest, wheel: Path) -> LockRow:
    """Return the row that pins `request` to the file `wheel`."""
    return LockRow(
        requirement=request.requirement,
        python=request.python,
        machine=request.machine,
        libc=request.libc,
        file=wheel.name,
        sha256=sha256_file(wheel),
    )


def lock_text(rows: Iterable[LockRow]) -> str:
    """Return the text of a lock file, each row once, sorted."""
    lines = [
        "# Which wheel serves which requirement where. Made by: python -m edgeship.bundle.lock",
        "wheels:",
    ]
    for row in sorted(set(rows), key=lambda r: (r.requirement, r.machine, r.libc, r.python, r.file)):
        lines.append(f"  - requirement: {row.requirement}")
        lines.append(f'    python: "{row.python}"')
        lines += [f"    {name}: {getattr(row, name)}" for name in ("machine", "libc", "file", "sha256")]
    return "\n".join(lines) + "\n"


def fetch_wheel(request: WheelRequest, *, cache: Path, progress: Progress, lock: Path = SHIPPED_LOCK) -> Path:
    """Return the path of the wheel for `request` in the cache, its digest equal to the lock's.

    A requirement that the shipped lock does not know is pinned in the cache's own lock when first fetched,
    and said so. Raises ToolError `wheel-not-available`, `wheel-fetch-failed` or `wheel-changed`.
    """
    folder = cache / "wheels"
    user_lock = cache / USER_LOCK
    row = find_row(request, lock, user_lock)
    if row and (folder / row.file).is_file() and sha256_file(folder / row.file) == row.sha256:
        return folder / row.file
    progress.step(f"fetch {request.requirement} for Python {request.python} on {request.machine}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgeship-pip-", dir=folder) as scratch:
        wheel = download(request, Path(scratch), row.platforms if row else request.tags)
        digest = sha256_file(wheel)
        if row and digest != row.sha256:
            raise ToolError(
                "wheel-changed",
                f"the package index gave another {request.requirement} than the lock names",
                context={"file": wheel.name, "sha256": digest, "wanted": f"{row.file}, {row.sha256}"},
                hint="do not use it; if the change is wanted: python -m edgeship.bundle.lock",
            )
        final = folder / wheel.name
        wheel.replace(final)
    if not row:
        _pin(user_lock, lock_row(request, final), progress)
    return final


def download(request: WheelRequest, folder: Path, tags: Iterable[str]) -> Path:
    """Return the one wheel of the platform `tags` that pip puts into `folder`. Raises ToolError as
    `fetch_wheel` does."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        request.python,
    ]
    command += [part for tag in tags if tag != "any" for part in ("--platform", tag)]
    command += ["--dest", str(folder), request.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        said = done.stderr.strip()
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"pip did not finish in {PIP_SECONDS} s", True
    wheels = sorted(folder.glob("*.whl"))
    if failed or len(wheels) != 1:
        raise _refusal(request, said)
    return wheels[0]


def _refusal(request: WheelRequest, said: str) -> ToolError:
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR:")]
    context = {
        "for": f"Python {request.python}, {request.machine}, {request.libc} {request.libc_version}",
        "pip said": (errors or said.splitlines() or ["(nothing)"])[-1][:300],
    }
    unreachable = (
        "Failed to establish",
        "Max retries",
        "timed out",
        "did not finish",
        "Temporary failure",
        "No module named pip",
    )
    if any(sign in said for sign in unreachable):
        return ToolError(
            "wheel-fetch-failed",
            f"{request.requirement} is not in the cache and could not be fetched from here",
            context=context,
            hint="build once where the package index can be reached, and hand on that cache with EDGESHIP_CACHE=DIR",
        )
    return ToolError(
        "wheel-not-available",
        f"there is no wheel of {request.requirement} for this kind of device, or no way to the package index",
        context=context,
        hint="pip config list shows which index is asked; name an existing version in the target's"
        " runtime.packages, or let the device's distribution provide it (runtime.distribution_packages)",
    )


def _pin(user_lock: Path, row: LockRow, progress: Progress) -> None:
    part = user_lock.with_suffix(f".{os.getpid()}.part")
    part.write_text(lock_text([*read_lock(user_lock), row]))
    part.replace(user_lock)
    progress.note(f"{row.requirement} was not in the lock: pinned to {row.file} (sha256 {row.sha256[:12]})")
