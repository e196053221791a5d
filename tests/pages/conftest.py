"""What tests of pages share: the document of a search that looks like a real one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def document() -> Callable[[], dict[str, Any]]:
    """What makes a fresh `edgeship.compress/1` document."""
    path = Path(__file__).with_name("sample.py")
    spec = importlib.util.spec_from_file_location("pages_sample", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[], dict[str, Any]] = module.document
    return made
