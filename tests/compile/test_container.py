"""The compiler in a container image, run by a real podman: the image has a compiler that replays recorded outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeship.compile.edgetpu.container import ContainerPlace
from edgeship.compile.edgetpu.driver import Compilation, Wanted, compile_models
from edgeship.compile.edgetpu.places import find_place
from edgeship.compile.running import LocalRunner
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.progress import Silent

NAME = "mobilenet_v1_0.25_128_quant"
GOOD = "Edge TPU Compiler version 16.0.384591198\nNumber of Edge TPU subgraphs: 1\nTotal number of operations: 31\n"
APPLETS = ("sh", "cat", "cp", "sleep", "ls", "pwd", "id")

pytestmark = [pytest.mark.shared, pytest.mark.root, pytest.mark.slow]


@dataclass
class Engine:
    """A podman with storage and settings of its own, and the environment to find it in."""

    folder: Path
    environment: dict[str, str]

    def image(self, name: str, program: str | None, *, entrypoint: str = "") -> str:
        """Make an image of a minimal root with `program` as its edgetpu_compiler, and return its name."""
        root = self.folder / "root"
        for place in ("bin", "usr/bin", "tmp"):
            (root / place).mkdir(parents=True, exist_ok=True)
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, root / "bin" / "busybox")
        listed = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False).stdout
        for library in (word for word in listed.split() if word.startswith("/")):
            (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library.lstrip("/"))
        for applet in APPLETS:
            (root / "bin" / applet).unlink(missing_ok=True)
            (root / "bin" / applet).symlink_to("busybox")
        if program is not None:
            (root / "usr" / "bin" / "edgetpu_compiler").write_text(f"#!/bin/sh\n{program}\n")
            (root / "usr" / "bin" / "edgetpu_compiler").chmod(0o755)
        packed = self.folder / "root.tar"
        subprocess.run(["tar", "-C", root, "-cf", packed, "."], check=True)
        change = ["--change", f"ENTRYPOINT {entrypoint}"] if entrypoint else []
        self.podman("import", "-q", *change, packed, name)
        return name

    def podman(self, *words: object) -> str:
        done = subprocess.run(
            ["podman", *map(str, words)], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A podman that runs in a system without cgroups of one kind and without a storage driver, as in a container."""
    real = shutil.which("podman")
    if real is None:
        pytest.skip("needs podman: apt install podman")
    # Where the paths of its sockets are too long for the kernel, podman waits 20 s for the end of every container.
    with tempfile.TemporaryDirectory(prefix="es-", dir="/tmp") as folder:
        yield engine_in(Path(folder), real)


