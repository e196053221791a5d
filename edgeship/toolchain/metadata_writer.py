"""Which package writes TFLite metadata here: tflite-support where it can be had, else edgeship with `flatbuffers`."""

from __future__ import annotations

import importlib.metadata

SUPPORT, OWN = "tflite-support", "flatbuffers"
SERIES = "0.4."
"""Versions of tflite-support that are known to work; pip takes an early 0.1 where there is no wheel of these."""


def metadata_writer() -> tuple[str, str]:
    """Return (package, version) of what writes metadata here; both write the same bytes."""
    try:
        version = importlib.metadata.version(SUPPORT)
    except importlib.metadata.PackageNotFoundError:
        return own_writer()
    return (SUPPORT, version) if version.startswith(SERIES) else own_writer()


def own_writer() -> tuple[str, str]:
    """Return the package, and its version, that edgeship writes metadata with by itself."""
    return OWN, importlib.metadata.version(OWN)
