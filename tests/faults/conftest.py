"""The campaigns of benchmarks/faults as tests: a seeded sample on every run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(autouse=True)
def _tools() -> None:
    """Skip where faults cannot be injected."""
    for tool in ("strace", "/usr/bin/python3"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


@pytest.fixture(scope="module")
def park(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Devices to break, one after the other."""
    from benchmarks.faults.workers import Park

    park = Park(tmp_path_factory.mktemp("faults"))
    yield park
    park.drop()
