"""How a deployment is to be done, whatever the bundle and the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeship.deploy.ground import Allowed
from edgeship.device.layout import DEFAULT_ROOT
from edgeship.remote import ConnectOptions
from edgeship.values import Goal, Host


def unheard(_text: str) -> None:
    """Hear nothing."""


ServiceManager = Literal["auto", "systemd", "openrc", "supervised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """What the user may choose about a deployment. The defaults suit a board on the local network."""

    goal: Goal = Goal.ACTIVATE
    root: str = DEFAULT_ROOT
    """Folder on the device that holds everything; for `local:DIR` it is DIR."""
    service: ServiceManager = "auto"
    listen: str | None = None
    """Where the service listens, instead of what the bundle says: HOST:PORT or unix:NAME."""
    sudo: bool = True
    """Become root with `sudo -n` where the user is not root. Without: everything as that user, no systemd unit."""
    allow_volatile_root: bool = False
    """Accept a root on tmpfs or an overlay, where a restart may lose everything."""
    allow_no_boot_hook: bool = False
    """Accept a device that has nothing to start the service again after a restart."""
    ssh_config: Path | None = None
    identity: Path | None = None
    accept_new_host_key: bool = False
    allow_unsigned: bool = True
    """Tell a device that was never told whose releases it may run to take unsigned ones; what one was told stays.
    Without, such a device refuses until `edgeship keys trust` tells it; the command line then deploys no unsigned
    release at all."""
    connect_seconds: float = 10.0
    cut_seconds: float = 8.0
    trial_seconds: float = 180.0
    """Without a confirmation for this long, the device goes back by itself."""
    bake_seconds: float = 900.0
    """How long the device goes on watching a confirmed release; 0: not at all."""
    bake_restarts: int = 3
    """Crashes in that time that are no crash loop yet; one more, and the device goes back by itself."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the governor that the device gets with the release, as its own; None: the release's again."""
    lifted: tuple[str, ...] = ()
    """Settings that are to be none on the device, whatever the release says."""
    signers: tuple[Path, ...] = ()
    """Keys that sign such settings where the device wants that."""
    device_max_ms: float | None = None
    """p50 latency, ms, that the staged release may have on the device; slower: nothing is switched."""
    ready_seconds: float = 60.0
    prove_seconds: float = 300.0
    settle_seconds: float | None = None
    """How long to try to read the truth back after a lost link; None: until the device has gone back by itself."""
    keep: int = 3
    """How many of the releases that were brought last stay on the device; the current one, the one before it and
    pinned ones stay whatever their age."""
    jobs: int = 8
    """Hosts at work at the same time."""
    upload_attempts: int = 6
    """Attempts in a row at an upload that may bring nothing to the device; pauses between them grow (`Retries`)."""
    force: bool = False
    """Prove, switch and confirm again even where the same release already serves."""
    tell: Callable[[str], None] = field(default=unheard, repr=False, compare=False)
    """Hears what people should know of a device besides the result, where a verb has no progress display."""

    def connection(self) -> ConnectOptions:
        """Return the part that a transport needs."""
        return ConnectOptions(
            ssh_config=self.ssh_config,
            identity=self.identity,
            accept_new_host_key=self.accept_new_host_key,
            connect_seconds=self.connect_seconds,
            cut_seconds=self.cut_seconds,
        )

    def root_on(self, host: Host) -> str:
        """Return the device root on `host`."""
        return str(host.directory) if host.kind == "local" else self.root.rstrip("/") or "/"

    def sudo_on(self, host: Host) -> bool:
        """Return whether commands on `host` become root: a folder of this machine is the user's own."""
        return self.sudo and host.kind == "ssh"

    def allowed_on(self, host: Host, wanted: str) -> Allowed:
        """Return what preflight may let pass on `host`; `wanted`: the service manager that the bundle wants."""
        return Allowed(
            volatile_root=self.allow_volatile_root,
            no_boot_hook=self.allow_no_boot_hook,
            sudo=self.sudo_on(host),
            local=host.kind == "local",
            service=self.service_on(host, wanted),
            alone=self.settings.get("mode") == "off",
        )

    def service_on(self, host: Host, wanted: str = "auto") -> str:
        """Return the service manager to ask for on `host`: the user's word, then what the bundle wants.

        A local device never touches this machine's systemd, and without root there is no system unit.
        """
        if host.kind == "local" or (not self.sudo and self.service == "auto" and host.user != "root"):
            return "supervised"
        return wanted if self.service == "auto" else self.service

    def settle_limit(self) -> float:
        """Return the seconds to try to read the truth back: until the device must have gone back by itself."""
        if self.settle_seconds is not None:
            return self.settle_seconds
        return self.trial_seconds + 2 * self.ready_seconds
