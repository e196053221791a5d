"""Folders of small profiles for the tests, and the shipped ones."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeship.assets import targets_folder

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def shipped() -> Path:
    return targets_folder()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `targets/<name>.yaml` with a text (and, unless told otherwise, name, title and summary before it)."""
    folder = tmp_path / "targets"
    folder.mkdir()

    def make(name: str, text: str, *, head: bool = True) -> Path:
        lead = f"name: {name}\ntitle: T\nsummary: S\n" if head else ""
        path = folder / f"{name}.yaml"
        path.write_text(lead + textwrap.dedent(text))
        return path

    return make
