"""What every step of a build shares: `BuildSite`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeship.compile.backend import CompileOptions
from edgeship.progress import Progress
from edgeship.project import Project
from edgeship.quantize.derive import Derivation
from edgeship.values import Scorecard


@dataclass(slots=True, kw_only=True)
class Earlier:
    """What was made for earlier targets of a build: another target that asks for the same gets the same.

    Every key begins with the digest of the float model, whose batch is the target's.
    """

    derived: dict[tuple[str, ...], Derivation] = field(default_factory=dict)
    """By what is derived (`quantize.derive.order_of`)."""
    described: dict[tuple[str, ...], tuple[tuple[Path, ...], dict[str, str]]] = field(default_factory=dict)
    """Files with their metadata and versions of tools, by the digests of the files without."""
    scored: dict[tuple[str, ...], tuple[Scorecard, ...]] = field(default_factory=dict)
    """By the digests of the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSite:
    """Where a build happens, for whom, and who is told."""

    project: Project
    out: Path
    """Bundles go here."""
    work: Path
    """What may be used again: converted models, read data, downloaded runtimes."""
    scratch: Path
    """What this build alone needs; gone afterwards."""
    progress: Progress
    compiling: CompileOptions
    earlier: Earlier = field(default_factory=Earlier)
    engine_reason: str | None = None
    """Why the target's preferred engine is not taken for the model; None: it is."""
