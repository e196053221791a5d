"""What the tests on trust share: keys, the helper as a module, and a device that was never told anything."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeship.device.ship import helper_source

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:  # the tests' own words, imported by a plain name
    sys.path.append(HERE)

from trust_lab import NOW, set_clock  # noqa: E402


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three Ed25519 keys, an ECDSA and an RSA one, without passphrases."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name, kind in (
        ("ann", "ed25519"),
        ("bob", "ed25519"),
        ("eve", "ed25519"),
        ("old", "ecdsa"),
        ("rsa", "rsa"),
    ):
        path = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(path)], check=True)
        made[name] = path
    return SimpleNamespace(**made)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The assembled helper as a module, its clock at NOW."""
    path = tmp_path / "es.py"
    path.write_bytes(helper_source())
    spec = importlib.util.spec_from_file_location("es_helper_under_test", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    set_clock(module, monkeypatch, NOW)
    return module


@pytest.fixture
def place(helper: ModuleType, tmp_path: Path) -> Any:
    """An empty device that was never told anything."""
    made = helper.Place(str(tmp_path / "device"), "kws")
    made.prepare()
    return made
