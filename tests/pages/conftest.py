"""What tests of pages share: the document of a search that looks like a real one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def load_beside() -> Callable[[str], ModuleType]:
    """What loads a module of this folder, which is on no module path."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"pages_{name}", Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def document(load_beside: Callable[[str], ModuleType]) -> Callable[[], dict[str, Any]]:
    """What makes a fresh `edgeship.compress/1` document."""
    made: Callable[[], dict[str, Any]] = load_beside("sample").document
    return made
