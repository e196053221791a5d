"""What is on this machine of all that edgeship may need, and how to get what is not."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeship.toolchain.environments import cache_folder, find
from edgeship.toolchain.metadata_writer import OWN, metadata_writer
from edgeship.toolchain.tools import TOOLS

State = Literal["ok", "missing", "problem"]
PYTHONS = ((3, 10), (3, 13))
"""The oldest and the newest CPython that edgeship is tested with."""
ROOM_MB = 4000
"""MiB that converting and installing tools may take in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One thing that was looked for."""

    name: str
    state: State
    found: str
    needed_for: str
    fix: str
    """What to do where it is missing; empty where it is there."""


def examine(environment: Mapping[str, str] = os.environ) -> tuple[Health, ...]:
    """Return the state of everything edgeship may need on this machine. Starts only programs that print a version."""
    return (
        _python(),
        *(_package(p, what) for p, what in PACKAGES.items()),
        _metadata(),
        _edgetpu_compiler(environment),
        *(_tool(name, environment) for name in TOOLS),
        _program(
            "ssh", ["-V"], "devices and build hosts over SSH", "install the OpenSSH client", environment
        ),
        _containers(environment),
        *(() if metadata_writer()[0] == OWN else (_libusb(),)),
        _room(environment),
    )


PACKAGES = {
    "tensorflow": "converting .keras, .h5 and SavedModels",
    "ai-edge-quantizer": "quantizing",
    "ai-edge-litert": "running models on this machine",
}


def _python() -> Health:
    oldest, newest = PYTHONS
    good = oldest <= sys.version_info[:2] <= newest
    return Health(
        name="python",
        state="ok" if good else "problem",
        found=f"{platform.python_version()} on {platform.machine()}",
        needed_for="edgeship itself",
        fix="" if good else f"python3.{newest[1]} -m venv, and install edgeship there",
    )


def _package(package: str, what: str) -> Health:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Health(
            name=package, state="missing", found="", needed_for=what, fix="pip install --upgrade edgeship"
        )
    return Health(name=package, state="ok", found=version, needed_for=what, fix="")


def _metadata() -> Health:
    package, version = metadata_writer()
    found = f"{package} {version}" + (", with edgeship's own writer" if package == OWN else "")
    return Health(name="metadata", state="ok", found=found, needed_for="writing metadata into models", fix="")


def _edgetpu_compiler(environment: Mapping[str, str]) -> Health:
    what = "compiling for the Edge TPU (targets coral-...)"
    elsewhere = environment.get("EDGESHIP_EDGETPU_COMPILER", "")
    if elsewhere and elsewhere != "local":
        return Health(
            name="edgetpu_compiler",
            state="ok",
            found=f"used at {elsewhere} (not asked now)",
            needed_for=what,
            fix="",
        )
    path = shutil.which("edgetpu_compiler", path=environment.get("PATH"))
    if path is None:
        fix = (
            "install it from coral.ai/docs/edgetpu/compiler (x86-64 Linux; it may not be passed on), or set "
            "EDGESHIP_EDGETPU_COMPILER=ssh:user@host or container:IMAGE"
        )
        return Health(name="edgetpu_compiler", state="missing", found="", needed_for=what, fix=fix)
    said = _ask([path, "--version"], environment)
    version = re.search(r"version\s+(\S+)", said)
    if version is None:
        fix = f"run {path} --version by hand" + (
            "" if platform.machine() == "x86_64" else ": it runs on x86-64 only"
        )
        return Health(
            name="edgetpu_compiler", state="problem", found=f"{path}: {said[:120]}", needed_for=what, fix=fix
        )
    return Health(
        name="edgetpu_compiler", state="ok", found=f"{version[1]} at {path}", needed_for=what, fix=""
    )


def _tool(name: str, environment: Mapping[str, str]) -> Health:
    tool, found = TOOLS[name], find(name, environment)
    if found is None:
        return Health(
            name=name,
            state="missing",
            found="",
            needed_for=tool.summary,
            fix=f"edgeship toolchain install {name}",
        )
    return Health(
        name=name, state="ok", found=f"{found.version} in {found.where}", needed_for=tool.summary, fix=""
    )


def _program(name: str, arguments: list[str], what: str, fix: str, environment: Mapping[str, str]) -> Health:
    path = shutil.which(name, path=environment.get("PATH"))
    if path is None:
        return Health(name=name, state="missing", found="", needed_for=what, fix=fix)
    lines = _ask([path, *arguments], environment).splitlines()
    return Health(name=name, state="ok", found=lines[0] if lines else path, needed_for=what, fix="")


def _containers(environment: Mapping[str, str]) -> Health:
    """Return the first engine that works: docker's client may be there without its daemon."""
    what, found = "edgetpu_compiler in a container image", ""
    for name in ("docker", "podman"):
        if shutil.which(name, path=environment.get("PATH")):
            version = _program(name, ["--version"], what, "", environment).found
            if _answers([name, "version"], environment):
                return Health(name="containers", state="ok", found=version, needed_for=what, fix="")
            found = found or f"{version}, which does not answer"
    return Health(
        name="containers",
        state="missing",
        found=found,
        needed_for=what,
        fix="start its daemon (docker version says more), or install podman, where you want that"
        if found
        else "install docker or podman, where you want that",
    )


def _libusb() -> Health:
    what = "writing metadata into models (tflite-support)"
    try:
        return Health(
            name="libusb",
            state="ok",
            found=f"libusb-package {importlib.metadata.version('libusb-package')}",
            needed_for=what,
            fix="",
        )
    except importlib.metadata.PackageNotFoundError:
        system = ctypes.util.find_library("usb-1.0")
    if system:
        return Health(name="libusb", state="ok", found=system, needed_for=what, fix="")
    return Health(name="libusb", state="missing", found="", needed_for=what, fix="pip install libusb-package")


def _room(environment: Mapping[str, str]) -> Health:
    folder = cache_folder(environment)
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free // (1 << 20)
    good = free >= ROOM_MB and os.access(place, os.W_OK)
    return Health(
        name="cache",
        state="ok" if good else "problem",
        found=f"{folder}, {free:,} MiB free" + ("" if os.access(place, os.W_OK) else ", not writable"),
        needed_for="converted models, tools, downloaded runtimes",
        fix="" if good else f"make {ROOM_MB:,} MiB of room, or set EDGESHIP_CACHE to another folder",
    )


def _answers(command: list[str], environment: Mapping[str, str]) -> bool:
    """Return whether a program ends well."""
    done = _started(command, environment)
    return not isinstance(done, str) and done.returncode == 0


def _ask(command: list[str], environment: Mapping[str, str]) -> str:
    """Return what a program says of its version, on whichever stream; an explanation where it cannot be started."""
    done = _started(command, environment)
    return done if isinstance(done, str) else (done.stdout.strip() or done.stderr.strip()).strip()


def _started(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | str:
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be started: {error}"
