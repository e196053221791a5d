"""A log of decisions run again on this machine, by the runtime that a release has: the same program, as a program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeship.assets import runtime_folder
from edgeship.bundle.seal import extract
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.values import Bundle

PATIENCE = 600.0
"""Seconds a replay may take: a decision takes some 20 us, and a log has some 10,000."""
DECIDES = re.compile(r"(es_govern(?:_[a-z_]+)?|es_decisions)\.py\Z")
"""What of a runtime decides: two releases in which these are the same decide alike. (As in the helper's live.py.)"""


def deciding_files(folder: Path | None = None) -> dict[str, str]:
    """Return name -> SHA-256 of the files of a runtime that decide. None: of this edgeship's own."""
    folder = folder or runtime_folder()
    return {path.name: sha256_file(path) for path in folder.glob("*.py") if DECIDES.match(path.name)}


def replay(log: Path, bundle: Bundle | None = None) -> dict[str, Any]:
    """Return the `edgeship.replay/1` document of a log: whether every decision comes out again, bit for bit.

    `bundle` says whose runtime decides; None: this edgeship's own. Raises InputError `not-a-decision-log`, ToolError
    `replay-failed`.
    """
    if bundle is None:
        return _run(runtime_folder(), log)
    with tempfile.TemporaryDirectory(prefix="edgeship-") as folder:
        extract(bundle, Path(folder))
        return _run(Path(folder) / "runtime", log)


def _run(runtime: Path, log: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", "-B", str(runtime / "main.py"), "replay", "--log", str(log)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        document: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ToolError("replay-failed", f"the runtime could not replay {log}: {error}") from None
    if document.get("error") == "bad-log":
        raise InputError(
            "not-a-decision-log",
            f"{log} is no log of decisions: {document.get('reason')}",
            context={"file": log},
            hint="edgeship replay --host HOST fetches one from a device",
        )
    if "error" in document:
        raise ToolError(
            "replay-failed",
            f"the runtime could not replay {log}: {document['error']}: {document.get('reason', '')}",
        )
    return document
