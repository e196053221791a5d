"""Devices to bring tiny releases to: a folder of this machine, and a real OpenSSH server."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgeship.deploy import DeployOptions, status
from edgeship.values import Bundle, Host

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:  # the tests' own words, imported by a plain name
    sys.path.append(HERE)

from stopping import stop_services  # noqa: E402
from tiny_release import free_port, make_bundle  # noqa: E402


@dataclass
class Teller:
    """A Progress that keeps what it hears, and may act on a step."""

    heard: list[str] = field(default_factory=list)
    on_step: Callable[[str], None] = lambda text: None

    def step(self, text: str) -> None:
        self.heard.append(text)
        self.on_step(text)

    def advance(self, done: int, total: int, unit: str) -> None:
        self.on_step(f"advance {done}/{total} {unit}")

    def note(self, text: str) -> None:
        self.heard.append(text)


@dataclass
class Bench:
    """A host under test with what is needed to deploy to it and look at it."""

    host: Host
    options: DeployOptions
    root: Path
    folder: Path
    port: int

    def bundle(self, version: str = "1", **options: Any) -> Bundle:
        return make_bundle(self.folder / "bundles", version=version, port=self.port, **options)

    def with_options(self, **changes: Any) -> Bench:
        return replace(self, options=replace(self.options, **changes))

    def record(self) -> dict[str, Any]:
        """Return the newest state record straight from the device's folder."""
        records = [json.loads(p.read_text()) for p in (self.root / "apps/kws").glob("state.[01]")]
        return dict(max(records, key=lambda r: r["seq"]))

    def wait_for(self, what: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Return the first true result of `what`; fail where none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                if found := what():
                    return found
            time.sleep(0.05)
        raise AssertionError("it did not happen in time")

    def status(self, app: str = "kws") -> dict[str, Any]:
        return dict(status(self.host, app, self.options)["apps"][app])

    def stop_services(self) -> None:
        """End what runs below the device's root."""
        stop_services(self.root)

    def serving_release(self) -> str | None:
        """Return the release that answers on the port, asked over HTTP."""
        import urllib.error
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2", timeout=5) as answer:
                return str(answer.headers["Edgeship-Release"])
        except OSError:
            return None


@contextlib.contextmanager
def local_device(folder: Path) -> Iterator[Bench]:
    """Yield a local: device in a folder; what serves from it is ended."""
    root = folder / "device"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"/usr/bin:/bin:{os.environ['PATH']}")
        yield Bench(
            host=Host(text=f"local:{root}", kind="local", directory=root),
            options=DeployOptions(trial_seconds=30, ready_seconds=10, prove_seconds=30),
            root=root,
            folder=folder,
            port=free_port(),
        )
        stop_services(root)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Bench]:
    """A local: device in a new folder."""
    with local_device(tmp_path) as bench:
        yield bench


@pytest.fixture(scope="session")
def make_local() -> Callable[[Path], contextlib.AbstractContextManager[Bench]]:
    """Return what makes a local: device in a folder, for as long as it is needed."""
    return local_device


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A local device on an ext4 file system of its own."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.faults.devices import Device

    made = Device(tmp_path / "device", mounted=True)
    yield made
    made.close()


# --- a real OpenSSH server on loopback ------------------------------------------------------------------------------


@dataclass
class Sshd:
    """One sshd of this test run: its folder, port, and files for a client."""

    folder: Path
    port: int
    user: str
    process: Any = None

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def identity(self) -> Path:
        return self.folder / "client_key"

    @property
    def host(self) -> Host:
        return Host(
            text=f"{self.user}@127.0.0.1:{self.port}",
            kind="ssh",
            user=self.user,
            hostname="127.0.0.1",
            port=self.port,
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("ab"),
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0 and self.process.poll() is None:
                    return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def trust(self) -> None:
        """Write this server's key into known_hosts."""
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}\n")


def _find_sshd() -> str | None:
    import shutil

    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")


SSHD = _find_sshd()


def make_key(path: Path) -> None:
    """Make an ed25519 key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def make_sshd(folder: Path, extra: str = "") -> Sshd:
    """Return a running sshd that lets this very user in by key, and nobody else."""
    import getpass
    import os

    if SSHD is None or subprocess.run(["which", "ssh-keygen"], capture_output=True).returncode:
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = Sshd(folder=folder, port=free_port(), user=getpass.getuser())
    make_key(folder / "host_key")
    make_key(folder / "client_key")
    (folder / "authorized_keys").write_text((folder / "client_key.pub").read_text())
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {server.port}\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "MaxStartups 100\n"
        # like a device: no start-up files, and the system's own Python first
        'ForceCommand exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin sh -c "$SSH_ORIGINAL_COMMAND"\n'
        f"{extra}"
    )
    server.ssh_config.write_text(
        f"Host *\n  UserKnownHostsFile {server.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        f"  IdentityFile {server.identity}\n  IdentitiesOnly yes\n"
    )
    server.trust()
    server.start()
    return server


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real OpenSSH server on a free port of loopback."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    server = make_sshd(folder)
    yield server
    server.stop()


@pytest.fixture
def remote(sshd: Sshd, tmp_path: Path) -> Iterator[Bench]:
    """A device reached over SSH: this machine, in a folder, as this user, under a supervised process."""
    root = tmp_path / "device"
    yield Bench(
        host=sshd.host,
        options=DeployOptions(
            root=str(root),
            sudo=False,
            service="supervised",
            ssh_config=sshd.ssh_config,
            trial_seconds=30,
            ready_seconds=10,
            prove_seconds=30,
            connect_seconds=3,
            cut_seconds=3,
            allow_volatile_root=True,
            allow_no_boot_hook=True,
            allow_unsigned=True,
        ),
        root=root,
        folder=tmp_path,
        port=free_port(),
    )
    stop_services(root)


# --- controllers of their own, to be killed or interrupted --------------------------------------------------

CONTROLLER = """
    import sys, pathlib, pickle
    from edgeship.deploy import deploy
    from edgeship.progress import Silent
    bundle, host, options = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
    report = deploy(bundle, host, options, Silent())
    print(report.state, "|", report.reason)
"""


def start_controller(
    folder: Path, bundle: Bundle, host: Host, options: DeployOptions
) -> subprocess.Popen[str]:
    """Start a controller of its own; `folder` takes what is handed to it."""
    handed = folder / f"{bundle.release[:12]}.pickle"
    handed.write_bytes(pickle.dumps((bundle, host, options)))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CONTROLLER), str(handed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # a job in the background of a script inherits an ignored SIGINT; a person's terminal does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def controller(tmp_path: Path) -> Callable[[Bundle, Bench], subprocess.Popen[str]]:
    """Start a controller of its own, to be killed or interrupted."""
    return lambda bundle, bench: start_controller(tmp_path, bundle, bench.host, bench.options)
