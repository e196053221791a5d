"""A request that works as typed for the model of a release: `request_lines(...)`."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

MOST_WRITTEN = 16
"""A tensor of more values is made by Python where the command is typed, not written out."""
ANYWHERE = ("0.0.0.0", "[::]")
"""Addresses that a service listens on and nobody asks."""


def request_lines(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the lines of one shell command that asks a service of `values` (what service.json is made from) once.

    Every input is all zeros, of the datatype and shape that clients send. Needs curl, and python3 where tensors are
    large.
    """
    inputs = values["variants"][0]["inputs"]
    url = f"/v2/models/{values['app']}/infer"
    if values["listen"].startswith("unix:"):
        address = f"--unix-socket {shlex.quote(values['listen'].removeprefix('unix:'))} http://localhost{url}"
    else:
        host, _, port = values["listen"].rpartition(":")
        address = f"http://{'127.0.0.1' if host in ANYWHERE else host}:{port}{url}"
    if all(math.prod(entry["shape"]) <= MOST_WRITTEN for entry in inputs):
        body = json.dumps({"inputs": [{**_head(e), "data": _zeros(e)} for e in inputs]})
        return (f"curl -s {address} -d {shlex.quote(body)}",)
    made = ", ".join(_in_python(entry) for entry in inputs)
    program = f'import json; print(json.dumps({{"inputs": [{made}]}}))'
    return (
        f"python3 -c {shlex.quote(program)} \\",
        f"  | curl -s {address} -d @-",
    )


def _head(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": entry["name"], "datatype": entry["datatype"], "shape": list(entry["shape"])}


def _zeros(entry: Mapping[str, Any]) -> list[Any]:
    return [_zero(entry)] * math.prod(entry["shape"])


def _zero(entry: Mapping[str, Any]) -> Any:
    if entry["datatype"] == "BOOL":
        return False
    return 0.0 if entry["datatype"].startswith("FP") else 0


def _in_python(entry: Mapping[str, Any]) -> str:
    """Return one input as a Python expression, its values as a product."""
    size: Sequence[int] = entry["shape"]
    return f'{json.dumps(_head(entry))[:-1]}, "data": [{_zero(entry)}] * {math.prod(size)}}}'
