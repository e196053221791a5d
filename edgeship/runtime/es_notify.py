"""Telling systemd: READY, STOPPING, WATCHDOG (the datagram protocol of sd_notify(3)). Nothing happens without
it.
"""

import os
import socket


class Notifier(object):
    """Sends states to $NOTIFY_SOCKET; `watchdog_seconds` is the period systemd expects pings in, or None."""

    def __init__(self, environ):
        self._address = environ.get("NOTIFY_SOCKET") or None
        self.watchdog_seconds = None
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and mine and usec.isdigit() and int(usec) > 0:
            self.watchdog_seconds = int(usec) / 1e6

    def send(self, state):
        """Send one state line; a lost datagram is not worth dying for."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(state.encode("utf-8"), socket.MSG_DONTWAIT, address)
        except OSError:
            pass
