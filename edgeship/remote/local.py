"""`local:DIR`: this machine as a device. Commands take the same way as over SSH, through /bin/sh."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

from edgeship.errors import EdgeshipError
from edgeship.remote.command import Command, Completed, keep_end, link_lost, timed_out, too_long
from edgeship.values import Host


class LocalTransport:
    """Runs commands here. `sudo` has no effect: a local device is the user's own folder."""

    notes: tuple[str, ...] = ()

    def __init__(self, host: Host) -> None:
        self._host = host
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False

    def run(
        self,
        command: Command,
        progress: Callable[[int], None] | None = None,
        hear: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """Run a command through /bin/sh; see `Transport.run`."""
        if self._closed:
            raise link_lost(self._host.text, "it was closed")
        line = Command(argv=command.argv).shell_line()
        child = subprocess.Popen(
            ["/bin/sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._child = child
        failed: list[Exception] = []
        feeder = threading.Thread(target=self._feed, args=(child, command, progress, failed), daemon=True)
        feeder.start()
        try:
            done = self._wait(child, command, hear)
            if failed:
                raise failed[0]
            return done
        finally:
            self._child = None
            if child.poll() is None:
                self._end(child)

    def _wait(
        self, child: subprocess.Popen[bytes], command: Command, hear: Callable[[bytes], None] | None
    ) -> Completed:
        """Collect the output until the end, the timeout, `close`, or more than the command may print."""
        output, errors = bytearray(), bytearray()
        deadline = time.monotonic() + command.timeout

        def collect(stream: IO[bytes]) -> None:
            nonlocal deadline
            while len(output) <= command.most and (data := os.read(stream.fileno(), 1 << 16)):
                if hear is None:
                    output.extend(data)
                    continue
                deadline = time.monotonic() + command.timeout
                hear(data)
            if len(output) > command.most:
                self._end(child)

        def keep(stream: IO[bytes]) -> None:
            while data := os.read(stream.fileno(), 1 << 16):
                keep_end(errors, data)

        assert child.stdout is not None and child.stderr is not None
        readers = [
            threading.Thread(target=collect, args=(child.stdout,), daemon=True),
            threading.Thread(target=keep, args=(child.stderr,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            while reader.is_alive() and (left := deadline - time.monotonic()) > 0:
                reader.join(left)
        if len(output) > command.most:
            raise too_long(self._host.text, command.most)
        if any(reader.is_alive() for reader in readers):
            raise timed_out(self._host.text, command.timeout)
        status = child.wait()
        if self._closed:
            raise link_lost(self._host.text, "it was closed")
        return Completed(status=status, stdout=bytes(output), stderr=errors.decode("utf-8", "replace"))

    @staticmethod
    def _feed(
        child: subprocess.Popen[bytes],
        command: Command,
        progress: Callable[[int], None] | None,
        failed: list[Exception],
    ) -> None:
        """Write stdin; a command that does not read all of it is no error here. What goes wrong with what is to be
        written ends in `failed`, before stdin ends."""
        sent = 0
        with contextlib.suppress(BrokenPipeError, ValueError), child.stdin as stdin:  # type: ignore[union-attr]
            try:
                for piece in command.pieces():
                    stdin.write(piece)
                    sent += len(piece)
                    if progress:
                        progress(sent)
            except EdgeshipError as error:
                failed.append(error)

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        """Kill the command's process group, as a lost SSH session would leave nobody to read its output."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def close(self) -> None:
        """End the link and a command that is running."""
        self._closed = True
        child = self._child
        if child is not None and child.poll() is None:
            self._end(child)
