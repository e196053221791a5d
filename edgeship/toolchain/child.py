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
                "worker-out-of-memory", f"{request['function']} needs more than the {limit} MiB it may take"
            ).as_json()
        }
    except Exception as error:  # a tool may raise anything: it becomes data, with its trace in the log
        traceback.print_exc()
        text = str(error).strip() or "(no message)"
        reply = {
            "error": ToolError(
                "tool-failed",
                f"{request['function']} failed: {type(error).__name__}: {text[-1500:]}",
                hint="if this looks like a bug, report it with the output of the same command and --verbose",
            ).as_json()
        }
    reply["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    partial = home / "reply.part"
    partial.write_text(json.dumps(reply))
    partial.rename(home / "reply.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
