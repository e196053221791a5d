"""The live service under excess and misbehaviour: limits, slow clients, a full queue, pipelining, random bytes."""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from island_lab import MakeRelease, Reply, Serve, Service, http

INFER = "/v2/models/app/infer"
BARE = "Inference-Header-Content-Length: 0"
RAW = struct.pack("<6f", 1, -2, 0.5, 3, 0, -1.5)
SLOW = http("POST", INFER, struct.pack("<f", 0.0), BARE)


def test_pipelined_requests_are_answered_in_order(dense_service: Service) -> None:
    paths = ["/v2", "/v2/health/live", INFER, "/nowhere", "/v2/health/ready", INFER, "/v2"]
    stream = b"".join(http("POST", p, RAW, BARE) if p == INFER else http("GET", p) for p in paths)
    wire = dense_service.wire().send(stream)
    replies = [wire.reply() for _ in paths]
    assert [reply.status for reply in replies] == [200, 200, 200, 404, 200, 200, 200]
    assert replies[2].body == replies[5].body and replies[0].body == replies[6].body


def test_a_request_byte_by_byte_is_still_a_request(dense_service: Service) -> None:
    wire = dense_service.wire()
    for byte in http("POST", INFER, RAW, BARE):
        wire.send(bytes([byte]))
    assert wire.reply().status == 200


def test_chunked_bodies_and_keep_alive_on_one_connection(dense_service: Service) -> None:
    wire = dense_service.wire()
    head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\n{BARE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (RAW[:1], RAW[1:20], RAW[20:]))
    for _ in range(3):
        assert wire.send(head + chunks + b"0\r\n\r\n").reply().status == 200


def test_http_1_0_and_connection_close_end_the_connection(dense_service: Service) -> None:
    wire = dense_service.wire().send(b"GET /v2 HTTP/1.0\r\n\r\n")
    assert wire.reply().headers["connection"] == "close" and wire.closed()
    wire = dense_service.wire().send(http("GET", "/v2", b"", "Connection: close"))
    assert wire.reply().headers["connection"] == "close" and wire.closed()


def test_expect_100_continue(dense_service: Service) -> None:
    head, _, body = http("POST", INFER, RAW, BARE, "Expect: 100-continue").partition(b"\r\n\r\n")
    wire = dense_service.wire().send(head + b"\r\n\r\n")
    assert wire.reply().status == 100
    assert wire.send(body).reply().status == 200
    too_long = head.replace(b"Content-Length: 24", b"Content-Length: 99999999")
    assert dense_service.wire().send(too_long + b"\r\n\r\n").reply().status == 413


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (http("GET", "/v2", b"", "X: " + "a" * 9000), 431, "longer than 8192 bytes"),
        (b"POST /v2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n", 413, "at most 1048576"),
        (b"hello\r\n\r\n", 400, "the request line"),
        (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505, "HTTP/3.0 is not served"),
    ],
)
def test_refusals_are_json_and_close_the_connection(
    dense_service: Service, request_bytes: bytes, status: int, reason: str
) -> None:
    wire = dense_service.wire().send(request_bytes)
    reply = wire.reply()
    assert reply.status == status and reason in reply.json["error"]
    assert reply.headers["connection"] == "close" and wire.closed()


def test_a_client_that_sends_a_body_too_long_gets_to_read_the_answer(dense_service: Service) -> None:
    head = b"POST /v2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"
    wire = dense_service.wire().send(head + bytes(500_000))
    assert wire.reply().status == 413


