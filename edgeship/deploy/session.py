"""A talk with the helper on one device: it is shipped when missing, and every answer is a value or a refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from edgeship.deploy import answers, refusals, requests
from edgeship.deploy.options import DeployOptions
from edgeship.deploy.reach import at
from edgeship.device.facts import Probed, parse_facts
from edgeship.device.ship import helper_sha256
from edgeship.errors import DeviceError, EdgeshipError
from edgeship.remote import Command, Completed, Transport, connect
from edgeship.remote.command import link_lost
from edgeship.values import Host


class HelperMissing(DeviceError):
    """The helper of this very version is not on the device yet."""


class Session:
    """One device, over as many connections as it takes. `interrupt` may be called from another thread."""

    def __init__(
        self, host: Host, options: DeployOptions, app: str | None, tell: Callable[[str], None] | None = None
    ) -> None:
        self.host, self.options, self.app = host, options, app
        self.tell = tell or options.tell
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

    def run(
        self,
        command: Command,
        progress: Callable[[int], None] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Run a command, connecting first where there is no connection; `hear` gets what it prints as it comes."""
        try:
            if self.interrupted.is_set():
                raise link_lost(self.host.text, "interrupted")
            if self._transport is None:
                self._transport = connect(self.host, self.options.connection())
                self.connections += 1
                self.notes += self._transport.notes
            return self._transport.run(command, progress, hear)
        except EdgeshipError as error:  # what connects knows the host, and not the way to its folder
            if error.hint:
                error.hint = error.hint.replace(f"--host {self.host.text}", at(self.host, self.options))
            raise

    @property
    def sudo(self) -> bool:
        """Whether commands become root."""
        return self.options.sudo_on(self.host)

    @property
    def packs(self) -> bool:
        """Whether bytes cost something on the way to this host."""
        return requests.packs(self.host)

    def probe(self, interpreter: str = requests.PYTHON) -> Probed:
        """Return the facts of the device, with those of one Python."""
        done = self.run(requests.probe_command(self.host, self.options, self.app, interpreter))
        return parse_facts(done.stdout.decode("utf-8", "replace"))

    def ship(self, interpreter: str = requests.PYTHON) -> None:
        """Bring the helper to the device, in place of what may stand there under its name, and what is to run it."""
        command = requests.ship_command(self.host, self.options, interpreter)
        done = self.run(command)
        self.bytes_sent += sum(len(piece) for piece in command.pieces())
        if done.status != 0:
            raise refusals.could_not_run(self.host, self.options, done)

    def ask(
        self,
        verb: str,
        *,
        timeout: float = 60.0,
        payload: Callable[[], Iterable[bytes]] | None = None,
        progress: Callable[[int], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return the helper's answer, sound in form. A helper that turns out damaged is sent again, and asked again.

        Raises DeviceError: HelperMissing, LinkLost, what the helper refused, or `bad-answer`.
        """
        request = requests.request_of(self.host, self.options, self.app, verb, **fields)
        command = requests.helper_command(
            self.host, self.options, request, timeout=timeout, payload=payload, most=answers.longest(verb)
        )
        try:
            reply = self._reply(verb, self._heard(command, progress))
        except refusals.Unanswered:
            if not self._helper_is_damaged():
                raise
            self.ship()
            self.tell(f"{self.host.text}: the helper there was damaged, and was sent again")
            reply = self._reply(verb, self._heard(command, progress))
        if not reply["ok"]:
            raise refusals.refused(self.host, self.options, reply)
        return reply

    def _heard(self, command: Command, progress: Callable[[int], None] | None) -> Completed:
        """Run a command, counting what leaves for it."""
        sent = 0

        def heard(count: int) -> None:
            nonlocal sent
            sent = count
            if progress:
                progress(count)

        try:
            return self.run(command, heard)
        finally:
            self.bytes_sent += sent

    def _reply(self, verb: str, done: Completed) -> dict[str, Any]:
        """Return what the helper answered, out of what it printed."""
        if done.status == requests.NO_HELPER:
            raise HelperMissing("helper-missing", "the helper is not on the device yet")
        if done.status != 0 or not done.stdout.strip():
            raise refusals.could_not_run(self.host, self.options, done)
        try:
            reply = answers.read(done.stdout, answers.longest(verb))
        except ValueError as error:
            raise refusals.nonsense(self.host, self.options, verb, str(error)) from None
        if problem := answers.wrong(verb, reply):
            raise refusals.nonsense(self.host, self.options, verb, problem)
        return reply

    def _helper_is_damaged(self) -> bool:
        """Return whether the helper's file on the device is not what its name says; False where that cannot be told.

        One that is whole and was killed half-way is not asked again: it may have done what it was asked.
        """
        done = self.run(requests.digest_command(self.host, self.options))
        return done.status == 0 and done.stdout.decode("utf-8", "replace").strip() != helper_sha256()

    def close(self) -> None:
        """End the talk."""
        self.reconnect()
