"""A talk with the helper on one device: it is shipped when missing, and every answer is a value or a refusal."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from edgeship.deploy import refusals, requests
from edgeship.deploy.options import DeployOptions
from edgeship.device.facts import Probed, parse_facts
from edgeship.errors import DeviceError
from edgeship.remote import Command, Completed, Transport, connect
from edgeship.remote.command import link_lost
from edgeship.values import Host

PACKED_REPLY = b"x"
"""How deflated data begins, and JSON does not."""


class HelperMissing(DeviceError):
    """The helper of this very version is not on the device yet."""


class Session:
    """One device, over as many connections as it takes. `interrupt` may be called from another thread."""

    def __init__(self, host: Host, options: DeployOptions, app: str | None) -> None:
        self.host, self.options, self.app = host, options, app
        self.root = options.root_on(host)
        self.bytes_sent = 0
        self.connections = 0
        self.notes: list[str] = []
        self.interrupted = threading.Event()
        self._transport: Transport | None = None

    def reconnect(self) -> None:
        """Drop the connection; the next question opens a fresh one."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def interrupt(self) -> None:
        """End what is being waited for; the next question fails unless `resume` is called first."""
        self.interrupted.set()
        transport = self._transport
        if transport is not None:
            transport.close()

    def resume(self) -> None:
        """Allow questions again after `interrupt`: to bring the device to a safe state."""
        self.interrupted.clear()
        self.reconnect()

    def run(self, command: Command, progress: Callable[[int], None] | None = None) -> Completed:
        """Run a command, connecting first where there is no connection."""
        if self.interrupted.is_set():
            raise link_lost(self.host.text, "interrupted")
        if self._transport is None:
            self._transport = connect(self.host, self.options.connection())
            self.connections += 1
            self.notes += self._transport.notes
        return self._transport.run(command, progress)

    @property
    def sudo(self) -> bool:
        """Whether commands become root."""
        return self.options.sudo_on(self.host)

    @property
    def packs(self) -> bool:
        """Whether bytes cost something on the way to this host."""
        return requests.packs(self.host)

    def probe(self) -> Probed:
        """Return the facts of the device."""
        done = self.run(requests.probe_command(self.host, self.options, self.app))
        return parse_facts(done.stdout.decode("utf-8", "replace"))

    def ship(self) -> None:
        """Bring the helper to the device."""
        command = requests.ship_command(self.host, self.options)
        done = self.run(command)
        self.bytes_sent += sum(len(piece) for piece in command.pieces())
        if done.status != 0:
            raise refusals.could_not_run(self.host, self.root, done)

    def ask(
        self,
        verb: str,
        *,
        timeout: float = 60.0,
        payload: Callable[[], Iterable[bytes]] | None = None,
        progress: Callable[[int], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return the helper's answer. Raises DeviceError: HelperMissing, LinkLost, or what the helper refused."""
        request = requests.request_of(self.host, self.options, self.app, verb, **fields)
        command = requests.helper_command(self.host, self.options, request, timeout=timeout, payload=payload)
        sent = 0

        def heard(count: int) -> None:
            nonlocal sent
            sent = count
            if progress:
                progress(count)

        try:
            done = self.run(command, heard)
        finally:
            self.bytes_sent += sent
        return self._answer(done)

    def _answer(self, done: Completed) -> dict[str, Any]:
        """Return the helper's reply out of what it printed."""
        if done.status == requests.NO_HELPER:
            raise HelperMissing("helper-missing", "the helper is not on the device yet")
        try:
            text = zlib.decompress(done.stdout) if done.stdout[:1] == PACKED_REPLY else done.stdout
            reply = json.loads(text) if done.status == 0 else None
        except (ValueError, zlib.error):
            reply = None
        if not isinstance(reply, dict) or "ok" not in reply:
            raise refusals.could_not_run(self.host, self.root, done)
        if not reply["ok"]:
            raise refusals.refused(self.host, self.root, reply)
        return reply

    def close(self) -> None:
        """End the talk."""
        self.reconnect()
