"""The built wheel, installed into an empty environment: it carries its targets, templates and runtime, and works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def ignored(path: Path) -> bool:
    """Return whether git would not know a file: caches of tools."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(ROOT).parts)


def test_it_carries_what_the_checkout_has(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("targets", "templates"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not ignored(path):
                assert f"edgeship/_assets/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "edgeship").rglob("*"):
        if path.is_file() and not ignored(path):
            assert str(path.relative_to(ROOT)) in names
    assert not [n for n in names if n.startswith(("tests/", "docs/"))]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_works_in_an_empty_environment(
    wheel: Path, tmp_path: Path, stop_services: Callable[[Path], None]
) -> None:
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "EDGESHIP"))}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def call(*words: str | Path) -> str:
        done = subprocess.run(
            [str(w) for w in words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    pip_home = {"HOME": os.environ.get("HOME", str(tmp_path))}  # so that pip finds its own cache
    # modules are compiled as they are imported: most of what is installed never is
    install = [str(python), "-m", "pip", "install", "-q", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, env=env | pip_home)
    call(python, "-m", "pip", "check")
    edgeship = home / "bin" / "edgeship"
    assert call(edgeship, "--version").startswith("edgeship, version ")
    listed = json.loads(call(edgeship, "target", "list", "--json"))["targets"]
    assert {"host", "coral-dev-board"} <= {t["name"] for t in listed}
    assert "extends: edgetpu" in call(edgeship, "target", "show", "coral")

    # The whole job, from the wheel alone: train, convert, quantize, bundle, deploy to a local device, ask it.
    demo = json.loads(call(edgeship, "demo", "--json", "--keep", "--folder", tmp_path / "demo"))
    assert demo["deploy"]["state"] == "committed"
    assert demo["service"]["asked"] == 100 and demo["service"]["right"] >= 90
    bundle = demo["build"]["targets"][0]["bundle"]

    # A ready bundle deploys where TensorFlow and everything heavy cannot even be imported.
    blocked = (
        "import sys\n"
        "for name in ('tensorflow', 'tf_keras', 'keras', 'tflite_support', 'ai_edge_litert', 'ai_edge_quantizer'):\n"
        "    sys.modules[name] = None\n"
        "from edgeship.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    host = f"local:{tmp_path / 'second'}"
    try:
        said = call(python, "-c", blocked, "deploy", bundle, "--host", host, "--json")
        assert json.loads(said)["state"] == "committed"
    finally:
        for folder in (tmp_path / "second", tmp_path / "demo" / "device"):
            stop_services(folder)
