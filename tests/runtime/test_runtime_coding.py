"""Compressed request bodies: taken, or refused as 415; never more of them in memory than the limit says."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from es_coding import decompressed
from es_errors import Refused
from island_lab import MakeRelease, Serve, Service, http

INFER = "/v2/models/app/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 6], "data": [1, -2, 0.5, 3, 0, -1.5]}]}
).encode()


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
)
def test_a_compressed_request_is_the_request(dense_service: Service, coding: str, data: bytes) -> None:
    plain = dense_service.ask("POST", INFER, BODY)
    answer = dense_service.ask("POST", INFER, data, f"Content-Encoding: {coding}")
    assert answer.status == 200 and answer.json == plain.json


def test_the_json_part_is_counted_decompressed(dense_service: Service) -> None:
    import struct

    entry = {"name": "x", "datatype": "FP32", "shape": [1, 6], "parameters": {"binary_data_size": 24}}
    head = json.dumps({"inputs": [entry]}).encode()
    body = head + struct.pack("<6f", 1, -2, 0.5, 3, 0, -1.5)
    lines = ("Content-Encoding: gzip", f"Inference-Header-Content-Length: {len(head)}")
    answer = dense_service.ask("POST", INFER, gzip.compress(body), *lines)
    assert answer.json == dense_service.ask("POST", INFER, BODY).json


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "aes128gcm"])
def test_other_codings_are_refused_before_the_body_is_sent(dense_service: Service, coding: str) -> None:
    head = http("POST", INFER, BODY, f"Content-Encoding: {coding}").partition(b"\r\n\r\n")[0]
    wire = dense_service.wire().send(head + b"\r\n\r\n")
    reply = wire.reply()
    assert reply.status == 415 and reply.headers["accept-encoding"] == "gzip, deflate"
    assert reply.json["error"] == f"the content encoding '{coding}' is not taken; send gzip, deflate, or none"
    assert wire.closed()


def test_a_request_without_a_body_has_no_coding(dense_service: Service) -> None:
    assert dense_service.ask("GET", "/v2", b"", "Content-Encoding: br").status == 200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (BODY, "the body is not gzip: "),
        (gzip.compress(BODY, mtime=0)[:-9], "the gzip body is cut short"),
        (gzip.compress(BODY, mtime=0) + b"more", "4 bytes follow the end of the gzip body"),
        (gzip.compress(BODY, mtime=0) * 2, "follow the end of the gzip body"),
        (gzip.compress(b"[1]", mtime=0), "the body must be a JSON object"),
    ],
)
def test_what_is_no_gzip_is_refused_in_words(dense_service: Service, data: bytes, reason: str) -> None:
    answer = dense_service.ask("POST", INFER, data, "Content-Encoding: gzip")
    assert answer.status == 400 and reason in answer.json["error"]
    assert dense_service.ask("POST", INFER, BODY).status == 200


def test_a_bomb_is_refused_without_being_unpacked(release: MakeRelease, serve: Serve) -> None:
    service = serve(release())
    service.ask("POST", INFER, BODY)
    before = service.metric("process_resident_memory_bytes")
    bomb = gzip.compress(bytes(256 << 20), 9)
    assert len(bomb) < 1 << 19
    answer = service.ask("POST", INFER, bomb, "Content-Encoding: gzip")
    assert answer.status == 413
    assert answer.json["error"] == "the decompressed body holds more than 1048576 bytes"
    assert service.metric("process_resident_memory_bytes") - before < 32 << 20


def test_exactly_as_much_as_is_allowed_is_taken() -> None:
    data = bytes(1000)
    assert decompressed(gzip.compress(data), "gzip", 1000) == data
    assert decompressed(gzip.compress(b""), "gzip", 1) == b""
    with pytest.raises(Refused) as caught:
        decompressed(gzip.compress(data), "gzip", 999)
    assert caught.value.status == 413
