"""A service that refuses before it has the whole request is read: its words are what a prover tells."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from es_client import Client
from es_errors import CannotRun
from island_lab import MakeRelease, Serve, http

SMALL_BUFFER = 4096
LARGE = bytes(8 << 20)
Refusing = Callable[[bytes, str], str]


def refusal(status: str, words: bytes) -> bytes:
    body = b'{"error": "' + words + b'"}'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    """A function (answer's bytes, manner) -> url of a server that reads a little, answers, and reads no more.

    Manner `reset`: it closes over what lies unread, so that the client's next byte is answered by a reset;
    `silent`: it holds the connection and never reads on, so that the client's send gets no further.
    """
    held: list[socket.socket] = []

    def start(answer: bytes, manner: str) -> str:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        held.append(listener)

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.recv(1000)
                peer.sendall(answer)
                if manner == "reset":
                    peer.shutdown(socket.SHUT_WR)
                    peer.recv(1000)
                    peer.close()
                else:
                    held.append(peer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for sock in held:
        sock.close()


@pytest.mark.parametrize("manner", ["reset", "silent"])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("413 Content Too Large", b"the body holds 8388608 bytes; at most 1000 are taken"),
        ("431 Request Header Fields Too Large", b"the request's head is too long"),
        ("503 Service Unavailable", b"too many connections"),
    ],
)
def test_an_answer_before_the_end_of_the_request_is_the_answer(
    refusing: Refusing, status: str, words: bytes, manner: str
) -> None:
    client = Client(refusing(refusal(status, words), manner), timeout=0.5)
    for _ in range(2):  # The second request has a connection of its own, not the half of the first.
        got, _, body = client.ask("POST", "/v2/models/app/infer", LARGE)
        assert got == int(status[:3]) and words in body
    client.close()


@pytest.mark.parametrize("manner", ["reset", "silent"])
def test_a_service_that_says_nothing_is_told_by_what_went_wrong(refusing: Refusing, manner: str) -> None:
    client = Client(refusing(b"", manner), timeout=0.5)
    with pytest.raises(CannotRun) as caught:
        client.ask("POST", "/v2/models/app/infer", LARGE)
    assert caught.value.error == "service-unreachable"


def test_a_client_that_sends_everything_before_it_reads_gets_the_413(
    release: MakeRelease, serve: Serve
) -> None:
    """The real service throws away what comes after its refusal, so that no reset overtakes the answer."""
    service = serve(release())
    wire = service.wire(20)
    wire.sock.sendall(http("POST", "/v2/models/app/infer", bytes(32 << 20)))
    reply = wire.reply()
    assert reply.status == 413 and reply.json["error"] == (
        "the body holds 33554432 bytes; at most 1048576 are taken"
    )


def test_prove_live_tells_what_the_service_said(release: MakeRelease, serve: Serve) -> None:
    """Wherever a proxy or a limit stands between: the report names the refusal, never a broken pipe."""
    made = release("wide", limits={"body_bytes": 8 << 20})
    made.record([[bytes(4 * 1_000_000)]])
    service = serve(made)
    assert made.main("prove", "--release", str(made.path), "--live", service.facts["url"])[0] == 0
    service.stop()
    # The prover and the service read the same release; a smaller limit stands in for whatever refuses on the way.
    made.edit(lambda document: document["limits"].update(body_bytes=1000))
    service = serve(made)
    code, document, _ = made.main("prove", "--release", str(made.path), "--live", service.facts["url"])
    assert code == 1
    assert document["reason"].startswith(
        "1 of 1 golden vectors failed; first: vector 0: the service answered 413: the body holds 4000"
    ), document["reason"]
    assert document["reason"].endswith("bytes; at most 1000 are taken")


def test_what_would_be_large_as_json_is_proven_in_binary_alone(release: MakeRelease, serve: Serve) -> None:
    made = release("wide", limits={"body_bytes": 8 << 20})
    made.record([[bytes(4 * 1_000_000)]])
    service = serve(made)
    code, document, _ = made.main("prove", "--release", str(made.path), "--live", service.facts["url"])
    assert code == 0 and document["failed"] == 0 and document["exact"] is True
    assert document["json_agrees"] == {
        "unavailable": "as JSON one sample may take 26000000 bytes; compared up to 8388608"
    }
