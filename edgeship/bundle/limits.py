"""The limits of service.json: as set, and where nothing is set as large as the model's own tensors need."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeship.errors import InputError
from edgeship.project.schema import GOLDEN_BYTES, GOLDEN_VECTORS, LEAST_BODY_BYTES, Limits

JSON_FLOAT = 26
"""Bytes of the longest double that Python writes (24: `-2.2250738585072014e-308`), a comma and a space."""
JSON_LIST = 4
"""Bytes of a list's brackets, and of what parts it from the next one."""
ENVELOPE = 65_536
"""Bytes for all of a request that is no tensor: names, parameters, an id."""
ROUND = 1 << 20
FEWEST_VECTORS = 3


def service_limits(limits: Limits, variants: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `limits` of service.json for its variants' entries. Raises InputError `body-limit` where
    `body_bytes` is set too small for one binary request of any of them."""
    for entry in variants:
        check_body_limit(limits, entry)
    body = limits.body_bytes or body_bytes(variants)
    held = limits.model_dump(exclude={"buffered_bodies"})
    return held | {"body_bytes": body, "buffered_bytes": limits.buffered_bodies * body}


def body_bytes(variants: Iterable[Mapping[str, Any]]) -> int:
    """Return bytes that hold a whole request, and a whole answer, of every variant as JSON: whole MiB."""
    needed = [_json_bytes(entry[side]) for entry in variants for side in ("inputs", "outputs")]
    return max(LEAST_BODY_BYTES, ROUND * math.ceil((max(needed) + ENVELOPE) / ROUND))


def check_body_limit(limits: Limits, entry: Mapping[str, Any]) -> None:
    """Raise InputError `body-limit` where `body_bytes` is set too small for one binary request of a variant."""
    needed = binary_request_bytes(entry["inputs"])
    if limits.body_bytes is None or limits.body_bytes >= needed:
        return
    shapes = ", ".join(f"{i['name']} {i['datatype']} {i['shape']}" for i in entry["inputs"])
    raise InputError(
        "body-limit",
        f"service.limits.body_bytes: {limits.body_bytes} is too small for one request of this model",
        context={
            "inputs": shapes,
            "wanted": f"{needed} at least, which holds one request with binary tensors; "
            f"{body_bytes([entry])} holds JSON, too",
        },
        hint="remove body_bytes from edgeship.yaml: it then follows from the model",
    )


def golden_count(asked: int | None, entry: Mapping[str, Any], *, among: int = 1) -> int:
    """Return how many golden vectors a variant gets: as asked, else GOLDEN_VECTORS, fewer where they are large.

    GOLDEN_BYTES is what all of the `among` variants of a bundle share.
    """
    one = sum(_binary_bytes(tensor) for side in ("inputs", "outputs") for tensor in entry[side])
    return asked or min(GOLDEN_VECTORS, max(FEWEST_VECTORS, GOLDEN_BYTES // (one * among)))


def binary_request_bytes(inputs: Sequence[Mapping[str, Any]]) -> int:
    """Return the bytes of one request with its tensors in binary, as `prove --live` sends it."""
    sizes = [_binary_bytes(i) for i in inputs]
    head = [
        {key: i[key] for key in ("name", "datatype", "shape")} | {"parameters": {"binary_data_size": size}}
        for i, size in zip(inputs, sizes, strict=True)
    ]
    return sum(sizes) + len(json.dumps({"inputs": head, "parameters": {"binary_data_output": True}}))


def _binary_bytes(tensor: Mapping[str, Any]) -> int:
    return math.prod(_sizes(tensor)) * max(1, _bits(tensor["datatype"]) // 8)


def _json_bytes(tensors: Sequence[Mapping[str, Any]]) -> int:
    """Return the most bytes that tensors take as nested lists of numbers; FP32 is taken for integers as well."""
    total = 0
    for tensor in tensors:
        shape = _sizes(tensor)
        lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
        total += math.prod(shape) * JSON_FLOAT + lists * JSON_LIST
    return total


def _bits(datatype: str) -> int:
    """Return the bits of a datatype's element as its name tells them; 1 for BOOL."""
    found = re.search(r"[0-9]+\Z", datatype)
    return int(found[0]) if found else 1


def _sizes(tensor: Mapping[str, Any]) -> list[int]:
    """Return a tensor's shape, with the model's own size for an axis left open."""
    inner = tensor["tensor"]["shape"]
    return [
        size if size > 0 else (inner[axis] if axis < len(inner) else 1)
        for axis, size in enumerate(tensor["shape"])
    ]
