"""The demo's client reads what a service says, also where it says it before the request is out."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from edgeship.demo.client import _get
from edgeship.errors import EdgeshipError


@pytest.mark.parametrize(
    ("answer", "reference", "words"),
    [
        (
            b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 25\r\n\r\n{"error": "far too long"}',
            "service-refused",
            'POST /infer: 413 {"error": "far too long"}',
        ),
        (b"", "service-unreachable", "POST /infer: "),
    ],
)
def test_a_refusal_before_the_end_of_the_request_is_told(answer: bytes, reference: str, words: str) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)

    def refuse() -> None:
        peer, _ = listener.accept()
        peer.recv(1000)
        peer.sendall(answer)
        peer.shutdown(socket.SHUT_WR)
        peer.close()  # over unread bytes: what the client sends next is answered by a reset

    thread = threading.Thread(target=refuse)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=10)
    with pytest.raises(EdgeshipError) as caught:
        _get(connection, "POST", "/infer", {"data": [0.5] * 4_000_000})
    thread.join()
    listener.close()
    assert caught.value.reference == reference and caught.value.message.startswith(words)


def test_nobody_there_is_told() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", 9, timeout=1)
    with pytest.raises(EdgeshipError) as caught:
        _get(connection, "GET", "/v2", None)
    assert caught.value.reference == "service-unreachable"
