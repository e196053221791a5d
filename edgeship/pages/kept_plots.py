"""Plots that were drawn before of the same document: `kept_plots(...)`. Drawing is most of what a page costs."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeship.assets import sources_digest
from edgeship.digest import sha256_bytes
from edgeship.whole import whole

MOST = 32
"""Documents whose plots are kept, the last ones used."""


def kept_plots(document: dict[str, Any], folder: Path, draw: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `draw` returns, JSON, of a document: from `folder` where this edgeship and this matplotlib drew it of
    the same document before. How long the search took is in no plot."""
    told = {name: value for name, value in document.items() if name != "seconds"}
    by = [told, sources_digest(), importlib.metadata.version("matplotlib")]
    path = folder / f"{sha256_bytes(json.dumps(by, sort_keys=True).encode())[:32]}.json"
    try:
        plots: dict[str, Any] = json.loads(path.read_bytes())
        path.touch()
        return plots
    except (OSError, ValueError):
        plots = draw()
    with whole(path) as part:
        part.write_text(json.dumps(plots))
    for old in sorted(folder.glob("*.json"), key=lambda p: -p.stat().st_mtime)[MOST:]:
        old.unlink(missing_ok=True)
    return plots
