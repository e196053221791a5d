"""The diffs that CONTRIBUTING shows are real: they are applied to a copy of the tree, and what they add is used."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and the targets, with both diffs applied."""
    for name in ("edgeship", "targets", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    diffs = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(diffs) == 2
    for diff in diffs:
        new = re.match(r"--- /dev/null\n\+\+\+ b/(\S+)\n@@.*?@@\n", diff)
        if new:
            lines = diff[new.end() :].splitlines()
            assert all(line.startswith("+") for line in lines)
            (tmp_path / new[1]).write_text("".join(line[1:] + "\n" for line in lines))
            continue
        head = re.match(r"--- a/(\S+)\n\+\+\+ b/\1\n@@\n", diff)
        assert head, diff
        lines = diff[head.end() :].splitlines()
        before = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
        after = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
        path = tmp_path / head[1]
        assert path.read_text().count(before) == 1, "the diff no longer fits the file"
        path.write_text(path.read_text().replace(before, after))
    return tmp_path


def call(tree: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_target(copy: Path) -> None:
    said = call(
        copy,
        "from edgeship.assets import targets_folder as t; from edgeship.profile import load_profile as l;"
        "p = l('n2-plus', folders=[t()]); print(t().parent, p.name, p.architecture, p.runtime.engine)",
    )
    assert said.split() == [str(copy), "odroid-n2-plus", "aarch64", "litert"]


@pytest.mark.slow
def test_the_recipe(copy: Path, tmp_path: Path) -> None:
    """The new recipe derives a file that holds what its name says, by the generic code alone."""
    said = call(
        copy,
        f"""
import sys, importlib.util, numpy as np
from pathlib import Path
spec = importlib.util.spec_from_file_location("tiny", {str(ROOT / "tests/quantize/tiny.py")!r})
tiny = importlib.util.module_from_spec(spec); spec.loader.exec_module(tiny)
from edgeship.assets import targets_folder
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import load_profile
from edgeship.progress import Silent
from edgeship.quantize.derive import derive
from edgeship.quantize.recipes import RECIPES
from edgeship.values import PreparedSamples
work = Path({str(tmp_path)!r}) / "made"; work.mkdir()
tiny.classifier(work / "m.tflite"); np.save(work / "c.npy", tiny.pictures(40))
model = to_float_tflite(open_model(work / "m.tflite"), work / "float", progress=Silent())
profile = load_profile("host", folders=[targets_folder()])
samples = PreparedSamples(paths=(work / "c.npy",), sha256="0" * 64)
made = derive(model, RECIPES["int8-full"], samples, work / "out", profile=profile)
print(made.recipe, made.precision.weights, made.precision.activations)
""",
    )
    assert said.split() == ["static_wi8_ai8_full", "int8", "int8"]
