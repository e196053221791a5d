"""The island's own rules: Python 3.7, the standard library alone, nothing of edgeship."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from island_lab import ROOT, RUNTIME

FILES = sorted(RUNTIME.glob("*.py"))
# Only the engine that needs them may import what is not in the standard library.
ALLOWED = {"es_tflite.py": {"numpy"}}


def test_python_3_7_is_enough() -> None:
    vermin = "import vermin, sys; sys.exit(vermin.main())"
    command = [sys.executable, "-c", vermin, "-t=3.7-", "--no-tips", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Minimum required versions: 3.7" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_are_siblings_or_the_standard_library(path: Path) -> None:
    siblings = {file.stem for file in FILES}
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the modules lie side by side and import one another by name"
            names.add((node.module or "").split(".")[0])
    strange = names - siblings - set(sys.stdlib_module_names) - {"_sha256"} - ALLOWED.get(path.name, set())
    assert not strange
    assert not {"eval", "exec"} & {
        n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }


def test_module_names_shadow_nothing() -> None:
    """The island's folder comes first on the path: a module named like another package's would be taken for it."""
    for path in FILES:
        assert path.name in ("__init__.py", "main.py") or path.name.startswith("es_"), path.name


def test_nothing_of_edgeship_imports_the_island() -> None:
    for path in (ROOT / "edgeship").rglob("*.py"):
        if RUNTIME not in path.parents:
            assert "edgeship.runtime" not in path.read_text(), path


def test_serving_loads_neither_asyncio_nor_numpy() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import es_server, es_litert, es_model
costly = {"asyncio", "numpy", "hashlib", "http", "email", "argparse", "logging", "ssl", "subprocess"}
print(sorted(costly & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(RUNTIME)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
