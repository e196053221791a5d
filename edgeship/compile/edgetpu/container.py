"""The user's edgetpu_compiler in a container image they name."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeship.compile.edgetpu.place import PROGRAM, VARIABLE, missing_there
from edgeship.compile.running import Finished, Runner
from edgeship.errors import InputError, ToolError

ENGINES = ("docker", "podman")
FETCH_S = 600.0
"""Seconds for an engine that first fetches the image."""


class ContainerPlace:
    """The compiler in a container image, started without network, with one folder of this machine and nothing else."""

    def __init__(self, image: str, runner: Runner, environment: Mapping[str, str]) -> None:
        if image.startswith("-"):
            raise InputError(
                "bad-compiler-place",
                "this is no name of a container image",
                context={"found": image, "wanted": "container:IMAGE"},
                hint=f"{VARIABLE}=container:IMAGE",
            )
        self.image, self.runner = image, runner
        self.name = f"container image {image}"
        self.engines = [p for p in ENGINES if shutil.which(p, path=environment.get("PATH"))]
        if not self.engines:
            raise ToolError(
                "container-engine-missing",
                "a container image was named, and neither docker nor podman is installed",
                context={"image": image},
                hint="edgeship toolchain doctor",
            )

    def engine(self) -> str:
        """Return the engine that has the image; else the first that answers at all, which may fetch it."""
        if len(self.engines) == 1:
            return self.engines[0]
        for asked in (["image", "inspect", self.image], ["version"]):
            for engine in self.engines:
                if self.runner.run([engine, *asked], timeout=60).code == 0:
                    return engine
        return self.engines[0]

    def command(
        self, engine: str, arguments: Sequence[str], *, folder: Path | None = None, name: str = ""
    ) -> list[str]:
        """Return the argument list that runs the compiler in the image, with `folder` as its working folder.

        The program replaces the image's entry point, whatever that is. SELinux would keep a folder of /tmp away from a
        container.
        """
        command = [engine, "run", "--rm", "--network", "none", "--security-opt", "label=disable"]
        if engine == "docker":  # podman's root is this user, unless it is root's own
            command += ["--user", f"{os.getuid()}:{os.getgid()}"]
        if name:
            command += ["--name", name]
        if folder is not None:
            command += ["--mount", f"type=bind,source={folder},target=/models", "--workdir", "/models"]
        return [*command, "--entrypoint", PROGRAM, self.image, *arguments]

    def require(self) -> None:
        """Ask for the compiler's version. Raises ToolError `container-failed`, `edgetpu-compiler-missing`."""
        self._started(self.runner.run(self.command(self.engine(), ["--version"]), timeout=FETCH_S))

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Run with a folder mounted that only this user reaches and whatever user the container has may write to."""
        engine, name = self.engine(), f"edgeship-edgetpu-{secrets.token_hex(4)}"
        inside = folder / "container"
        inside.mkdir()
        inside.chmod(0o777)
        ended = False
        try:
            for model in [p for p in folder.iterdir() if p.is_file()]:
                shutil.copy(model, inside)
            command = self.command(engine, arguments, folder=inside, name=name)
            finished = self._started(self.runner.run(command, timeout=timeout))
            ended = finished.code is not None
            for made in [p for p in inside.iterdir() if p.is_file() and not p.is_symlink()]:
                shutil.copy(made, folder)
            return finished
        finally:
            if (
                not ended
            ):  # killing the client leaves its container running; podman's rm alone gives it 10 s to end
                self.runner.run([engine, "kill", name], timeout=60)
                self.runner.run([engine, "rm", "--force", name], timeout=60)
            shutil.rmtree(inside, ignore_errors=True)

    def _started(self, finished: Finished) -> Finished:
        """Return how it ended, or raise where it did not begin: engines end with 125 to 127 then."""
        if finished.code == 127:
            raise missing_there(f"in the container image {self.image}", finished)
        if finished.code in (125, 126):
            raise ToolError(
                "container-failed",
                "the container with the compiler could not be started",
                context={"image": self.image, "status": finished.code, "said": finished.last_words},
                hint=f"{self.engines[0]} image inspect {self.image}; edgeship toolchain doctor",
            )
        return finished
