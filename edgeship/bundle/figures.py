"""How long a variant takes on this machine, and how much memory loading it takes: `host_figures`.

The runtime for devices itself measures, in a process of its own, so that the figures mean what a device's own figures
mean later. What was measured once on a machine is kept: building the same again gives the same bundle.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeship.digest import sha256_json
from edgeship.values import Artifact
from edgeship.whole import whole

FORM = 1
"""Raised when figures are measured in another way."""
SECONDS = 1.0
LIMIT = 120.0
DIGITS = 4
MEASURED = ("seconds", "p95_seconds", "cold_seconds", "threads", "memory_bytes")


def host_figures(
    twin: Path, name: str, artifact: Artifact, engine: Mapping[str, Any], cache: Path
) -> dict[str, Any] | str:
    """Return MEASURED of the variant `name` of a release laid out in folder `twin`, or why there are none.

    Seconds are those of one run at batch 1 with as many threads as serve it best here: the median, the 95th percentile,
    and from loading to the first answer. `memory_bytes` is what resident memory grew by.
    """
    key = {
        "form": FORM,
        "model": artifact.sha256,
        "engine": [engine[part] for part in ("name", "version", "delegate")],
        "machine": [platform.node(), platform.machine(), _processor()],
    }
    kept = cache / "figures" / f"{sha256_json(key)[:32]}.json"
    if (found := _read(kept)) is not None:
        return found
    command = [sys.executable, "-I", "-B", str(twin / "runtime" / "main.py"), "figures"]
    command += ["--release", str(twin), "--variant", name, "--seconds", str(SECONDS)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        document = json.loads(done.stdout)
        measured = {part: _rounded(document[part]) for part in MEASURED}
    except subprocess.TimeoutExpired:
        return f"nothing within {LIMIT:.0f} s"
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "the runtime measured nothing"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with whole(kept) as part:
        part.write_text(json.dumps(measured))
    return measured


def _read(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text())
        return {part: held[part] for part in MEASURED}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _processor() -> str:
    """Return the processor's name, where the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
