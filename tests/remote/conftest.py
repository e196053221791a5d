"""A real OpenSSH server on loopback, for tests of connections."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeship.remote import ConnectOptions
from edgeship.values import Host

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a port of this machine that nobody listens on, below those that the system itself hands out: no connection
    or listener of another test takes it before, or while a server starts again."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def make_key(path: Path, *arguments: str) -> None:
    """Make a key pair; ed25519 without a passphrase unless told otherwise."""
    options = arguments or ("-t", "ed25519", "-N", "")
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", *options, "-f", str(path)], check=True)


@dataclass
class Server:
    """One sshd, its files, and the files of its client."""

    folder: Path
    port: int
    user: str
    process: Any = None

    def write_config(self, *, keys: tuple[str, ...] = ("host_key",), extra: str = "") -> None:
        """Write sshd_config; settings in `extra` win over the ones here."""
        host_keys = "".join(f"HostKey {self.folder}/{key}\n" for key in keys)
        (self.folder / "sshd_config").write_text(
            f"{extra}ListenAddress 127.0.0.1\nPort {self.port}\n{host_keys}PidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
        )

    def start(self) -> None:
        """Start sshd and wait until it says that it listens.

        A connection proves nothing: for a moment after a server ended, a child of it that serves a connection still
        holds the socket it listened on.
        """
        assert SSHD
        log = self.folder / "sshd.log"
        for _ in range(20):
            before = log.stat().st_size if log.exists() else 0
            with log.open("ab") as errors:
                command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
            until = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < until:
                if b"Server listening on" in log.read_bytes()[before:]:
                    return
                time.sleep(0.02)
            time.sleep(0.1)  # it ended: its address was still taken
        raise RuntimeError(log.read_text())

    def stop(self) -> None:
        """Stop sshd; open connections live on."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def host(self) -> Host:
        text = f"{self.user}@127.0.0.1:{self.port}"
        return Host(text=text, kind="ssh", user=self.user, hostname="127.0.0.1", port=self.port)

    @property
    def options(self) -> ConnectOptions:
        return ConnectOptions(ssh_config=self.folder / "ssh_config", connect_seconds=3, cut_seconds=3)

    def public(self, key: str = "host_key") -> str:
        """Return type and body of a public key."""
        return " ".join((self.folder / f"{key}.pub").read_text().split()[:2])

    def trust(self, line: str | None = None) -> None:
        """Write known_hosts: this server's own key, or the given line."""
        self.known_hosts.write_text((line or f"[127.0.0.1]:{self.port} {self.public()}") + "\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running sshd that lets this very user in by key."""
    yield from serving(tmp_path)


def serving(tmp_path: Path) -> Iterator[Server]:
    """Yield a running sshd with its files in a folder, and stop it."""
    if SSHD is None:
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    made = Server(folder=tmp_path, port=free_port(), user=getpass.getuser())
    make_key(tmp_path / "host_key")
    make_key(tmp_path / "client_key")
    shutil.copy(tmp_path / "client_key.pub", tmp_path / "authorized_keys")
    (tmp_path / "ssh_config").write_text(
        f"Host *\n  UserKnownHostsFile {made.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        f"  IdentityFile {tmp_path}/client_key\n  IdentitiesOnly yes\n"
    )
    made.trust()
    made.write_config()
    made.start()
    yield made
    made.stop()
