"""A watchdog for services that no systemd watches: it gives them the socket that they would ping, and listens."""

import contextlib
import os
import socket
import struct
import time

WATCHDOG_SECONDS = 30.0
"""As in the unit for systemd."""
CREDENTIALS = struct.Struct("3i")


class Watchdog(object):
    """Tells when a service that pinged has been silent for too long. One that never pings is not watched."""

    def __init__(self):
        self.name = "edgeship-%d-%d" % (os.getpid(), time.monotonic() * 1e6)
        self.socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + self.name)
        self.last = None

    def environment(self):
        """Return what the service must find in its environment; it is a new one, so nothing was heard of it yet."""
        self.last = None
        return {"NOTIFY_SOCKET": "@" + self.name, "WATCHDOG_USEC": "%d" % (WATCHDOG_SECONDS * 1e6)}

    def silent(self, pid):
        """Return for how many seconds the service with that pid is silent, once that is too long; else None."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, extra, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
                senders = [CREDENTIALS.unpack(part[2][: CREDENTIALS.size])[0] for part in extra]
                if b"WATCHDOG=1" in data.split(b"\n") and senders == [pid]:
                    self.last = time.monotonic()
        quiet = time.monotonic() - self.last if self.last is not None else 0.0
        return quiet if quiet > WATCHDOG_SECONDS else None
