"""A load generator in a process of its own: requests at the moments of a schedule, whatever the server does.

Reads a JSON file {"host", "port", "request": file, "at": [seconds], "connections": n} and prints {"latencies":
[[seconds from the planned moment, status], ...]} in the order of the schedule. Standard library only.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path

from benchmarks.load import status_of


class Client:
    """One keep-alive connection that has at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address, self.received, self.number = address, b"", -1
        self.sock = self._open()

    def _open(self) -> socket.socket:
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def send(self, request: bytes, number: int) -> None:
        """Send request `number` of the schedule."""
        self.received, self.number = b"", number
        self.sock.sendall(request)

    def again(self) -> None:
        """Connect anew: the server ends connections that it refused something on, and idle ones."""
        self.sock.close()
        self.sock = self._open()

    def receive(self) -> int | None:
        """Return the status once the whole answer is here, else None."""
        data = self.sock.recv(65536)
        if not data:
            return 0  # closed
        self.received += data
        return status_of(self.received)


def run(clients: list[Client], request: bytes, at: list[float]) -> list[list[float]]:
    """Return (latency, status) of every request; a request waits for a free connection where all are under way."""
    answers: list[list[float]] = [[0.0, 0] for _ in at]
    poll = select.epoll()
    by_fd = {}

    def watch(client: Client) -> None:
        by_fd[client.sock.fileno()] = client
        poll.register(client.sock.fileno(), select.EPOLLIN)

    for client in clients:
        watch(client)
    free, sent, left = list(clients), 0, len(at)
    begun = time.perf_counter() + 0.2
    while left:
        now = time.perf_counter() - begun
        while sent < len(at) and at[sent] <= now and free:
            free.pop().send(request, sent)
            sent += 1
        wait = max(0.0, at[sent] - (time.perf_counter() - begun)) if sent < len(at) and free else 0.5
        # epoll wakes a millisecond late at worst: the last of it is waited for awake.
        for fd, _ in poll.poll(0.0 if wait < 0.0015 else wait - 0.001):
            client = by_fd[fd]
            status = client.receive()
            if status is None:
                continue
            if status == 0:
                poll.unregister(fd)
                del by_fd[fd]
                if client not in free:
                    raise SystemExit(f"the server closed a connection that waits for answer {client.number}")
                client.again()
                watch(client)
                continue
            answers[client.number] = [time.perf_counter() - begun - at[client.number], status]
            free.append(client)
            left -= 1
    return answers


def main() -> None:
    """Run one schedule and print its answers."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    request = Path(plan["request"]).read_bytes()
    clients = [Client((plan["host"], plan["port"])) for _ in range(plan["connections"])]
    print(json.dumps({"latencies": run(clients, request, plan["at"])}))


if __name__ == "__main__":
    main()
