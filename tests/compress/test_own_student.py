"""A student of one's own: files, functions, what is refused, and by what it is told apart. In one worker:
`student_forms.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeship.compress.own import digest_of
from edgeship.toolchain import run_worker

CHECKS = ("a_keras_file", "a_tf_keras_file", "a_function", "several_ends", "what_is_refused")


@pytest.fixture(scope="session")
def found(once: Callable[..., Path], tiny_models: ModuleType) -> dict[str, str]:
    """What `student_forms.run_all` says."""

    def fill(folder: Path) -> None:
        tiny_models.classifier(folder / "teacher.tflite")
        np.save(folder / "x.npy", tiny_models.pictures(160))
        here = (Path(__file__).parent,)
        value = run_worker("student_forms:run_all", {"folder": str(folder)}, python_path=here).value
        (folder / "found.json").write_text(json.dumps(value))

    told: dict[str, str] = json.loads((once("students", fill) / "found.json").read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_student(name: str, found: dict[str, str]) -> None:
    assert found.keys() == set(CHECKS)
    assert not found[name], found[name]


def test_what_a_setting_names_is_told_apart_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "nets" / "parts").mkdir(parents=True)
    (folder / "small.keras").write_bytes(b"one")
    (folder / "mine.py").write_text("from nets import wide\nimport json\n")
    (folder / "nets" / "__init__.py").write_text("from .parts import blocks\n")
    (folder / "nets" / "wide.py").write_text("WIDTH = 8\n")
    (folder / "nets" / "parts" / "__init__.py").touch()
    (folder / "nets" / "parts" / "blocks.py").write_text("DEPTH = 2\n")
    (folder / "unread.py").write_text("")
    monkeypatch.chdir(tmp_path)

    def digests() -> list[str]:
        return [digest_of(name, str(folder)) for name in ("small.keras", "mine:build", "nets.wide:build")]

    first = digests()
    assert all(first) and len(set(first)) == 3
    (folder / "unread.py").write_text("other = 1\n")
    assert digests() == first
    (folder / "nets" / "parts" / "blocks.py").write_text("DEPTH = 3\n")
    assert [a == b for a, b in zip(digests(), first, strict=True)] == [True, False, False]
    (folder / "small.keras").write_bytes(b"two")
    assert digests()[0] != first[0]
    assert digest_of("json:loads", str(folder)) == digest_of("nowhere.h5", str(folder)) == ""
    assert digest_of("project/small.keras", None) == digest_of("small.keras", str(folder))
