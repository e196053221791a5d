"""Fixtures of the runtime's tests; the tools behind them are in island_lab.py beside this file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# The island's modules import one another by plain names, as they do on a device; so do these tests' helpers.
for folder in (HERE, HERE.parents[1] / "edgeship" / "runtime"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from island_lab import IO, MakeRelease, ReleaseDir, Serve, Service, make_release  # noqa: E402


@pytest.fixture(scope="session")
def models(once: Callable[..., Path]) -> Path:
    """A folder of tiny models; made in a process of its own, because that imports ai_edge_litert."""
    script = Path(__file__).with_name("make_models.py")
    return once(
        "runtime-models",
        lambda folder: subprocess.run([sys.executable, str(script), str(folder)], check=True),
    )


def releases_in(folder: Path, models: Path) -> MakeRelease:
    """A function (model's name, limits=..., labels=..., engine=..., inputs=..., outputs=...) -> ReleaseDir there."""

    def make(name: str = "dense_f32", **changes: Any) -> ReleaseDir:
        inputs, outputs = IO[name]
        made = {"inputs": inputs, "outputs": outputs, **changes}
        return make_release(folder / f"release-{name}", models / f"{name}.tflite", **made)

    return make


@pytest.fixture
def release(models: Path, tmp_path: Path) -> MakeRelease:
    """Makes releases in the test's own folder."""
    return releases_in(tmp_path, models)


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder with so short a path that unix sockets fit in it, for Linux takes 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def near_release(models: Path, near: Path) -> MakeRelease:
    """Makes releases where a unix socket can stand beside them."""
    return releases_in(near, models)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function (ReleaseDir, *arguments, environment=...) -> a ready Service; ended with the test."""
    running: list[Service] = []

    def start(release_dir: ReleaseDir, *arguments: str, environment: dict[str, str] | None = None) -> Service:
        service = Service(release_dir, *arguments, environment=environment)
        running.append(service)
        return service.wait()

    yield start
    for service in running:
        service.kill()


@pytest.fixture(scope="module")
def dense_service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One running service of the float model for all the tests of a file that leave it as they found it."""
    folder = tmp_path_factory.mktemp("dense") / "release"
    inputs, outputs = IO["dense_f32"]
    made = make_release(
        folder, models / "dense_f32.tflite", inputs, outputs, labels=["up", "down", "sideways"]
    )
    service = Service(made).wait()
    yield service
    service.kill()
