"""The HTTP reader by itself: what it accepts, what it refuses, and that how bytes arrive does not matter."""

from __future__ import annotations

from typing import Any

import pytest
from es_errors import Refused
from es_head import Heads, Request, parse_head
from es_http import RequestReader
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = b"POST /v2/models/a/infer?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED += b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"


def read(data: bytes, pieces: int = 1) -> list[Any]:
    """Feed data in pieces; return all requests."""
    reader = RequestReader(1024, 4096)
    found = []
    step = max(1, len(data) // pieces)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (request := reader.next()) is not None:
            found.append((request.method, request.path, request.body, request.keep_alive))
    return found


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_requests_are_the_same_however_they_arrive(pieces: int) -> None:
    stream = GOOD + CHUNKED + b"\r\n" + b"GET http://h/v2 HTTP/1.0\r\n\r\n"
    assert read(stream, pieces) == [
        ("POST", "/v2/models/a/infer", b"hello", True),
        ("POST", "/p", b"abcde", True),
        ("GET", "/v2", b"", False),
    ]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        (b"G\xc3T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
        (b"GET /" + b"a" * 2100 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 2000, 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \xb2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", 417),
        (CHUNKED.replace(b"3;a=b\r\n", b"0x3\r\n"), 400),
        (CHUNKED.replace(b"3;a=b\r\n", b"-3\r\n"), 400),
        (CHUNKED.replace(b"3;a=b\r\n", b"3 3\r\n"), 400),
        (CHUNKED.replace(b"abc\r\n", b"abcX\r\n"), 400),
        (CHUNKED.replace(b"abc\r\n", b"abcde"), 400),
        (CHUNKED.replace(b"3;a=b\r\n", b"3;" + b"a" * 400 + b"\r\n"), 400),
        (CHUNKED.replace(b"3;a=b\r\n", b"ffffff\r\n"), 413),
        (CHUNKED.replace(b"3;a=b\r\n", b"fffffffffffffffff\r\n"), 400),
        (CHUNKED.replace(b"X: y\r\n", b"X y\r\n"), 400),
        (CHUNKED.replace(b"X: y\r\n", b"X: y\r\n" * 300), 431),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_ends_the_connection(data: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read(data)
    assert refused.value.status == status
    assert refused.value.close
    assert refused.value.reason


def test_a_target_that_is_too_long_has_its_own_status() -> None:
    reader = RequestReader(8192, 10)
    reader.feed(b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    with pytest.raises(Refused) as refused:
        reader.next()
    assert refused.value.status == 414


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_give_requests_or_a_refusal(data: bytes, pieces: int) -> None:
    try:
        read(data, pieces)
    except Refused as error:
        assert 400 <= error.status <= 505


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([GOOD, CHUNKED]), st.data())
def test_a_mutated_request_gives_the_same_answer_whole_and_in_pieces(
    start: bytes, data: st.DataObject
) -> None:
    mutated = bytearray(start)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutated) - 1))
        mutated[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    def outcome(pieces: int) -> Any:
        try:
            return read(bytes(mutated), pieces)
        except Refused as error:
            return error.status

    whole, bytewise = outcome(1), outcome(10_000)
    # A bare newline is noticed earlier when it arrives before the rest; both ways the client is refused.
    assert whole == bytewise or (isinstance(whole, int) and isinstance(bytewise, int))


LINES = [
    b"Host: h",
    b"host: other",
    b"Content-Length: 5",
    b"Content-Length: 12",
    b"content-length: 7",
    b"Content-Length: 007",
    b"Content-Length: 0",
    b"Content-Length:  5",
    b"CONTENT-LENGTH: 5",
    b"X-Content-Length: 5",
    b"Content-Length: x",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"Inference-Header-Content-Length: 3",
    b"Transfer-Encoding: chunked",
]
heads = st.lists(st.sampled_from(LINES[2:]), max_size=3).map(
    lambda lines: b"\r\n".join([b"", LINES[0], *lines])
)


@given(st.lists(st.tuples(st.sampled_from([b"POST /a", b"GET /b"]), heads), min_size=1, max_size=12))
@settings(deadline=None, max_examples=300)
def test_a_remembered_head_is_read_as_a_new_one(sent: list[tuple[bytes, bytes]]) -> None:
    remembering = Heads()
    for line, lines in sent * 2:
        head = line + b" HTTP/1.1" + lines
        try:
            wanted = parse_head(head)
        except Refused as error:
            with pytest.raises(Refused) as refused:
                remembering.parse(head)
            assert (refused.value.status, refused.value.reason) == (error.status, error.reason)
            continue
        found = remembering.parse(head)
        assert vars_of(found) == vars_of(wanted)
        found.body, found.headers["x"] = b"kept by whoever took it", "y"


def vars_of(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name, None) for name in Request.__slots__}


def test_a_head_is_remembered_and_not_its_length() -> None:
    remembering, head = Heads(), b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nAccept: */*"
    requests = [remembering.parse(head % length) for length in (5, 12, 5)]
    assert [(r.length, r.headers["content-length"]) for r in requests] == [(5, "5"), (12, "12"), (5, "5")]
    assert requests[0].path is requests[1].path is requests[2].path  # Not read again.
    assert remembering.parse(head.replace(b"/a", b"/b") % 5).path == "/b"
