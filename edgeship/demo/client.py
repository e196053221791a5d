"""A client of the Open Inference Protocol in twenty lines: what any program would do to ask the service."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeship.errors import EdgeshipError
from edgeship.progress import Progress

TIMEOUT = 10.0
"""Seconds one answer may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How a service answered labelled samples over HTTP."""

    asked: int
    right: int
    p50_ms: float
    p95_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def ask(url: str, app: str, labelled: Path, progress: Progress) -> Answers:
    """Send every sample of an .npz (x, y) to the service at `url`, one at a time on one connection, as JSON.

    Raises EdgeshipError `service-refused` where an answer is not 200, `service-unreachable` where none comes.
    """
    import numpy as np

    progress.step("asking the running service digits it has never seen")
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port, timeout=TIMEOUT)
    with np.load(labelled) as data:
        x, y = data["x"], data["y"]
    described = _get(connection, "GET", f"/v2/models/{app}", None)
    tensor = described["inputs"][0]
    right, times = 0, []
    for i, (sample, label) in enumerate(zip(x, y, strict=True), 1):
        body = {
            "inputs": [
                {
                    "name": tensor["name"],
                    "datatype": tensor["datatype"],
                    "shape": [1, *sample.shape],
                    "data": sample.ravel().tolist(),
                }
            ]
        }
        started = time.perf_counter()
        answer = _get(connection, "POST", f"/v2/models/{app}/infer", body)
        times.append(1000 * (time.perf_counter() - started))
        right += int(np.argmax(answer["outputs"][0]["data"]) == label)
        progress.advance(i, len(x), "digits")
    connection.close()
    return Answers(
        asked=len(x),
        right=right,
        p50_ms=float(np.percentile(times, 50)),
        p95_ms=float(np.percentile(times, 95)),
    )


def _get(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
    text = None if body is None else json.dumps(body)
    try:
        if connection.sock is None:
            connection.connect()
        # A service that refuses may answer, and read no more, while we still send: what it said counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body=text, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EdgeshipError(
            "service-unreachable", f"{method} {path}: {error or type(error).__name__}"
        ) from None
    if answer.status != 200:
        raise EdgeshipError(
            "service-refused", f"{method} {path}: {answer.status} {content.decode(errors='replace')}"
        )
    return json.loads(content)
