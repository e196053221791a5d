"""Ending what serves from a device's folder: by the ids it noted, after a look that they are still its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path


def stop_services(root: Path) -> None:
    """End the services and dead-men below a device root that belong to this test."""
    for name in ("supervisor.json", "deadman.json"):
        for path in root.glob(f"apps/*/run/{name}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(path.read_text())
                parts = [told.get("supervisor"), told.get("child"), told.get("process")]
                for pid in [part["pid"] for part in parts if part]:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if str(root).encode() in command:
                        os.kill(pid, signal.SIGKILL)
