"""Environments of single tools: where they are, what is in them, how they are made and found.

Each is a virtual environment under `<cache>/toolchains/<tool>-<digest>`, where the digest covers what was asked for
and the Python it is for: another pin is another folder, and an older edgeship keeps using its own. A folder counts
only with its record, which is written last.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeship.digest import canonical_json, sha256_json
from edgeship.errors import ToolError
from edgeship.progress import Progress
from edgeship.toolchain.tools import TOOLS, Tool

RECORD = "edgeship-toolchain.json"
INSTALL_LIMIT_S = 1800.0
LAST_WORDS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A tool that can be run."""

    tool: Tool
    command: tuple[str, ...]
    """What an argument list begins with."""
    version: str
    where: str
    packages: dict[str, str]
    """Everything in its environment, name -> version; empty where it shares ours."""
    python_path: tuple[Path, ...] = ()
    """Of a tool that is imported beside our TensorFlow: what goes before everything else on a worker's module path."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return EDGESHIP_CACHE, XDG_CACHE_HOME/edgeship or ~/.cache/edgeship."""
    if own := environment.get("EDGESHIP_CACHE"):
        return Path(own)
    base = environment.get("XDG_CACHE_HOME")
    home = environment.get("HOME")
    return (Path(base) if base else (Path(home) if home else Path.home()) / ".cache") / "edgeship"


def folder_of(tool: Tool, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where a tool's environment is or would be."""
    wanted = {
        "requirements": list(tool.requirements),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return cache_folder(environment) / "toolchains" / f"{tool.name}-{sha256_json(wanted)[:12]}"


def find(name: str, environment: Mapping[str, str] = os.environ) -> Installed | None:
    """Return a tool from its own environment, else from ours where it happens to be installed; None: neither."""
    tool = TOOLS[name]
    folder = folder_of(tool, environment)
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        record = None
    if record is not None:
        packages: dict[str, str] = record["packages"]
        return Installed(
            tool=tool,
            command=(str(folder / "bin" / "python"), "-I", "-m", tool.module),
            version=packages.get(tool.package, "unknown"),
            where=str(folder),
            packages=packages,
            python_path=tuple(sorted(folder.glob("lib/python3*/site-packages"))) if tool.beside else (),
        )
    if importlib.util.find_spec(tool.module.partition(".")[0]) is None:
        return None
    try:
        version = importlib.metadata.version(tool.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Installed(
        tool=tool,
        command=(sys.executable, "-m", tool.module),
        version=version,
        where="edgeship's own environment",
        packages={},
    )


def require(name: str, environment: Mapping[str, str] = os.environ) -> Installed:
    """Return a tool that can be run. Raises ToolError `tool-missing`."""
    found = find(name, environment)
    if found is None:
        tool = TOOLS[name]
        raise ToolError(
            "tool-missing",
            f"this needs {name}, which is not installed: {tool.summary}",
            context={"looked in": folder_of(tool, environment)},
            hint=f"edgeship toolchain install {name}",
        )
    return found


def install(name: str, *, progress: Progress, environment: Mapping[str, str] = os.environ) -> Installed:
    """Make a tool's environment, unless it is there, and return the tool.

    Uses pip with the user's own configuration (index, proxy). Raises ToolError `toolchain-install-failed` with pip's
    last words; nothing half-made stays behind.
    """
    tool = TOOLS[name]
    folder = folder_of(tool, environment)
    if not (folder / RECORD).is_file():
        if folder.exists():
            shutil.rmtree(folder)  # an earlier attempt that did not reach its record
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            progress.step(f"making an environment for {name}")
            _run([sys.executable, "-m", "venv", str(folder)], name, environment)
            python = str(folder / "bin" / "python")
            progress.step(f"installing {', '.join(tool.requirements)}")
            pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
            alone = ["--no-deps"] if tool.beside else []
            _run([*pip, "install", "--quiet", *alone, *tool.requirements], name, environment)
            listed = json.loads(_run([*pip, "list", "--format", "json"], name, environment))
            record = {
                "schema": "edgeship.toolchain/1",
                "tool": name,
                "requirements": list(tool.requirements),
                "python": platform.python_version(),
                "packages": {entry["name"]: entry["version"] for entry in listed},
            }
            (folder / f"{RECORD}.part").write_bytes(canonical_json(record))
            (folder / f"{RECORD}.part").rename(folder / RECORD)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    found = find(name, environment)
    if found is None:
        raise ToolError(
            "toolchain-install-failed", f"{name} was installed and cannot be found", context={"in": folder}
        )
    return found


def _run(command: list[str], name: str, environment: Mapping[str, str]) -> str:
    """Run one step of an installation and return its stdout."""
    clean = {k: v for k, v in environment.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command, env=clean, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )
        code: int | None = done.returncode
        said = (done.stderr or done.stdout).strip()
    except subprocess.TimeoutExpired:
        code, said = None, f"no end after {INSTALL_LIMIT_S:.0f} s"
    if code == 0:
        return done.stdout
    raise ToolError(
        "toolchain-install-failed",
        f"{name} could not be installed",
        context={"step": " ".join(command[1:6]), "status": code, "said": said[-LAST_WORDS:] or "(nothing)"},
        hint="check the network and pip's settings: python3 -m pip config list; then edgeship toolchain install "
        + name,
    )
