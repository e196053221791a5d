"""Devices of the lab for the campaigns: real OpenSSH, systemd and ext4, with power to cut; judged as local ones are."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.devices import ROOT, Device, WrongState, load_bench
from benchmarks.faults.interpose import Interposer, script_for
from benchmarks.faults.labclock import build_clock, right_clock, set_clock
from edgeship.deploy import DeployOptions, status
from edgeship.remote import parse_host
from edgeship.values import Bundle, DeployReport

CASES_A_DEVICE = 15
FOLDER = "run/faults"
WAIT = (
    f"#!/bin/sh\ntouch /{FOLDER}/reached\n"
    f"while [ -d /{FOLDER} ] && [ ! -e /{FOLDER}/go ]; do sleep 0.02; done\n"
)
KINDS: dict[str, dict[str, str]] = {
    "systemd": {"base": "amd64", "init": "systemd", "disk": "96M", "disk_kind": "ext4"},
    "signed": {"base": "amd64", "init": "systemd", "disk": "96M", "disk_kind": "ext4"},
    "plain": {"base": "amd64", "disk": "64M"},
    "arm64": {"base": "arm64", "init": "systemd", "disk": "96M", "disk_kind": "ext4"},
}
"""What each kind of device is: options of `lab up`."""


def load_lab(folder: Path) -> Any:
    """Return a lab of our own in `folder`, with the images of LAB_WORK: addresses and faults are shared with nobody."""
    images = Path(os.environ.get("LAB_WORK", "")) / "rootfs"
    if not all((images / name / ".lab-complete").exists() for name in ("amd64", "arm64")):
        sys.exit("the lab has no images: set LAB_WORK and run `lab build amd64 arm64`")
    if "lab" not in sys.modules:
        spec = importlib.util.spec_from_file_location("lab", ROOT.parent / "shared/devlab/lab.py")
        assert spec and spec.loader
        sys.modules["lab"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["lab"])
    folder.mkdir()
    (folder / "rootfs").symlink_to(images.resolve())
    return sys.modules["lab"].Lab(folder)


class LabInterposer(Interposer):
    """The `python3` of `Interposer` in a lab device: first in sudo's PATH there, its plan below /run.

    A plan's `enter-wait` and `leave-wait` hold the call until `let_go`: what happens meanwhile happens exactly there.
    """

    def __init__(self, device: LabDevice) -> None:
        self.device = device

    @property  # type: ignore[override]
    def folder(self) -> Path:
        """The plan's folder as this machine sees it; gone with every start of the device."""
        return self.device.view(FOLDER)

    def install(self) -> None:
        """Put the script on the device's disk, for good."""
        path = self.device.view("usr/local/sbin/python3")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script_for(f"/{FOLDER}"))
        path.chmod(0o755)
        subprocess.run(["sync", "-f", str(self.device.lab.disk)], check=True)

    def plan(self, *lines: str) -> None:
        """As `Interposer.plan`."""
        self.folder.mkdir(exist_ok=True)
        for name in ("reached", "go"):
            (self.folder / name).unlink(missing_ok=True)
        self.script("wait", WAIT)
        super().plan(*lines)

    def reached(self) -> bool:
        """Return whether a call is being held."""
        return (self.folder / "reached").exists()

    def let_go(self) -> None:
        """Let the held call go on."""
        with contextlib.suppress(OSError):
            (self.folder / "go").touch()

    @contextmanager
    def active(self) -> Iterator[None]:
        """The script is always first in PATH there."""
        yield


