"""What all tests share: where real data stands, the order (fast first), and that CI skips nothing."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeship.progress import Silent
from edgeship.toolchain.metadata_writer import SUPPORT, metadata_writer

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
ORDER = {"slow": 1, "devlab": 2}


def load(path: Path, name: str) -> ModuleType:
    """Return the module in the file `path`, which is on no module path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    """The module that makes small `.tflite` files without TensorFlow."""
    return load(ROOT / "tests" / "quantize" / "tiny.py", "tiny_models")


@pytest.fixture(scope="session")
def detectors() -> ModuleType:
    """The module that makes small detectors, whose outputs join boxes and scores."""
    return load(ROOT / "tests" / "quantize" / "detectors.py", "detectors")


@pytest.fixture(scope="session")
def tflite_files() -> ModuleType:
    """The module that builds small `.tflite` files from the schema."""
    return load(ROOT / "tests" / "tflite" / "files.py", "tflite_files")


@pytest.fixture
def builder(tflite_files: ModuleType) -> Any:
    """A fresh builder of one `.tflite`."""
    return tflite_files.Builder()


@pytest.fixture(scope="session")
def make_dense(tflite_files: ModuleType) -> Callable[..., bytes]:
    """What makes the bytes of a dense model: `make_dense(dtype="INT8", batch=[...])`."""
    return lambda **how: tflite_files.dense(tflite_files.Builder(), **how)


@pytest.fixture
def dense_float(make_dense: Callable[..., bytes], tmp_path: Path) -> Path:
    """A float dense model."""
    path = tmp_path / "dense.tflite"
    path.write_bytes(make_dense())
    return path


@pytest.fixture
def dense_int8(make_dense: Callable[..., bytes], tmp_path: Path) -> Path:
    """An int8 dense model."""
    path = tmp_path / "dense_int8.tflite"
    path.write_bytes(make_dense(dtype="INT8"))
    return path


@pytest.fixture(scope="session")
def sample(make_dense: Callable[..., bytes]) -> bytes:
    """The bytes of the int8 dense model."""
    return make_dense(dtype="INT8")


class Notes(Silent):
    """Keeps steps and notes for a test to look at."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def notes() -> Notes:
    """Progress that can be looked at afterwards."""
    return Notes()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder once for all workers of a run: `once("kinds", fill)` calls `fill(folder)`
    in the first of them, and the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has its own folder in that of the run

    def make(name: str, fill: Callable[[Path], object] = lambda _: None) -> Path:
        folder, done = base / f"once-{name}", base / f"once-{name}.done"
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed in the middle
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and labelled data beside the checkout."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs the shared model and data folder beside the checkout")
    return folder


@pytest.fixture(scope="session")
def lab() -> Iterator[Any]:
    """The lab of simulated devices under LAB_WORK; what this process started is taken down at the end.

    Devices must be named `NAME-<pid>-...` with this process's id, so that parallel workers keep to their own.
    """
    work = os.environ.get("LAB_WORK")
    if not work or not (Path(work) / "rootfs" / "arm64" / ".lab-complete").exists():
        pytest.skip("no device images: set LAB_WORK and run `lab build amd64 arm64`")
    made = load(SHARED / "devlab" / "lab.py", "lab").Lab(work)
    yield made
    mine = f"*-{os.getpid()}-*"
    if any((made.work / "dev").glob(mine)):
        made.down(mine)


@pytest.fixture(scope="session")
def openrc_image(lab: Any) -> Any:
    """The module that starts devices with OpenRC as their init, whose image must have been built."""
    spec = importlib.util.spec_from_file_location("openrc_image", ROOT / "tests" / "openrc_image.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.is_built(lab.work):
        pytest.skip("no OpenRC image: LAB_WORK=... python3 tests/openrc_image.py")
    return module


@pytest.fixture(scope="session")
def stop_services() -> Callable[[Path], None]:
    """What ends the services and dead-men below a device's root, by their ids."""
    found: Callable[[Path], None] = load(ROOT / "tests" / "deploy" / "stopping.py", "stopping").stop_services
    return found


@pytest.fixture
def build_server(tmp_path: Path) -> Iterator[Any]:
    """The OpenSSH server of the tests of connections, as a build host."""
    name = "edgeship_tests_remote"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "remote" / "conftest.py")
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    yield from sys.modules[name].serving(tmp_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--tenth K`: a tenth of the tests, of every room."""
    parser.addoption(
        "--tenth",
        type=int,
        choices=range(10),
        metavar="0..9",
        help="run a tenth of the tests, spread over all files; the ten tenths together are all of them",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first, then those that convert models, then those that start devices; of all, the tenth asked for."""
    if (tenth := config.getoption("--tenth")) is not None:
        # by name, so that a tenth stays what it is when tests come and go elsewhere
        others = [item for item in items if zlib.crc32(item.nodeid.encode()) % 10 != tenth]
        config.hook.pytest_deselected(items=others)
        left_out = set(map(id, others))
        items[:] = [item for item in items if id(item) not in left_out]
    items.sort(key=lambda item: max((ORDER.get(mark.name, 0) for mark in item.iter_markers()), default=0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, with the reason."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("shared") and not (SHARED / "data").is_dir():
        pytest.skip("needs the shared model and data folder beside the checkout")
    if item.get_closest_marker("support") and metadata_writer()[0] != SUPPORT:
        pytest.skip("needs tflite-support: CPython 3.11 on x86-64")
    if item.get_closest_marker("devlab"):
        if not (SHARED / "devlab" / "lab.py").is_file():
            pytest.skip("needs the lab of simulated devices beside the checkout")
        if os.geteuid() != 0:
            pytest.skip("needs root: the lab makes namespaces and mounts")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """In CI, name what was skipped as a failure: nothing may skip there."""
    skipped = terminalreporter.stats.get("skipped", [])
    if os.environ.get("EDGESHIP_NO_SKIP") and skipped:
        terminalreporter.section("skipped, but nothing may skip here")
        for report in skipped:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a run that skipped something into a failed one where nothing may skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("EDGESHIP_NO_SKIP") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
