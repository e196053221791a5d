"""What operations of a float model are to be quantized otherwise than the rest, told in the file itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeship.tflite.refit import packed, unpacked

ENTRY = "edgeship_precisions"
"""Metadata of a float file: JSON of {name of an operation's first output: float, int8 or int4}."""


def with_precisions(content: bytes, told: Mapping[str, str]) -> bytes:
    """Return a float file that tells the precision of operations, named by their first outputs."""
    model, schema = unpacked(content)
    take_precisions(model)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(json.dumps(dict(told), sort_keys=True).encode(), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = ENTRY, len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    return packed(model, schema, content)


def take_precisions(model: Any) -> dict[str, str]:
    """Return what the object form of a file tells, and take it out of there."""
    found: dict[str, str] = {}
    for entry in model.metadata or ():
        if _name(entry) == ENTRY and model.buffers[entry.buffer].data is not None:
            found = json.loads(bytes(bytearray(model.buffers[entry.buffer].data)))
            model.buffers[entry.buffer].data = None
    if model.metadata:
        model.metadata = [entry for entry in model.metadata if _name(entry) != ENTRY] or None
    return found


def _name(entry: Any) -> str:
    return entry.name.decode("utf-8", "replace") if isinstance(entry.name, bytes) else str(entry.name)
