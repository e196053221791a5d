"""Where the user's edgetpu_compiler runs: on this machine, on a build host over SSH, or in a container image.

All three get the models under plain names in an empty folder (the compiler's wrapper script breaks on spaces) and
give back what it wrote there. Which one: `local`, `ssh:user@host[:port]`, `container:IMAGE`.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edgeship.compile.running import Finished, Runner
from edgeship.errors import InputError, ToolError

PROGRAM = "edgetpu_compiler"
VARIABLE = "EDGESHIP_EDGETPU_COMPILER"
GET_ONE = (
    "edgetpu_compiler is Google's, x86-64 Linux only, and may not be passed on: install it yourself "
    "(coral.ai/docs/edgetpu/compiler), or name where it is: "
    f"{VARIABLE}=ssh:user@buildhost or {VARIABLE}=container:IMAGE"
)


class Place(Protocol):
    """Somewhere the compiler can run."""

    @property
    def name(self) -> str:
        """What errors and reports call it."""

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Run the compiler with `arguments` in a copy of `folder`, and bring what it wrote back into `folder`."""


def find_place(text: str | None, runner: Runner, environment: Mapping[str, str] = os.environ) -> Place:
    """Return where to compile: `text`, else EDGESHIP_EDGETPU_COMPILER, else the compiler on the PATH.

    Raises ToolError `edgetpu-compiler-missing` where there is none, InputError `bad-compiler-place`.
    """
    chosen = text or environment.get(VARIABLE) or "local"
    kind, _, rest = chosen.partition(":")
    if kind == "ssh" and rest:
        return SshPlace(rest, runner)
    if kind == "container" and rest:
        return ContainerPlace(rest, runner, environment)
    if chosen == "local":
        path = shutil.which(PROGRAM, path=environment.get("PATH"))
        if path is None:
            raise ToolError(
                "edgetpu-compiler-missing",
                "compiling for the Edge TPU needs edgetpu_compiler, and it is not on the PATH",
                context={"looked for": PROGRAM, "how to get one": GET_ONE},
                hint="edgeship toolchain doctor; or ship the int8 model for the CPU as it is: --allow-uncompiled",
            )
        return LocalPlace(Path(path), runner)
    raise InputError(
        "bad-compiler-place",
        "this does not say where edgetpu_compiler is",
        context={"found": chosen, "wanted": "local, ssh:user@host[:port], or container:IMAGE"},
        hint=f"{VARIABLE}=local",
    )


class LocalPlace:
    """The compiler on this machine."""

    def __init__(self, program: Path, runner: Runner) -> None:
        self.program, self.runner = program, runner
        self.name = f"{program} on this machine"

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Run in `folder` itself."""
        try:
            return self.runner.run([str(self.program), *arguments], timeout=timeout, cwd=folder)
        except OSError as error:
            raise ToolError(
                "edgetpu-compiler-unusable",
                f"edgetpu_compiler cannot be started: {error.strerror or error}",
                context={"program": self.program},
                hint=f"it runs on x86-64 Linux only; or name a build host: {VARIABLE}=ssh:user@host",
            ) from None


class ContainerPlace:
    """The compiler in a container image that the user names, started without network."""

    def __init__(self, image: str, runner: Runner, environment: Mapping[str, str]) -> None:
        self.image, self.runner = image, runner
        self.name = f"container image {image}"
        programs = [p for p in ("docker", "podman") if shutil.which(p, path=environment.get("PATH"))]
        if not programs:
            raise ToolError(
                "container-engine-missing",
                "a container image was named, and neither docker nor podman is installed",
                context={"image": image},
                hint="edgeship toolchain doctor",
            )
        self.engine = programs[0]

    def command(self, folder: Path, arguments: Sequence[str]) -> list[str]:
        """Return the argument list that runs the compiler in the image, with `folder` as its working folder."""
        owner = ["--user", f"{os.getuid()}:{os.getgid()}"] if self.engine == "docker" else []
        mount = ["--mount", f"type=bind,source={folder},target=/models", "--workdir", "/models"]
        return [
            self.engine,
            "run",
            "--rm",
            "--network",
            "none",
            *owner,
            *mount,
            self.image,
            PROGRAM,
            *arguments,
        ]

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Run with `folder` mounted."""
        return self.runner.run(self.command(folder, arguments), timeout=timeout)


class SshPlace:
    """The compiler on a build host, through the user's own `ssh` and its configuration. Host keys must be known."""

    OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15",
               "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")  # fmt: skip

    def __init__(self, host: str, runner: Runner) -> None:
        address, _, port = host.rpartition(":")
        if port.isdigit() and address:
            self.host, self.port = address, port
        else:
            self.host, self.port = host, ""
        if self.host.startswith("-") or not self.host:
            raise InputError(
                "bad-compiler-place",
                "this is no host to compile on",
                context={"found": host, "wanted": "user@host[:port]"},
                hint=f"{VARIABLE}=ssh:user@buildhost",
            )
        self.runner = runner
        self.name = f"build host {host}"

    def command(self, *remote: str) -> list[str]:
        """Return the local argument list that runs `remote` there; its words are quoted for the remote shell."""
        port = ["-p", self.port] if self.port else []
        return ["ssh", *self.OPTIONS, *port, "--", self.host, shlex.join(remote)]

    def script(self, text: str, *words: str) -> list[str]:
        """Return the argument list that runs a shell script there with `words` as $1, $2, ..."""
        return self.command("sh", "-c", text, "edgeship", *words)

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Send the folder, compile there, fetch what was written, and remove the folder there again."""
        made = self._do(self.command("mktemp", "-d", "/tmp/edgeship-edgetpu.XXXXXXXX"), "make a folder")
        remote = made.output.strip().splitlines()[-1] if made.output.strip() else ""
        if not remote.startswith("/tmp/edgeship-edgetpu."):
            raise ToolError(
                "build-host-failed", "the build host made no folder", context={"said": made.last_words}
            )
        try:
            self._do(self.script('tar -x -C "$1" -f -', remote), "receive the model", stdin=_packed(folder))
            run = 'cd "$1" && shift && exec "$@" 2>&1'
            finished = self.runner.run(self.script(run, remote, PROGRAM, *arguments), timeout=timeout)
            if finished.code == 255:
                raise self._lost(finished, "run the compiler")
            if finished.code == 127:
                raise ToolError(
                    "edgetpu-compiler-missing",
                    "there is no edgetpu_compiler on the build host",
                    context={"host": self.host, "said": finished.last_words},
                    hint=GET_ONE,
                )
            back = self._do(self.script('tar -c -C "$1" -f - . 2>/dev/null', remote), "send the result")
            _unpack(back.content, folder)
            return finished
        finally:
            self.runner.run(self.command("rm", "-rf", "--", remote), timeout=60)

    def _do(self, command: Sequence[str], what: str, *, stdin: bytes | None = None) -> Finished:
        finished = self.runner.run(command, timeout=300, stdin=stdin)
        if finished.code != 0:
            raise self._lost(finished, what)
        return finished

    def _lost(self, finished: Finished, what: str) -> ToolError:
        return ToolError(
            "build-host-failed",
            f"the build host could not {what}",
            context={"host": self.host, "status": finished.code, "said": finished.last_words},
            hint=f"ssh {shlex.quote(self.host)} true   (its host key must be known and a key must let you in)",
        )


def _packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    return stream.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    """Take regular files with plain names out of a tar; a build host may be wrong, never write elsewhere."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            source = tar.extractfile(member) if member.isfile() else None
            if source is not None and name and "/" not in name and name != "..":
                (folder / name).write_bytes(source.read())