def test_slow_and_idle_clients_are_ended(release: MakeRelease, serve: Serve) -> None:
    service = serve(release(limits={"request_seconds": 0.6, "idle_seconds": 1.0}))
    drip = service.wire().send(b"GET /v2 HT")
    body = service.wire().send(b"POST /v2 HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
    silent = service.wire()
    begun = time.monotonic()
    for wire in (drip, body):
        reply = wire.reply()
        assert reply.status == 408 and "did not arrive within 0.6 s" in reply.json["error"]
    assert silent.closed()
    assert time.monotonic() - begun < 5
    idle = service.wire().send(http("GET", "/v2"))
    assert idle.reply().status == 200
    begun = time.monotonic()
    assert idle.closed()
    assert 0.5 < time.monotonic() - begun < 6
    # Dripping one byte at a time does not stretch the deadline.
    slow = service.wire()
    begun = time.monotonic()
    with pytest.raises(EOFError):
        while True:
            slow.send(b"a")
            time.sleep(0.1)
            slow.sock.settimeout(0.001)
            try:
                assert slow.reply().status == 408
            except TimeoutError:
                continue
    assert time.monotonic() - begun < 5


def test_too_many_connections_get_503_and_the_first_ones_live_on(release: MakeRelease, serve: Serve) -> None:
    service = serve(release(limits={"connections": 4}))
    held = [service.wire() for _ in range(4)]
    for wire in held:
        assert wire.send(http("GET", "/v2")).reply().status == 200
    refused = service.wire().reply()
    assert refused.status == 503 and refused.headers["retry-after"] == "1"
    assert held[0].send(http("GET", "/v2")).reply().status == 200
    for wire in held:
        wire.close()
    until = time.monotonic() + 5
    while service.wire().send(http("GET", "/v2")).reply().status != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_full_queue_answers_503_and_health_answers_meanwhile(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("slow", limits={"queue": 2}))
    wires = [service.wire(60) for _ in range(8)]
    for wire in wires:
        wire.send(SLOW)
    begun = time.monotonic()
    assert service.ask("GET", "/v2/health/live").status == 200
    quick = time.monotonic() - begun
    in_flight = service.metric("edgeship_in_flight")
    replies = [wire.reply() for wire in wires]
    # One runs, two wait; on a slow machine one may end before the last arrives and make room for another.
    assert [reply.status for reply in replies].count(200) in (3, 4, 5)
    full = [reply for reply in replies if reply.status == 503]
    assert len(full) >= 3 and {reply.headers["retry-after"] for reply in full} == {"1"}
    assert full[0].json["error"] == "the queue is full (2 requests)"
    assert in_flight >= 1, "the inferences were over before the question was asked"
    assert quick < 2.0
    assert service.metric("edgeship_queue_depth") == 0


def test_a_request_that_waited_too_long_is_not_computed(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("slow", limits={"request_seconds": 0.2, "queue": 32}))
    wires = [service.wire(60).send(SLOW) for _ in range(12)]
    statuses = [wire.reply().status for wire in wires]
    assert statuses[0] == 200 and 503 in statuses
    computed = service.metric("edgeship_inference_seconds_count")
    assert computed == statuses.count(200)


def test_clients_that_vanish_do_not_disturb_others(release: MakeRelease, serve: Serve) -> None:
    service = serve(release("slow"))
    for _ in range(3):
        wire = service.wire().send(SLOW)
        wire.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: a reset instead of a farewell.
        wire.close()
    assert service.wire(60).send(SLOW).reply().status == 200
    assert service.process.poll() is None


def test_a_client_that_closes_its_sending_side_still_gets_its_answer(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release("slow"))
    wire = service.wire(60).send(SLOW)
    wire.sock.shutdown(1)
    assert wire.reply().status == 200 and wire.closed()


def test_a_client_that_does_not_read_is_ended_and_others_are_served(
    release: MakeRelease, serve: Serve
) -> None:
    service = serve(release(limits={"request_seconds": 1.0}))
    deaf = service.wire()
    deaf.sock.setsockopt(1, 8, 4096)  # SO_RCVBUF
    deaf.sock.settimeout(0.2)
    stream = http("GET", "/metrics") * 200
    with pytest.raises(OSError):
        for _ in range(2000):
            deaf.sock.sendall(stream)
    assert service.ask("GET", "/v2").status == 200
    until = time.monotonic() + 10
    while service.metric("edgeship_connections") > 1:
        assert time.monotonic() < until, "the deaf client was kept"
        time.sleep(0.1)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_and_mutated_bytes_never_take_the_process_down(
    dense_service: Service, data: st.DataObject
) -> None:
    good = http("POST", INFER, RAW, BARE) + http("GET", "/v2")
    kind = data.draw(st.sampled_from(["random", "mutated", "json"]))
    if kind == "random":
        stream = data.draw(st.binary(max_size=400))
    elif kind == "json":
        junk = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["inputs", "name", "shape", "data", "datatype", "parameters", "id"]),
                    inner,
                )
            ),
            max_leaves=12,
        )
        entry = {"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [1, 2, 3, 4, 5, 6]}
        entry[data.draw(st.sampled_from(list(entry)))] = data.draw(junk)
        document: Any = data.draw(st.just({"inputs": [entry]}) | junk)
        stream = http("POST", INFER, json.dumps(document).encode())
    else:
        mutated = bytearray(good)
        for _ in range(data.draw(st.integers(1, 5))):
            position = data.draw(st.integers(0, len(mutated) - 1))
            mutated[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        stream = bytes(mutated)
    wire = dense_service.wire(5).send(stream)
    wire.sock.shutdown(1)
    replies: list[Reply] = []
    try:
        while True:
            replies.append(wire.reply())
    except (EOFError, ConnectionResetError):
        pass
    wire.close()
    for reply in replies:
        assert reply.status in (100, 200, 400, 404, 405, 413, 414, 417, 431, 501, 505), reply
        if reply.status >= 400:
            assert reply.json["error"]
    assert dense_service.process.poll() is None
    assert "internal-error" not in dense_service.stderr()
    assert dense_service.ask("GET", "/v2/health/live").status == 200


def test_many_clients_at_once_all_get_their_own_answer(dense_service: Service) -> None:
    wrong: list[str] = []

    def client(seed: int) -> None:
        rng = random.Random(seed)
        wire = dense_service.wire()
        for number in range(40):
            x = [rng.uniform(-4, 4) for _ in range(6)]
            body = {
                "id": f"{seed}-{number}",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": x}],
            }
            reply = wire.send(http("POST", INFER, json.dumps(body).encode())).reply()
            if reply.status != 200 or reply.json["id"] != f"{seed}-{number}":
                wrong.append(f"{reply.status} {reply.body!r}")

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_file_descriptor_is_left_behind(dense_service: Service) -> None:
    folder = Path(f"/proc/{dense_service.facts['pid']}/fd")
    dense_service.ask("GET", "/v2")
    time.sleep(0.2)
    before = len(list(folder.iterdir()))
    for _ in range(50):
        dense_service.ask("GET", "/v2")
        dense_service.wire().send(b"nonsense\r\n\r\n").close()
    until = time.monotonic() + 5
    while len(list(folder.iterdir())) > before + 2:
        assert time.monotonic() < until, list(folder.iterdir())
        time.sleep(0.1)
