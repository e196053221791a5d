"""The one interface of compiler backends: what the pipeline asks between quantizing and bundling."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgeship.errors import ToolError
from edgeship.profile import TargetProfile
from edgeship.progress import Progress
from edgeship.values import Artifact, Figure, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """What the user says about compiling, beyond the target profile."""

    allow_uncompiled: bool = False
    """Ship the int8 model for the CPU where there is no compiler (`--allow-uncompiled`)."""
    place: str | None = None
    """Where edgetpu_compiler runs: local, ssh:user@host[:port], container:IMAGE; None: environment, then local."""
    segments: int = 1
    """Parts of an Edge TPU pipeline."""
    together: tuple[Path, ...] = ()
    """Other int8 `.tflite` files compiled in the same call, to share the chip; first comes first in its cache."""
    accepted: tuple[str, ...] = ()
    """Codes of flaws that the user ships all the same (`edgeship.tflite.flaws.CODES`)."""
    timeout_s: float = 900.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def several(self) -> bool:
        """Whether what is asked for is made of several files, which only the Edge TPU's compiler makes."""
        return self.segments > 1 or bool(self.together)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of an artifact made of several: a segment of a pipeline, or a model that shares the chip."""

    source: Path
    """The `.tflite` it was compiled from."""
    path: Path
    bytes: int
    sha256: str
    parameter_bytes_on_chip: int
    parameter_bytes_streamed: int
    """Parameter bytes sent with every inference."""
    min_runtime_version: int
    caching_tokens: tuple[str, ...]
    """Hexadecimal. Files with the same token keep their parameters on one chip side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileResult:
    """What compiling an artifact gave.

    `compiled` is False only where the user allowed that: `artifacts` then holds the artifact as it came and `reason`
    says why; everything downstream must say so too. Several artifacts are the segments of a pipeline, in order.
    """

    artifacts: tuple[Artifact, ...]
    compiled: bool
    reason: str
    mapped: int
    """Operations on the accelerator; 0 where not compiled."""
    total: int
    subgraphs: Figure
    """Parts of the graph on the accelerator."""
    estimates: dict[str, Figure]
    """Figures by name with the unit in it: latency_ms, sram_kib, parameter_bytes, ..."""
    log: dict[str, Any]
    """What the compiler said, as data for the report."""
    tools: dict[str, str]
    segments: tuple[Part, ...] = ()
    """The artifacts of a pipeline with what each holds, in the order they run; empty for a single file."""
    together: tuple[Part, ...] = ()
    """The other models of a co-compilation, in the order of their priority behind this one."""

    @property
    def words(self) -> str:
        """What manifest, tables and reports say of it."""
        return self.reason if self.compiled else f"{UNCOMPILED} ({self.reason})"


class CompilerBackend(Protocol):
    """A build-time translator for one family of accelerators."""

    name: str

    def require(self, options: CompileOptions) -> None:
        """Raise ToolError where the compiler is missing, before anything costly is done."""

    def accepts(self, artifact: Artifact, profile: TargetProfile) -> tuple[str, ...]:
        """Return the reasons why it cannot take an artifact; none: it can."""

    def compile(
        self,
        artifact: Artifact,
        profile: TargetProfile,
        out: Path,
        options: CompileOptions,
        progress: Progress,
    ) -> CompileResult:
        """Compile into `out`. Raises ToolError; InputError `<name>-unsuitable` where `accepts` gives reasons."""


MISSING = frozenset({"edgetpu-compiler-missing", "tool-missing"})
"""References of errors that say that there is no compiler, as against one that fails."""
AGAINST_MODEL = ("-unsuitable", "-nothing-mapped")
"""How references of errors end (`<backend>-unsuitable`) that say that a compiler can do nothing with a model."""
UNCOMPILED = "uncompiled: runs on the CPU"
"""What manifest, service, tables and reports say of an artifact that ships without its compiler."""


def left_uncompiled(
    error: ToolError, artifact: Artifact, options: CompileOptions, what: str, total: int
) -> CompileResult:
    """Return the result that ships an artifact for the CPU where there is no compiler and the user allowed that.

    `what` is missing. Raises `error` again where the compiler is there and fails, or is needed whatever was allowed.
    """
    if not options.allow_uncompiled or options.several or error.reference not in MISSING:
        raise error
    reason = f"{what}, and --allow-uncompiled was given"
    return CompileResult(
        artifacts=(artifact,),
        compiled=False,
        reason=reason,
        mapped=0,
        total=total,
        subgraphs=0.0,
        estimates={"latency_ms": Unavailable(reason=reason)},
        log={"unavailable": reason},
        tools={},
    )
