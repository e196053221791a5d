"""A real OpenSSH server on loopback, and a proxy in front of it that counts the bytes of its TCP connections."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeship.values import Host


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Count:
    """What went through the proxy: bytes of TCP payload to the server and back, and connections."""

    up: int = 0
    down: int = 0
    connections: int = 0

    @property
    def total(self) -> int:
        """Return the bytes of both directions."""
        return self.up + self.down


class Proxy:
    """Hands connections on to the server's port, byte by byte as they come, and counts."""

    def __init__(self, to: int) -> None:
        self.count = Count()
        self._to = to
        self._lock = threading.Lock()
        self._open = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                with self._lock:
                    self.count.connections += 1
                    self._open += 2
                for source, target, way in ((client, server, "up"), (server, client, "down")):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pump, args=(source, target, way), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    setattr(self.count, way, getattr(self.count, way) + len(data))
                target.sendall(data)
        for end, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
            with contextlib.suppress(OSError):
                end.shutdown(how)
        with self._lock:
            self._open -= 1

    def take(self) -> Count:
        """Return what was counted since the last time, once every connection has ended."""
        while self._open:
            time.sleep(0.01)
        with self._lock:
            count, self.count = self.count, Count()
        return count

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()


@dataclass
class Server:
    """One sshd that lets this very user in by key, and the files of a client."""

    folder: Path
    port: int

    @property
    def ssh_config(self) -> Path:
        """Return the client's configuration."""
        return self.folder / "ssh_config"

    def host(self, port: int) -> Host:
        """Return this machine as a device, at the server's port or a proxy's."""
        user = getpass.getuser()
        text = f"{user}@127.0.0.1:{port}"
        return Host(text=text, kind="ssh", user=user, hostname="127.0.0.1", port=port)

    def ssh(self, port: int) -> list[str]:
        """Return the command line of OpenSSH's client."""
        return ["ssh", "-F", str(self.ssh_config), "-p", str(port)]


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Run an sshd with OpenSSH's own settings until the end of the block. Its shells read no start-up file of this
    machine's user: their home is another."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None:
        raise SystemExit("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    for name in ("host_key", "client_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\nSetEnv PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME={folder}\n"
    )
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"edgeship-bench {key}\n")
    (folder / "ssh_config").write_text(
        f"Host *\n  HostKeyAlias edgeship-bench\n  UserKnownHostsFile {folder}/known_hosts\n"
        f"  GlobalKnownHostsFile /dev/null\n  IdentityFile {folder}/client_key\n  IdentitiesOnly yes\n"
    )
    log = (folder / "sshd.log").open("ab")
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield Server(folder=folder, port=port)
    finally:
        process.terminate()
        process.wait()
        log.close()
