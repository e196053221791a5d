"""The compiler on a build host, over a real OpenSSH server: its PATH has a compiler that replays recorded outputs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeship.compile.edgetpu import driver
from edgeship.compile.edgetpu.build_host import SshPlace
from edgeship.compile.edgetpu.driver import Compilation, Wanted, compile_models
from edgeship.compile.edgetpu.places import find_place
from edgeship.compile.running import LocalRunner
from edgeship.errors import EdgeshipError, InputError, ToolError
from edgeship.progress import Silent

NAME = "mobilenet_v1_0.25_128_quant"
GOOD = "Edge TPU Compiler version 16.0.384591198\nNumber of Edge TPU subgraphs: 1\nTotal number of operations: 31\n"

pytestmark = pytest.mark.shared


@pytest.fixture
def build_host(build_server: Any, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Return a function that gives the host a PATH and further sshd settings, and returns our own environment."""

    def prepare(*folders: Path, extra: str = "") -> dict[str, str]:
        build_server.stop()
        build_server.write_config(extra=f"SetEnv PATH={':'.join(map(str, folders))}:/usr/bin:/bin\n{extra}")
        build_server.start()
        ours = tmp_path / "ours"
        ours.mkdir(exist_ok=True)
        # OpenSSH reads its settings from the home folder in the user database, whatever HOME says.
        (ours / "ssh").write_text(
            f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path / "ssh_config"} "$@"\n'
        )
        (ours / "ssh").chmod(0o755)
        return {"PATH": f"{ours}:/usr/bin:/bin"}

    before = folders_there()
    yield prepare
    until = time.monotonic() + 60  # tests beside this one have folders there, too, for a while
    while folders_there() - before and time.monotonic() < until:
        time.sleep(0.2)
    assert not folders_there() - before, "nothing stays behind on the build host"


def folders_there() -> set[Path]:
    return set(Path("/tmp").glob("edgeship-edgetpu.*"))


def place_of(build_server: Any, env: dict[str, str]) -> Any:
    return find_place(f"ssh:{build_server.user}@127.0.0.1:{build_server.port}", LocalRunner(env), env)


def run(build_server: Any, model: Path, out: Path, env: dict[str, str], **more: Any) -> Compilation:
    return compile_models([model], out, Wanted(**more), place_of(build_server, env), progress=Silent())


def failing(build_server: Any, model: Path, out: Path, env: dict[str, str], **more: Any) -> EdgeshipError:
    with pytest.raises(ToolError) as error:
        run(build_server, model, out, env, **more)
    assert not list(out.glob("*")), "a failure leaves no file"
    return error.value


def test_there_and_back_past_a_banner_and_a_talkative_login(
    build_server: Any, build_host, fake_compiler, coral: Path, tmp_path: Path
) -> None:
    home = tmp_path / "my models"
    home.mkdir()
    model = home / "the model (1).tflite"
    shutil.copy(coral / f"{NAME}.tflite", model)
    compiled = coral / f"{NAME}_edgetpu.tflite"
    fake_compiler(GOOD, files={"the_model_1__edgetpu.tflite": compiled})
    (tmp_path / "banner").write_text("Authorised use only.\n")
    talk = 'ForceCommand echo "Welcome back."; eval "$SSH_ORIGINAL_COMMAND"\n'
    env = build_host(tmp_path / "bin", extra=f"Banner {tmp_path / 'banner'}\n{talk}")
    place_of(build_server, env).require()
    made = run(build_server, model, tmp_path / "out", env, runtime=14)
    (path,) = made.models[0].files
    assert (path.name, path.read_bytes()) == ("the model (1)_edgetpu.tflite", compiled.read_bytes())
    assert made.place == f"build host {build_server.user}@127.0.0.1:{build_server.port}"
    assert (made.log.version, made.models[0].parameter_bytes) == ("16.0.384591198", 566912)
    assert (tmp_path / "fake" / "got.tflite").read_bytes() == model.read_bytes(), "it got the very file"
    said = (tmp_path / "fake" / "calls.txt").read_text().split("\n---")[0].splitlines()
    assert said == ["-s", "-o", ".", "-m", "14", "the_model_1_.tflite"]
    there = (tmp_path / "fake" / "cwd").read_text().strip()
    assert there.startswith("/tmp/edgeship-edgetpu.") and " " not in there


