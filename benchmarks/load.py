"""A load generator in a process of its own: closed loop (as fast as answers come) or open loop (at a fixed rate).

Prints one JSON document. Standard library only, so that it costs little beside the server it loads.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from pathlib import Path


def percentile(values: list[float], fraction: float) -> float:
    """Return the nearest-rank percentile of unsorted values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def status_of(received: bytes) -> int | None:
    """Return the status of an answer once all of it is here, else None."""
    head, mark, body = received.partition(b"\r\n\r\n")
    if not mark:
        return None
    at = head.lower().index(b"\r\ncontent-length:") + len(b"\r\ncontent-length:")
    length = int(head[at:].split(b"\r\n", 1)[0])
    return int(head[9:12]) if len(body) >= length else None


class Client:
    """One keep-alive connection that has at most one request under way."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.received = b""
        self.due = 0.0

    def send(self, due: float) -> None:
        """Send one request; `due` is the moment its latency counts from."""
        self.due = due
        self.received = b""
        self.sock.sendall(self.request)

    def receive(self) -> int | None:
        """Return the status once the whole answer is here, else None."""
        data = self.sock.recv(65536)
        if not data:
            raise SystemExit("the server closed a connection under load")
        self.received += data
        return status_of(self.received)


def closed(clients: list[Client], seconds: float) -> dict[str, object]:
    """Return latencies and throughput with every client asking again as soon as it has its answer."""
    latencies: list[float] = []
    refused = 0
    poll = select.epoll()
    by_fd = {client.sock.fileno(): client for client in clients}
    begun = time.perf_counter()
    for fd, client in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        client.send(time.perf_counter())
    while (now := time.perf_counter()) - begun < seconds:
        for fd, _ in poll.poll(1.0):
            client = by_fd[fd]
            status = client.receive()
            if status is None:
                continue
            now = time.perf_counter()
            latencies.append(now - client.due)
            refused += status != 200
            client.send(now)
    return report(latencies, refused, time.perf_counter() - begun)


def opened(clients: list[Client], seconds: float, rate: float) -> dict[str, object]:
    """Return latencies, counted from the planned moment, with requests sent at `rate` a second whatever happens."""
    latencies: list[float] = []
    refused = sent = 0
    poll = select.epoll()
    by_fd = {client.sock.fileno(): client for client in clients}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    free = list(clients)
    begun = time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds:
        while free and begun + sent / rate <= now:
            free.pop().send(begun + sent / rate)
            sent += 1
        wait = max(0.0, begun + sent / rate - time.perf_counter()) if free else 1.0
        for fd, _ in poll.poll(min(wait, 0.001) if wait < 0.002 else wait - 0.001):
            client = by_fd[fd]
            status = client.receive()
            if status is not None:
                latencies.append(time.perf_counter() - client.due)
                refused += status != 200
                free.append(client)
    return report(latencies, refused, time.perf_counter() - begun)


def report(latencies: list[float], refused: int, seconds: float) -> dict[str, object]:
    """Return the figures of a run, in milliseconds and requests a second."""
    return {
        "requests": len(latencies),
        "refused": refused,
        "per_second": len(latencies) / seconds,
        "p50_ms": percentile(latencies, 0.5) * 1e3,
        "p95_ms": percentile(latencies, 0.95) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
    }


def main() -> None:
    """Run one load and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--request", required=True, help="file that holds one complete HTTP request")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0 means closed loop")
    options = parser.parse_args()
    request = Path(options.request).read_bytes()
    clients = [Client((options.host, options.port), request) for _ in range(options.clients)]
    figures = (
        opened(clients, options.seconds, options.rate) if options.rate else closed(clients, options.seconds)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
