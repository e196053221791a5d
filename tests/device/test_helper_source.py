"""The helper as one file: deterministic, Python 3.7, every name once, and working under the oldest Python there is."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from edgeship.device.ship import MODULES, helper_sha256, helper_source


def test_the_same_bytes_every_time() -> None:
    code = "import sys; from edgeship.device.ship import helper_sha256; sys.stdout.write(helper_sha256())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {helper_sha256()}


def test_every_module_is_in_it_and_every_name_is_defined_once() -> None:
    folder = resources.files("edgeship.device.helper")
    sources = {p.name.removesuffix(".py") for p in folder.iterdir() if p.name.endswith(".py")}
    assert sources - {"__init__"} == set(MODULES)
    names: list[str] = []
    for node in ast.parse(helper_source()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [t.id for t in node.targets if isinstance(t, ast.Name)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_only_the_standard_library_of_3_7() -> None:
    tree = ast.parse(helper_source(), feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_vermin_agrees(tmp_path: Path) -> None:
    path = tmp_path / "es.py"
    path.write_bytes(helper_source())
    vermin = Path(sys.executable).with_name("vermin")
    if not vermin.exists():
        pytest.skip("vermin is not installed")
    done = subprocess.run([vermin, "-t=3.7-", "--violations", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def oldest_python() -> str:
    """Return a Python 3.7 where this machine has one, else the one that runs the tests."""
    kept = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.7.*/bin/python"))]
    for python in (*kept, shutil.which("python3.7")):  # which may be a version manager's stand-in for none
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return sys.executable


def test_it_answers_under_the_oldest_python_here(tmp_path: Path) -> None:
    python = oldest_python()
    path = tmp_path / "es.py"
    path.write_bytes(helper_source())
    request = {"verb": "hello", "root": str(tmp_path / "root"), "app": "kws", "release": "0" * 64}
    done = subprocess.run(
        [python, "-I", "-B", str(path)], input=json.dumps(request) + "\n", capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    reply = json.loads(done.stdout)
    assert reply["ok"] and reply["record"]["state"] == "NONE" and not reply["unchanged"]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"verb": "fly", "root": "/r", "app": "a"}, "bad-request", "no verb 'fly'"),
        ({"verb": "hello", "root": "r", "app": "a"}, "bad-request", "root 'r' is not an absolute path"),
        ({"verb": "hello", "root": "/r", "app": "../x"}, "bad-request", "app '../x' is not a plain name"),
        ({"verb": "put", "root": "/r", "app": "a"}, "bad-request", "the request has no 'fence'"),
        ({"verb": "put", "root": "/r", "app": "a", "fence": -1, "blobs": []}, "bad-request", "fence is -1"),
        ({"verb": "have", "root": "/r", "app": "a", "blobs": 7}, "helper-bug", "TypeError"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, request_: dict[str, Any], code: str, words: str) -> None:
    path = tmp_path / "es.py"
    path.write_bytes(helper_source())
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(path)],
        input=json.dumps(request_) + "\n",
        capture_output=True,
        text=True,
    )
    reply = json.loads(done.stdout)
    assert not reply["ok"] and reply["code"] == code and words in reply["reason"]