class LabDevice(Device):
    """One device of the lab. `kind`: one of KINDS."""

    places = itertools.count(1)

    def __init__(self, folder: Path, lab: Any, kind: str) -> None:
        self.kind, self.folder, self.slow = kind, folder, 6 if kind == "arm64" else 1
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"esfault-{os.getpid()}-{kind}{next(self.places)}"
        (self.lab,) = lab.up(1, prefix=prefix, **KINDS[kind])
        self.host = parse_host(self.lab.name)
        self.options = DeployOptions(
            ssh_config=lab.work / "ssh_config",
            trial_seconds=20 * self.slow,
            ready_seconds=10 * self.slow,
            prove_seconds=20 * self.slow,
            connect_seconds=3 * self.slow,
            cut_seconds=2,
            keep=1,
            allow_volatile_root=True,
            allow_no_boot_hook="init" not in KINDS[kind],
        )
        self.answer_seconds, self.end_seconds = 20 * self.slow, 60 * self.slow
        self.port = load_bench().free_port()
        self.old: Bundle | None = None
        self.faults = LabInterposer(self)
        self.faults.install()
        self.seal: Callable[[Bundle], Bundle] = lambda bundle: bundle

    # --- where things are ---

    @property
    def systemd(self) -> bool:
        """Whether systemd runs there."""
        return KINDS[self.kind].get("init") == "systemd"

    def view(self, path: str) -> Path:
        """Return a path of the device as this machine sees it, whether it is on or off."""
        pid = self.lab.pid
        return (Path(f"/proc/{pid}/root") if pid else self.lab.disk / "upper") / path

    @property  # type: ignore[override]
    def root(self) -> Path:
        """The device's root of edgeship."""
        return self.view("var/lib/edgeship")

    @property  # type: ignore[override]
    def disk(self) -> Path:
        """A folder of its file system."""
        return self.view("var/lib")

    # --- a hung device ---

    def freeze(self) -> None:
        """Stop every process there: connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to every process of the device; twice, for those that are just being started."""
        for pid in self.lab.nspids() + self.lab.nspids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    # --- power ---

    def off(self) -> None:
        """Cut the power: what was not fsynced is gone."""
        self.lab.shutdown_fs(2)
        self.lab.stop()
        self.lab.detach_disk()

    def on(self) -> None:
        """Switch it on, and wait until it takes connections."""
        self.lab.start()

    def restart(self) -> None:
        """Cut the power and switch it on."""
        if KINDS[self.kind].get("disk_kind") == "ext4":
            with contextlib.suppress(OSError):  # it may be shut down already
                self.lab.shutdown_fs(2)
            self.lab.stop()
            self.lab.detach_disk()
            self.on()
        else:
            self.lab.fault("reboot")

    def repair(self) -> None:
        """Undo every fault, as a person would."""
        if not self.lab.pid:
            self.on()
        self.thaw()
        self.lab.fault("restore")
        self.lab.fault("unfill")
        self.give_key_back()
        if not self.writable():
            self.restart()
        right_clock(self.view(""))
        self.lab.fault("start-sshd")
        self.faults.let_go()

    def close(self) -> None:
        """Take the device down."""
        self.thaw()
        self.lab.lab.down(self.lab.name)

    # --- the clock ---

    def jump(self, seconds: float) -> None:
        """Let the time of day be so many seconds wrong from now on."""
        set_clock(self.view(""), build_clock(self.folder), seconds)

    # --- host keys ---

    def change_key(self) -> None:
        """Give the device another host key, as a reinstallation does; connections that are open stay."""
        key = "/etc/ssh/ssh_host_ed25519_key"
        self.serve_key(f"mv {key} {key}.was && ssh-keygen -q -t ed25519 -N '' -f {key} </dev/null")

    def give_key_back(self) -> None:
        """Undo `change_key`."""
        key = "/etc/ssh/ssh_host_ed25519_key"
        if self.view(f"{key[1:]}.was").exists():
            self.serve_key(f"mv {key}.was {key}")

    def serve_key(self, change: str) -> None:
        """Change the key with a shell command, and have sshd take it up."""
        again = "systemctl restart ssh" if self.systemd else "kill -HUP $(cat /run/sshd.pid)"
        done = self.lab.exec("sh", "-c", f"rm -f /etc/ssh/ssh_host_ed25519_key.pub; {change} && {again}")
        if done.returncode:
            raise WrongState(f"the host key could not be changed: {done.returncode}")
        self.lab.wait()

    # --- deploying and judging ---

    def bundle(self, **behaviour: Any) -> Bundle:
        """Return a new release, signed where the device wants that."""
        return self.seal(super().bundle(**behaviour))

    def last_words(self) -> str:
        """Return what the device's services said last."""
        words = ["journalctl", "-n", "12", "--no-pager", "-o", "cat", "-u", "edgeship*"]
        if not self.systemd or not self.lab.pid:
            return super().last_words() if self.lab.pid else "it is off"
        return str(self.lab.exec(*words, capture_output=True, text=True, timeout=20).stdout[-900:])

    def until(self, what: Callable[[], Any], seconds: float, words: str) -> None:
        """Wait until `what` is true, looking a thousand times a second."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if what():
                    return
            if time.monotonic() > deadline:
                raise WrongState(f"{words}: record {self.record()}; {self.last_words()}")
            time.sleep(0.001)

    def judge(self, report: DeployReport, old: Bundle | None, new: Bundle) -> Bundle | None:
        """As for a local device; and `status` must then tell what the device's own files say."""
        if report.state == "unknown" and "edgeship status" not in str(report.hint):
            raise WrongState(f"unknown, and no way to the truth: {report.hint}")
        ended = super().judge(report, old, new)
        if ended is not None:
            said = status(self.host, "kws", self.options)["apps"]["kws"]
            told = (said["record"]["state"], said["record"]["to"], said["serving"]["release"])
            if told != (self.record()["state"], ended.release, ended.release):
                raise WrongState(f"status says {told}, the device {self.record()}")
        return ended

    def converge(self, new: Bundle) -> None:
        """As for a local device; and what brings it back after a restart must be in place, links included."""
        super().converge(new)
        if self.systemd:
            units = self.view("etc/systemd/system")
            for link in ("multi-user.target.wants/edgeship-recover-kws.service",
                         "edgeship-kws.service.requires/edgeship-recover-kws.service",
                         "multi-user.target.wants/edgeship-kws.service"):  # fmt: skip
                if not (units / link).is_symlink():
                    raise WrongState(f"after a restart nothing would start: {link} is missing")


class LabPark:
    """Hands out devices of the lab; one stays as long as its cases end well."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lab = folder, load_lab(folder / "lab")
        self.devices: dict[str, LabDevice] = {}
        self.used: dict[str, int] = {}

    def take(self, case: Any) -> LabDevice:
        """Return a device of the case's kind, a new one where the case wants that."""
        kind = case.kind
        if kind in self.devices and (case.first or self.used[kind] >= CASES_A_DEVICE):
            self.lose(kind)
        if kind not in self.devices:
            device = LabDevice(self.folder / f"d{next(LabDevice.numbers)}", self.lab, kind)
            self.devices[kind], self.used[kind] = device, 0
        self.used[kind] += 1
        return self.devices[kind]

    def lose(self, kind: str) -> None:
        """Give a device up."""
        if device := self.devices.pop(kind, None):
            device.close()

    def run(self, case: Any) -> None:
        """Run a case; a device on which it failed is not used again."""
        device = self.take(case)
        try:
            case.go(device)
        except BaseException:
            self.lose(case.kind)
            raise

    def drop(self) -> None:
        """Give every device up."""
        for kind in list(self.devices):
            self.lose(kind)
