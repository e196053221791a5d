"""paramiko, without all that it imports for one line of ssh_config.

paramiko imports invoke, and with it a second YAML, asyncio and unittest, to run the command of a `Match exec`. That is
a third of what a verb that asks one device costs, so while paramiko is imported a stand-in that can do this and no more
takes invoke's place. Who has imported invoke or paramiko before keeps what is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any


def run(command: str, **_options: Any) -> SimpleNamespace:
    """Run the command of a `Match exec` in the user's shell, as OpenSSH does; `ok`: whether it ended with 0."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    done = subprocess.run(
        [shell, "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
    )
    return SimpleNamespace(ok=done.returncode == 0)


def _import() -> Any:
    stands_in = "invoke" not in sys.modules and "paramiko" not in sys.modules
    if stands_in:
        sys.modules["invoke"] = ModuleType("invoke")
        sys.modules["invoke"].run = run  # type: ignore[attr-defined]
    try:
        import paramiko
    finally:
        if stands_in:
            del sys.modules["invoke"]
    return paramiko


paramiko = _import()
