"""One client connection: its reader, its unsent bytes and its deadline. The Server moves it from state to
state.
"""

import time

from es_http import RequestReader

# States: READING (idle, or a request is arriving), WAITING (its request is with the worker), LINGERING (our
# last answer is sent and our side closed; what the client still sends is thrown away, so that it gets to read
# the answer).
READING, WAITING, LINGERING = "reading", "waiting", "lingering"


class Connection(object):
    """Owned by the loop; knows no routes."""

    __slots__ = (
        "sock",
        "fd",
        "reader",
        "out",
        "held",
        "state",
        "begun",
        "deadline",
        "idle",
        "closing",
        "ended",
        "events",
        "discarded",
        "started",
    )

    def __init__(self, sock, limits):
        self.sock = sock
        self.fd = sock.fileno()
        self.reader = RequestReader(limits["header_bytes"], limits["body_bytes"])
        self.out = b""
        self.held = 0  # Bytes of the budget: of the request's body, then of its answer.
        self.state = READING
        self.idle = True
        self.closing = False  # The connection ends after the answer.
        self.ended = False  # The client will send nothing more.
        self.events = 0
        self.discarded = 0
        self.started = 0.0
        self.begun = time.monotonic()  # Since when the request arrives, or the answer leaves.
        self.deadline = self.begun + limits["request_seconds"]

    def receive(self, size=65536):
        """Return received bytes, b"" at the end of the stream, None where nothing is there."""
        try:
            return self.sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def send(self, data=b""):
        """Send what can be sent now and keep the rest in `out`; return False where the client is gone."""
        if self.out:
            data = bytes(self.out) + data if data else self.out
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.out = b""
            return False
        # A view: an answer of megabytes leaves in many pieces, and is not copied for each of them.
        self.out = b"" if sent == len(data) else memoryview(data)[sent:]
        return True
