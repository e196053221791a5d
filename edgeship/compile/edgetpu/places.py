"""Where the user's edgetpu_compiler runs: on this machine, on a build host over SSH, or in a container image.

All three get the models under plain names in an empty folder (the compiler's wrapper script breaks on spaces) and
give back what it wrote there. Which one: `local`, `ssh:user@host[:port]`, `container:IMAGE`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgeship.compile.edgetpu.build_host import SshPlace
from edgeship.compile.edgetpu.container import ContainerPlace
from edgeship.compile.edgetpu.place import GET_ONE, PROGRAM, VARIABLE, LocalPlace, Place
from edgeship.compile.running import Runner
from edgeship.errors import InputError, ToolError


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
