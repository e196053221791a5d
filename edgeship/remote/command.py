"""What is to run on a device, as a value that can be printed, and the protocol of whatever runs it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edgeship.errors import DeviceError

BecomeRoot = (
    # sudo drops the environment; a device under a user-mode emulator must keep its processor (see the helper)
    '[ "$(id -u)" = 0 ]||set -- sudo -n -- ${QEMU_CPU:+env "QEMU_CPU=$QEMU_CPU"} "$@";exec "$@"'
)
"""Travels with every command, so it is short."""


OUTPUT_BYTES = 16 << 20
"""What a command may print: more is nothing that was asked for."""
ERROR_BYTES = 1 << 16
"""What is kept of stderr, from its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run on a device. `argv` never holds a secret: it can be seen in the device's process
    list.

    `stdin` is bytes, or a function that yields them anew at each call (for uploads larger than memory).
    `sudo` becomes root first, where the user is not root already.
    """

    argv: tuple[str, ...]
    stdin: bytes | Callable[[], Iterable[bytes]] = b""
    sudo: bool = False
    timeout: float = 60.0
    """Seconds without an answer after which the command counts as lost."""
    most: int = OUTPUT_BYTES
    """Bytes of stdout that are read; a command that prints more is left."""

    def shell_line(self) -> str:
        """Return the line that any login shell of the device turns into exactly this command."""
        argv = ("sh", "-c", BecomeRoot, "sh", *self.argv) if self.sudo else self.argv
        return shlex.join(argv)

    def pieces(self) -> Iterator[bytes]:
        """Yield what goes to stdin."""
        if isinstance(self.stdin, bytes):
            yield self.stdin
        else:
            yield from self.stdin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: str


class Transport(Protocol):
    """A link to one device. Not shared by threads, except that `close` may come from any thread at any
    time."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the link came about: a host key that was recorded, for one."""

    def run(
        self,
        command: Command,
        progress: Callable[[int], None] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Run a command and return how it ended; `progress` hears the number of stdin bytes sent so far.

        `hear` gets what it prints as it comes, perhaps in another thread; then none of it is kept, however long it
        prints, and `command.timeout` counts from what was heard last.

        Raises LinkLost when the link goes away meanwhile and CommandTimeout when no end is seen in time; in
        both cases the command may go on running on the device. Raises DeviceError `answer-too-long` for a command
        that prints more than `command.most` bytes.
        """

    def close(self) -> None:
        """End the link; a `run` in another thread ends with LinkLost. Idempotent."""


class LinkLost(DeviceError):
    """The link went away while a command ran."""


class CommandTimeout(LinkLost):
    """The device did not answer in time; whether the command ended is not known."""


class NotReached(LinkLost):
    """No connection came about, for now: nobody answered. A refused key or login is never this."""


def link_lost(host: str, why: str) -> LinkLost:
    """Return the error for a link that went away."""
    return LinkLost(
        "link-lost",
        f"the connection to {host} was lost: {why}",
        context={"host": host},
        hint=f"edgeship status --host {host}",
    )


def too_long(host: str, most: int) -> DeviceError:
    """Return the error for a command that prints and prints."""
    return DeviceError(
        "answer-too-long",
        f"{host} sends more than {most >> 20} MiB as an answer; it was not read to its end",
        context={"host": host},
        hint="ask for less (edgeship logs --lines 1000); where that is no help, look at the device by hand: what "
        "answers there is not what was asked",
    )


def timed_out(host: str, seconds: float) -> CommandTimeout:
    """Return the error for a command without an answer."""
    return CommandTimeout(
        "no-answer",
        f"{host} did not answer within {seconds:g} s",
        context={"host": host},
        hint=f"edgeship status --host {host}",
    )


def keep_end(kept: bytearray, data: bytes) -> None:
    """Add to what is kept of stderr: its last ERROR_BYTES, or up to twice as many."""
    kept += data
    if len(kept) > 2 * ERROR_BYTES:
        del kept[:-ERROR_BYTES]
