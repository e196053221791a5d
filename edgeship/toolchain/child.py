"""The other side of `run_worker`: reads the request, calls the function, writes the reply."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeship.errors import EdgeshipError, ToolError

MIB = 1 << 20
KEPT = 900
"""Characters kept of each end of a tool's message."""


def peak_rss_mb() -> float:
    """Return this process's own peak resident memory, MiB (getrusage would count the parent's before exec)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def shortened(text: str) -> str:
    """Return a long message with its middle left out: both ends tell what matters."""
    return text if len(text) <= 2 * KEPT else f"{text[:KEPT]} [...] {text[-KEPT:]}"


def main(home: Path, report_fd: int) -> int:
    """Serve the one request in `home` and return the process's exit status."""
    request = json.loads((home / "request.json").read_text())
    if limit := request["memory_mb"]:
        resource.setrlimit(resource.RLIMIT_AS, (limit * MIB, limit * MIB))
    reports = os.fdopen(report_fd, "w", encoding="utf-8", buffering=1)

    def report(text: str, done: int = 0, total: int = 0, *, note: bool = False) -> None:
        reports.write(json.dumps({"text": text, "done": done, "total": total, "note": note}) + "\n")

    reply: dict[str, Any]
    try:
        module, _, name = request["function"].partition(":")
        value = getattr(importlib.import_module(module), name)(request["payload"], report)
        reply = {"value": value}
    except EdgeshipError as error:
        reply = {"error": error.as_json()}
    except MemoryError:
        reply = {
            "error": ToolError(
                "worker-out-of-memory",
                f"{request['function']} needs more "
                + (f"than the {limit} MiB it may take" if limit else "memory than this machine can give"),
                hint="use fewer samples, close what else takes memory, or use a machine with more of it",
            ).as_json()
        }
    except Exception as error:  # a tool may raise anything: it becomes data, with its trace in the log
        traceback.print_exc()
        text = str(error).strip() or "(no message)"
        reply = {
            "error": ToolError(
                "tool-failed",
                f"{request['function']} failed: {type(error).__name__}: {shortened(text)}",
                hint="if this looks like a bug, report it with this text and the command you typed",
            ).as_json()
        }
    reply["peak_rss_mb"] = peak_rss_mb()
    partial = home / "reply.part"
    partial.write_text(json.dumps(reply))
    partial.rename(home / "reply.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
