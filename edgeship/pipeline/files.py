"""A quantized file that lies there, as scoring wants it: `artifact_of`."""

from __future__ import annotations

from pathlib import Path

from edgeship.digest import sha256_file
from edgeship.tflite.precision import precision_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Artifact


def artifact_of(name: str, path: Path, recipe: str, model: str) -> Artifact:
    """Return a file as the artifact of a recipe; `name` is for messages, `model` the digest of what it was made of."""
    held = read_tflite(path)
    return Artifact(
        path=path,
        recipe=recipe,
        bytes=held.size,
        sha256=sha256_file(path),
        signature=held.signature,
        precision=precision_of(held),
        model_sha256=model,
        calibration_sha256=None,
    )