def engine_in(home: Path, real: str) -> Engine:
    """Return a podman that keeps all it has in a folder; `real` is the program."""
    (home / "bin").mkdir(parents=True)
    (home / "containers.conf").write_text(
        '[containers]\ncgroups = "disabled"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{home / "images"}"\nrunroot = "{home / "run"}"\n'
    )
    # crun takes no mixture of the two kinds of cgroups: podman sees the newer one alone.
    alone = "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 99"
    (home / "bin" / "podman").write_text(
        f'#!/bin/sh\n[ -e /sys/fs/cgroup/cgroup.controllers ] && exec {real} "$@"\n'
        f'exec unshare -m /bin/sh -c \'{alone}; exec {real} "$@"\' podman "$@"\n'
    )
    (home / "bin" / "podman").chmod(0o755)
    return Engine(
        folder=home,
        environment={
            "PATH": f"{home / 'bin'}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": os.fspath(home),
            "CONTAINERS_CONF": os.fspath(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": os.fspath(home / "storage.conf"),
        },
    )


@pytest.fixture
def recorded(engine: Engine, coral: Path) -> Callable[..., str]:
    """Return a program that says a text and, with status 0, writes what the compiler once wrote."""

    def make(text: str, *, status: int = 0, sleep: float = 0) -> str:
        (engine.folder / "root").mkdir(exist_ok=True)
        shutil.copy(coral / f"{NAME}_edgetpu.tflite", engine.folder / "root" / "recorded")
        (engine.folder / "root" / "said").write_text(text)
        return (
            '[ "$1" = --version ] && { echo Edge TPU Compiler version 16.0.384591198; exit 0; }\n'
            f'sleep {sleep}; cat /said; echo "$@" > arguments; pwd > folder\n'
            "ls /sys/class/net > networks; id -u > user\n"
            f'[ {status} = 0 ] && for a; do [ -f "$a" ] && cp /recorded "${{a%.tflite}}_edgetpu.tflite"; done\n'
            f"exit {status}"
        )

    return make


def run(engine: Engine, image: str, model: Path, out: Path, **more: Any) -> Compilation:
    env = engine.environment
    place = find_place(f"container:{image}", LocalRunner(env), env)
    place.require()
    return compile_models([model], out, Wanted(**more), place, progress=Silent())


def failing(engine: Engine, image: str, model: Path, out: Path, **more: Any) -> EdgeshipError:
    with pytest.raises(ToolError) as error:
        run(engine, image, model, out, **more)
    assert not list(out.glob("*")), "a failure leaves no file"
    return error.value


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_compilation_in_an_image(
    name: str, engine: Engine, recorded: Callable[..., str], coral: Path, tmp_path: Path
) -> None:
    """`docker`: podman under docker's name (podman-docker), which gets docker's arguments."""
    if name == "docker":
        (engine.folder / "bin" / "docker").symlink_to("podman")
        engine.environment["PATH"] = f"{engine.folder / 'bin'}:/usr/sbin:/sbin:/bin:/usr/bin"
    image = engine.image("coral:16", recorded(GOOD), entrypoint='["/bin/cat"]')
    home = tmp_path / "my models"
    home.mkdir()
    shutil.copy(coral / f"{NAME}.tflite", home / "the model (1).tflite")
    made = run(engine, image, home / "the model (1).tflite", tmp_path / "out", runtime=14)
    (path,) = made.models[0].files
    assert path.name == "the model (1)_edgetpu.tflite"
    assert path.read_bytes() == (coral / f"{NAME}_edgetpu.tflite").read_bytes()
    assert (made.place, made.log.version) == ("container image coral:16", "16.0.384591198")
    assert engine.podman("ps", "-a", "-q") == "", "no container stays behind"


def test_what_a_container_gets(
    engine: Engine, recorded: Callable[..., str], coral: Path, tmp_path: Path
) -> None:
    """One folder, no network but its own loopback; and it may write there whatever user it runs as."""
    image = engine.image("coral:16", recorded(GOOD))
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(coral / f"{NAME}.tflite", folder / "m.tflite")
    place = ContainerPlace(image, LocalRunner(engine.environment), engine.environment)
    assert place.compile(folder, ["-s", "m.tflite"], 60).code == 0
    said = {n: (folder / n).read_text().strip() for n in ("arguments", "folder", "networks", "user")}
    assert said == {"arguments": "-s m.tflite", "folder": "/models", "networks": "lo", "user": "0"}
    assert sorted(p.name for p in folder.iterdir()) == [
        "arguments", "folder", "m.tflite", "m_edgetpu.tflite", "networks", "user",
    ]  # fmt: skip

    for made in said:
        (folder / made).unlink()
    command = place.command
    place.command = lambda *a, **k: _as_another(command(*a, **k))  # type: ignore[method-assign]
    assert place.compile(folder, ["-s", "m.tflite"], 60).code == 0
    assert (folder / "user").read_text().strip() == "1234"


def _as_another(command: list[str]) -> list[str]:
    return [*command[:2], "--user", "1234:1234", *command[2:]]


@pytest.mark.timeout(600)
def test_failures_in_an_image(
    engine: Engine, recorded: Callable[..., str], coral: Path, tmp_path: Path
) -> None:
    model, out = coral / f"{NAME}.tflite", tmp_path / "out"
    said = "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'"
    image = engine.image("failing:1", recorded(said, status=1))
    error = failing(engine, image, model, out)
    assert error.reference == "edgetpu-operation-version" and said in error.render()

    image = engine.image("slow:1", recorded(GOOD, sleep=67))
    error = failing(engine, image, model, out, timeout_s=2)
    assert error.reference == "edgetpu-timeout"
    assert engine.podman("ps", "-a", "-q") == "", "it does not run on without us"

    (engine.folder / "root" / "usr" / "bin" / "edgetpu_compiler").unlink()
    error = failing(engine, engine.image("empty:1", None), model, out)
    assert error.reference == "edgetpu-compiler-missing"
    assert "no edgetpu_compiler in the container image empty:1" in error.render()

    error = failing(engine, "localhost/no-such-image:1", model, out)
    assert error.reference == "container-failed"
    assert "edgeship toolchain doctor" in error.render()


def test_the_engine_that_has_the_image_is_taken(
    engine: Engine, recorded: Callable[..., str], coral: Path, tmp_path: Path
) -> None:
    """A docker client whose daemon does not answer, beside a podman with the image."""
    dead = engine.folder / "bin" / "docker"
    dead.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 1\n")
    dead.chmod(0o755)
    image = engine.image("coral:16", recorded(GOOD))
    made = run(engine, image, coral / f"{NAME}.tflite", tmp_path / "out")
    assert made.models[0].parameter_bytes == 566912


def test_an_image_that_is_an_option_is_refused() -> None:
    with pytest.raises(InputError, match="no name of a container image"):
        find_place("container:--privileged", LocalRunner({}), {})


def test_no_container_engine(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="neither docker nor podman"):
        find_place("container:x", LocalRunner({}), {"PATH": str(tmp_path)})
