"""What a place is where edgetpu_compiler can run, and the one on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgeship.compile.running import Finished, Runner
from edgeship.errors import ToolError

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

    def require(self) -> None:
        """Raise what `compile` would raise where the compiler cannot be started there; nothing is sent."""

    def compile(self, folder: Path, arguments: Sequence[str], timeout: float) -> Finished:
        """Run the compiler with `arguments` in a copy of `folder`, and bring what it wrote back into `folder`.

        Raises ToolError where it could not be started; how it ended is a value. At the time limit, and when
        interrupted, nothing of it is left running.
        """


class LocalPlace:
    """The compiler on this machine."""

    def __init__(self, program: Path, runner: Runner) -> None:
        self.program, self.runner = program, runner
        self.name = f"{program} on this machine"

    def require(self) -> None:
        """Return: it was found on the PATH."""

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


def missing_there(where: str, finished: Finished) -> ToolError:
    """Return the error for a place that was reached and has no compiler."""
    return ToolError(
        "edgetpu-compiler-missing",
        f"there is no {PROGRAM} {where}",
        context={"said": finished.last_words},
        hint=GET_ONE,
    )