def test_the_flaky_internal_error_is_tried_again_there(
    build_server: Any, build_host, fake_compiler, coral: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(driver, "PAUSE", 0.0)
    files = {f"{NAME}_edgetpu.tflite": coral / f"{NAME}_edgetpu.tflite"}
    fake_compiler("Internal compiler error. Aborting!", GOOD, status=(1, 0), files=files)
    env = build_host(tmp_path / "bin")
    assert run(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env).tries == 2


def test_a_compilation_that_fails_there_shows_its_log_and_advice(
    build_server: Any, build_host, fake_compiler, coral: Path, tmp_path: Path
) -> None:
    said = "Compilation failed due to large activation tensors in model.\nCompilation failed!"
    fake_compiler(said, status=(1,))
    env = build_host(tmp_path / "bin")
    error = failing(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env)
    assert error.reference == "edgetpu-large-activations"
    text = error.render()
    assert f"build host {build_server.user}@127.0.0.1" in text
    assert "Compilation failed!" in text and "use a smaller input" in text


def test_at_the_time_limit_nothing_runs_on_there(
    build_server: Any, build_host, fake_compiler, coral: Path, tmp_path: Path
) -> None:
    seconds = 71 + os.getpid() / 1e7  # a process of ours alone
    fake_compiler(GOOD, sleep=seconds)
    env = build_host(tmp_path / "bin")
    error = failing(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env, timeout_s=2)
    assert error.reference == "edgetpu-timeout"
    assert (tmp_path / "fake" / "calls.txt").is_file(), "it had begun"
    end = time.monotonic() + 10
    while running(f"sleep {seconds}") and time.monotonic() < end:
        time.sleep(0.05)
    assert not running(f"sleep {seconds}")


def running(words: str) -> list[str]:
    """Return the processes of this machine whose argument list is `words`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            content = entry.read_bytes()
        except OSError:
            continue
        if content.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace") == words:
            found.append(entry.parent.name)
    return found


def test_a_build_host_without_the_compiler(
    build_server: Any, build_host, coral: Path, tmp_path: Path
) -> None:
    env = build_host()
    error = failing(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env)
    assert error.reference == "edgetpu-compiler-missing"
    assert "no edgetpu_compiler on the build host" in error.render()
    assert "coral.ai/docs/edgetpu/compiler" in error.render()
    with pytest.raises(ToolError) as early:
        place_of(build_server, env).require()
    assert early.value.reference == "edgetpu-compiler-missing", "known before anything is quantized"


@pytest.mark.parametrize("known", ["nothing", "another key"])
def test_a_host_key_that_is_not_the_known_one_gets_no_model(
    known: str, build_server: Any, build_host, fake_compiler, coral: Path, tmp_path: Path
) -> None:
    fake_compiler(GOOD)
    env = build_host(tmp_path / "bin")
    if known == "nothing":
        build_server.known_hosts.unlink()
    else:
        build_server.trust(f"[127.0.0.1]:{build_server.port} {build_server.public('client_key')}")
    error = failing(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env)
    assert error.reference == "build-host-failed"
    assert "Host key verification failed" in error.render()
    assert f"hint: ssh -p {build_server.port} {build_server.user}@127.0.0.1 true" in error.render()
    assert not (tmp_path / "fake" / "calls.txt").exists()


def test_a_host_that_lets_nobody_in(build_server: Any, build_host, coral: Path, tmp_path: Path) -> None:
    env = build_host()
    (tmp_path / "authorized_keys").write_text("")
    with pytest.raises(ToolError) as error:
        place_of(build_server, env).require()
    assert error.value.reference == "build-host-failed"
    assert "Permission denied" in error.value.render()


def test_a_host_that_answers_something_else(
    build_server: Any, build_host, coral: Path, tmp_path: Path
) -> None:
    env = build_host(extra="ForceCommand echo This account is not available.\n")
    error = failing(build_server, coral / f"{NAME}.tflite", tmp_path / "out", env)
    assert error.reference == "build-host-failed"
    assert "could not make a folder" in error.render()
    assert "This account is not available." in error.render()


def test_no_ssh_on_this_machine(tmp_path: Path) -> None:
    place = SshPlace("me@build", LocalRunner({"PATH": os.fspath(tmp_path)}))
    with pytest.raises(ToolError) as error:
        place.require()
    assert error.value.reference == "ssh-missing"


def test_options_that_the_connection_must_have() -> None:
    command = SshPlace("me@build:2222", LocalRunner({})).command("echo", "two words")
    assert command[0] == "ssh" and command[-3:] == ["--", "me@build", "echo 'two words'"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(command)
    assert command[command.index("-p") + 1] == "2222"


def test_a_host_that_is_an_option_is_refused() -> None:
    with pytest.raises(InputError):
        SshPlace("-oProxyCommand=evil", LocalRunner({}))
