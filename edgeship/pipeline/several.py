"""What a compiler makes of several files: written into the folder for results, named by all of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeship.compile.backend import Part
from edgeship.compile.ship import Shipped
from edgeship.pipeline.inputs import Inputs
from edgeship.project import Project
from edgeship.values import Artifact


def weighed_of(shipped: Shipped) -> Artifact:
    """Return what gates on size judge: the file that ships, or all segments of a pipeline together."""
    artifact = shipped.variant.artifact
    if not shipped.result or not shipped.result.segments:
        return artifact
    return replace(artifact, bytes=sum(part.bytes for part in shipped.result.segments))


def keep_segments(project: Project, inputs: Inputs, shipped: Shipped, out: Path) -> tuple[Part, ...]:
    """Write the segments of a pipeline into `out` and return them with where they are, in the order they run."""
    assert shipped.result
    parts = shipped.result.segments
    start = _start(project, inputs, shipped, [part.sha256 for part in parts])
    return tuple(
        _kept(part, out / f"{start}-segment-{i}-of-{len(parts)}.tflite") for i, part in enumerate(parts, 1)
    )


def keep_together(project: Project, inputs: Inputs, shipped: Shipped, out: Path) -> tuple[Part, ...]:
    """Write the other models of a co-compilation into `out` and return them with where they are, by priority."""
    parts = shipped.result.together if shipped.result else ()
    digests = [shipped.variant.artifact.sha256, *(part.sha256 for part in parts)]
    start = _start(project, inputs, shipped, digests)
    return tuple(_kept(part, out / f"{start}-beside-{i}-{part.path.name}") for i, part in enumerate(parts, 1))


def _start(project: Project, inputs: Inputs, shipped: Shipped, digests: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:12]
    return f"{project.app_for(inputs.source.path)}-{shipped.profile.name}-{digest}"


def _kept(part: Part, path: Path) -> Part:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part.path.read_bytes())
    return replace(part, path=path)
