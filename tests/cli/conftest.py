"""What the command-line tests share: the command itself, a tiny model with data, and the published schemas."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeship.cli.main import run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Said:
    """What a command said: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        """Return stdout as the one JSON document it must be."""
        return json.loads(self.out)


@pytest.fixture
def edgeship(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Callable[..., Said]:
    """Run the command line in an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESHIP_CACHE", str(cache))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers questions
    monkeypatch.setenv("EDGESHIP_DEBUG", "1")  # a bug must fail the test, not become an error text

    def call(*words: object) -> Said:
        capfd.readouterr()
        status = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Said(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all command-line tests of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny float classifier (model.tflite, 4 classes) and calibration and evaluation data."""
    folder = tmp_path_factory.mktemp("tiny")
    spec = importlib.util.spec_from_file_location("tiny_models", ROOT / "tests" / "quantize" / "tiny.py")
    assert spec and spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    maker.classifier(folder / "model.tflite")
    x = maker.pictures(64, seed=3)
    y = np.arange(64) % 4
    np.savez(folder / "calibration.npz", x=x[:40])
    np.savez(folder / "eval.npz", x=x[40:], y=y[40:])
    return folder


@pytest.fixture(scope="session")
def valid() -> Callable[[str, Any], None]:
    """Check a document against a published schema."""

    def check(name: str, document: Any) -> None:
        schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(document)

    return check
