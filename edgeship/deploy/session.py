"""A talk with the helper on one device: it is shipped when missing, and every answer is a value or a refusal."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from edgeship.deploy import refusals
from edgeship.deploy.options import DeployOptions
from edgeship.device.facts import Probed, parse_facts, probe_argv, probe_script
from edgeship.device.layout import helper_path
from edgeship.device.ship import helper_sha256, helper_source
from edgeship.digest import canonical_json
from edgeship.errors import DeviceError
from edgeship.remote import Command, Completed, Transport, connect
from edgeship.remote.command import link_lost
from edgeship.values import Host

NO_HELPER = 96
START = f'[ -f "$1" ]||exit {NO_HELPER};exec python3 -I -B "$1"'
"""Travels with every call, so it is short."""
RECEIVE = (
    "import hashlib,os,sys,zlib\n"
    "path,wanted=sys.argv[1:]\n"
    "data=zlib.decompress(sys.stdin.buffer.read())\n"
    "if hashlib.sha256(data).hexdigest()!=wanted: sys.exit('the helper arrived damaged')\n"
    "folder=os.path.dirname(path); root=os.path.dirname(folder)\n"
    "os.umask(0o022)\n"
    "new=not os.path.isdir(root); os.makedirs(folder,0o755,exist_ok=True)\n"
    "if new: os.chmod(root,0o750)\n"
    "part=path+'.tmp-%d'%os.getpid()\n"
    "with open(part,'wb') as f: f.write(data); f.flush(); os.fsync(f.fileno())\n"
    "os.chmod(part,0o644); os.rename(part,path); d=os.open(folder,os.O_RDONLY); os.fsync(d)\n"
)


PACKED_REPLY = b"x"
"""How deflated data begins, and JSON does not."""


def packed(request: bytes) -> bytes:
    """Return a request in the helper's packed form: `z`, four bytes of length, and that many of deflated JSON."""
    data = zlib.compress(request, 9)
    return b"z" + len(data).to_bytes(4, "big") + data


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
        return self.options.sudo and self.host.kind == "ssh"

    @property
    def packs(self) -> bool:
        """Whether bytes cost something on the way to this host."""
        return self.host.kind == "ssh"

    def probe(self) -> Probed:
        """Return the facts of the device."""
        argv = probe_argv(self.root, as_root=self.sudo)
        done = self.run(Command(argv=argv, stdin=probe_script(), timeout=60))
        return parse_facts(done.stdout.decode("utf-8", "replace"))

    def ship(self) -> None:
        """Bring the helper to the device; its name is its digest, checked there before it gets that name."""
        source, digest = zlib.compress(helper_source(), 9), helper_sha256()
        argv = ("python3", "-I", "-c", RECEIVE, helper_path(self.root, digest), digest)
        done = self.run(Command(argv=argv, stdin=source, sudo=self.sudo, timeout=60))
        self.bytes_sent += len(source)
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
        request = canonical_json({"verb": verb, "root": self.root, "app": self.app, **fields})
        if self.packs:
            request = packed(request)

        def stream() -> Iterable[bytes]:
            yield request
            yield from payload() if payload else ()

        path = helper_path(self.root, helper_sha256())
        command = Command(
            argv=("sh", "-c", START, "sh", path),
            stdin=stream if payload else request,
            sudo=self.sudo,
            timeout=timeout,
        )
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
        if done.status == NO_HELPER:
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
