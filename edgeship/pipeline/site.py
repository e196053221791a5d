"""What every step of a build shares: `BuildSite`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeship.compile.backend import CompileOptions
from edgeship.progress import Progress
from edgeship.project import Project


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
    engine_reason: str | None = None
    """Why the target's preferred engine is not taken for the model; None: it is."""
