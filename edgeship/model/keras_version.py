"""Which Keras saved a `.keras` file, held against the one that is here."""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from pathlib import Path

from packaging.version import InvalidVersion, Version


def newer_keras(path: Path) -> tuple[str, str] | None:
    """Return (version that saved the file, version here) where the file's Keras is the newer minor; None where it is
    not, or does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = str(json.loads(archive.read("metadata.json"))["keras_version"])
        here = importlib.metadata.version("keras")
        newer = Version(saved).release[:2] > Version(here).release[:2]
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, InvalidVersion):
        return None
    except importlib.metadata.PackageNotFoundError:
        return None
    return (saved, here) if newer else None
