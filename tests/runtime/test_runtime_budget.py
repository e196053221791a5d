"""Memory of large requests and answers over all connections together: bounded, and told early."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from es_budget import SMALL, Budget
from es_errors import Refused
from island_lab import MakeRelease, Serve, Service, Wire, http

INFER = "/v2/models/app/infer"
BARE = "Inference-Header-Content-Length: 0"
LARGE = 300_000
HEAD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1_000_000]}]}
MIB = 1 << 20


def upload(length: int, *lines: str) -> bytes:
    """Return the head of a request whose body is to follow."""
    return http("POST", INFER, b"", *lines).replace(b"Content-Length: 0", b"Content-Length: %d" % length)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def held(service: Service) -> float:
    return service.metric("edgeship_buffered_bytes")


def test_a_budget_counts_what_is_large_and_lets_who_is_alone_have_it() -> None:
    budget = Budget({"buffered_bytes": 10 * SMALL, "body_bytes": 1})
    assert budget.take(SMALL) == 0 == budget.held
    assert budget.take(20 * SMALL) == 20 * SMALL == budget.held, "alone"
    assert budget.take(20 * SMALL, own=20 * SMALL) == 20 * SMALL, "the answer to it"
    with pytest.raises(Refused) as caught:
        budget.take(2 * SMALL)
    assert caught.value.status == 503 and ("Retry-After", "1") in caught.value.headers
    assert budget.take(SMALL) == 0, "small ones go on"
    budget.give(40 * SMALL)
    assert budget.held == 0
    assert Budget({"body_bytes": 7}).most == 14


@pytest.mark.parametrize("lines", [(), ("Expect: 100-continue",)])
def test_one_body_too_many_is_told_before_it_is_sent(
    release: MakeRelease, serve: Serve, lines: tuple[str, ...]
) -> None:
    service = serve(release(limits={"buffered_bytes": 2 * LARGE, "request_seconds": 2.0}))
    waiting = [service.wire().send(upload(LARGE)) for _ in range(2)]
    until(lambda: held(service) == 2 * LARGE)
    third = service.wire().send(upload(LARGE, *lines))
    reply = third.reply()
    assert reply.status == 503 and reply.headers["retry-after"] == "1" and third.closed()
    assert reply.json["error"] == (
        "requests and answers on their way hold 600000 of 600000 bytes; 300000 more have no room now"
    )
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [0] * 6}]}
    assert service.infer(document).status == 200, "small requests are served all the same"
    waiting[0].close()
    until(lambda: held(service) == LARGE)
    late = service.wire().send(http("POST", INFER, bytes(24 * 10_000), BARE))
    assert late.reply().status == 200, "there is room again, and the answer is no larger than the request"
    assert waiting[1].reply().status == 408
    until(lambda: held(service) == 0)


def test_a_chunked_body_is_counted_as_it_comes_and_freed_when_refused(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release(limits={"buffered_bytes": 4 * LARGE}))
    waiting = service.wire().send(upload(3 * LARGE))
    until(lambda: held(service) == 3 * LARGE)
    wire = service.wire().send(
        http("POST", INFER, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    )
    chunk = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
    for _ in range(3):
        wire.send(chunk)
    until(lambda: held(service) > 3 * LARGE)
    wire.send(chunk * 3)
    assert wire.reply().status == 503
    assert held(service) == 3 * LARGE
    waiting.close()
    until(lambda: held(service) == 0)


def _deaf(service: Service, request: bytes) -> Wire:
    wire = service.wire()
    wire.sock.setsockopt(1, 8, 4096)  # SO_RCVBUF
    return wire.send(request)


def test_answers_that_nobody_reads_are_counted_too(release: MakeRelease, serve: Serve) -> None:
    """A small request with a large answer, and a client that does not read: it would cost memory, not time."""
    limits = {"buffered_bytes": 20 * MIB, "body_bytes": 8 * MIB, "request_seconds": 30.0}
    service = serve(release("tiled", limits=limits))
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    body = {"inputs": [entry], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    request = http("POST", INFER, json.dumps(body).encode())
    deaf = [_deaf(service, request) for _ in range(2)]  # 8,000,000 bytes each
    until(lambda: held(service) > 15_900_000 and service.metric("edgeship_in_flight") == 0)
    refused = service.wire().send(request).reply()
    assert refused.status == 503 and "hold 1599" in refused.json["error"]
    deaf[0].close()
    until(lambda: held(service) < 9_000_000)
    reply = service.wire().send(request).reply()
    assert reply.status == 200 and len(reply.body) > 8_000_000
    deaf[1].close()
    until(lambda: held(service) == 0)


def _resident(service: Service) -> int:
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * 4096


def test_twelve_large_bodies_at_once_take_no_more_memory_than_the_limit(
    release: MakeRelease, serve: Serve
) -> None:
    """12 of 4 MB would be 48 MB. Clients that were told to come again do, and all are answered."""
    service = serve(release("wide", limits={"body_bytes": 8 * MIB, "buffered_bytes": 16 * MIB}))
    entry: dict[str, Any] = {**HEAD["inputs"][0], "parameters": {"binary_data_size": 4_000_000}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    body = head + bytes(4_000_000)
    request = http("POST", INFER, body, f"Inference-Header-Content-Length: {len(head)}")
    assert service.wire().send(request).reply().status == 200
    before, peak, statuses = _resident(service), [0], []

    def client() -> None:
        while True:
            wire = service.wire(60).send(request)
            status = wire.reply().status
            wire.close()
            statuses.append(status)
            peak[0] = max(peak[0], _resident(service))
            if status == 200:
                return
            time.sleep(0.1)

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses.count(200) == 12 and set(statuses) <= {200, 503}
    assert peak[0] - before < 40 * MIB
    assert held(service) == 0


def test_what_is_large_may_take_longer(release: MakeRelease, serve: Serve) -> None:
    """4 MB over a board's wireless link, both ways: what a small request may take would cut both of them."""
    service = serve(release("wide", limits={"body_bytes": 8 * MIB, "request_seconds": 0.5}))
    data = http("POST", INFER, bytes(4_000_000), BARE)
    wire = service.wire()
    wire.sock.setsockopt(1, 8, 1 << 17)  # SO_RCVBUF: the answer does not fit, and waits for the reader.
    for piece in range(0, len(data), 1_000_000):
        wire.send(data[piece : piece + 1_000_000])
        time.sleep(0.25)
    time.sleep(1.0)
    reply = wire.reply()
    assert reply.status == 200 and len(reply.body) > 4_000_000
    slow = service.wire().send(upload(200_000))
    assert slow.reply().json["error"] == "the request did not arrive within 0.691 s"


def test_an_idle_connection_keeps_no_body(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("wide", limits={"body_bytes": 8 * MIB}))
    body = bytes(4_000_000)
    request = http("POST", "/v2", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    request += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    wires = [service.wire() for _ in range(8)]
    wires[0].send(request).reply()
    before = _resident(service)
    for wire in wires:
        assert wire.send(request).reply().status == 405
    assert _resident(service) - before < 8 * MIB
