"""What the tests of a service with a governor share: requests, its document, waiting for what a slow loop does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from island_lab import Reply, Service, http

INFER = "/v2/models/app/infer"


def asked(values: list[float], samples: int = 1, **parameters: Any) -> dict[str, Any]:
    """Return a request of FP32 values for an input `x`."""
    entry = {"name": "x", "datatype": "FP32", "shape": [samples, len(values) // samples], "data": values}
    return {"inputs": [entry], **({"parameters": parameters} if parameters else {})}


def told(service: Service) -> Any:
    """Return the governor's document."""
    return service.ask("GET", "/v2/models/app/governor").json


def parameters_of(reply: Reply) -> Any:
    """Return a good answer's parameters."""
    assert reply.status == 200, reply.body
    return reply.json["parameters"]


def until(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Ask again until something comes back that is true; return it."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def loaded(service: Service) -> Service:
    """Wait until every rung is loaded that will be."""
    until(lambda: not told(service)["loading"])
    return service


def at_once(service: Service, documents: list[Any]) -> list[Reply]:
    """Send requests on connections of their own, all of them before the first answer is read."""
    wires = [service.wire() for _ in documents]
    for wire, document in zip(wires, documents, strict=True):
        wire.send(http("POST", INFER, json.dumps(document).encode()))
    replies = [wire.reply() for wire in wires]
    for wire in wires:
        wire.close()
    return replies


def tune(folder: Path, settings: Any) -> None:
    """Write what the helper would: settings.json, as a whole."""
    document = {"schema": "edgeship.settings/1", "settings": settings, "at": 0}
    (folder / "next").write_text(json.dumps(document))
    (folder / "next").rename(folder / "settings.json")
