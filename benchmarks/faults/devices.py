"""Local devices for the campaigns: tiny releases on an ext4 of their own, and what must hold on them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.faults.interpose import REAL, Interposer
from edgeship.deploy import DeployOptions, deploy, verify
from edgeship.device.layout import helper_path
from edgeship.device.ship import helper_sha256
from edgeship.progress import Progress, Silent
from edgeship.values import EXIT_CODE_OF_STATE, Bundle, DeployReport, Host

ROOT = Path(__file__).resolve().parents[2]
IMAGE_BYTES = 24 << 20
CLEAN_SECONDS = 1.1
"""What a clean deployment takes on a device whose pace is 1."""
JOBS = 1
"""Devices that are at work at once."""


def slack() -> float:
    """Return by how much everything may take longer here than on an idle machine: by what runs on each processor."""
    return min(8.0, max(1.0, max(JOBS, os.getloadavg()[0]) / (os.cpu_count() or 1)))


EXIT_CODES = {
    "committed": 0, "unchanged": 0, "staged": 0, "tested": 0, "failed": 1, "reverted": 3, "unknown": 4, "degraded": 5,
}  # fmt: skip


def load_bench() -> Any:
    """Return the module of the deploy tests' tiny releases."""
    name = "edgeship_tests_deploy_conftest"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests/deploy/conftest.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def quiet_port() -> int:
    """Return a port nobody listens on, below those that the kernel gives to outgoing connections: a service that is
    started again must not find it taken by one."""
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, end)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class WrongState(AssertionError):
    """A device or a report that is not as it must be."""


class Device:
    """One local device. `mounted`: on an ext4 of its own that can be filled up and broken (needs root)."""

    numbers = itertools.count(1)
    answer_seconds, end_seconds = 15.0, 40.0
    """How long a release may take to answer, and a trial to come to its end."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder, self.mounted = folder, mounted
        folder.mkdir(parents=True, exist_ok=True)
        self.faults = Interposer(folder / "faults")
        self.disk = folder / "disk"
        self.disk.mkdir()
        if mounted:
            image = folder / "image"
            with image.open("wb") as stream:
                stream.truncate(IMAGE_BYTES)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
            self.mount()
        self.root = self.disk / "device"
        self.host = Host(text=f"local:{self.root}", kind="local", directory=self.root)
        self.options = DeployOptions(
            trial_seconds=12,
            ready_seconds=5 * slack(),
            prove_seconds=20 * slack(),
            settle_seconds=8,
            keep=1,
            allow_volatile_root=True,
        )
        self.port = quiet_port()
        self.old: Bundle | None = None
        self.pace = slack()
        """By how much the last clean deployment took longer than CLEAN_SECONDS."""

    # --- the file system ---

    def mount(self, *options: str) -> None:
        """Mount the image, and write the scripts that fill and break this very file system."""
        words = ",".join(("loop", "errors=remount-ro", *options))
        subprocess.run(["mount", "-o", words, str(self.folder / "image"), str(self.disk)], check=True)
        found = subprocess.run(["findmnt", "-no", "SOURCE", str(self.disk)], capture_output=True, text=True)
        loop = Path(found.stdout.strip()).name
        fill = f"dd if=/dev/zero of='{self.disk}/ballast' conv=notrunc oflag=append 2>/dev/null"
        flush = f"sync -f '{self.disk}'"
        self.faults.script(
            "full", f"#!/bin/sh\n{fill} bs=64k\n{flush}\n{fill} bs=1k\n{flush}\n{fill} bs=1k\ntrue\n"
        )
        broken = f"/sys/fs/ext4/{loop}/trigger_fs_error"
        self.faults.script("readonly", f"#!/bin/sh\necho 1 >{broken}\n")

    def unmount(self) -> None:
        """Take the file system away; services must have ended."""
        for _ in range(100):
            if subprocess.run(["umount", str(self.disk)], capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise WrongState(f"{self.disk} stays busy")

    def restart(self) -> None:
        """End every process at once, as a power cut does, check the file system, and boot with a new boot identity."""
        self.kill_processes()
        if self.mounted:
            self.mount_again()
        self.boot()

    def mount_again(self, *options: str) -> None:
        """Mount the file system anew, checked, with these options besides; what ran there has ended.

        Any mount namespace made meanwhile holds it as it was: go on with a copy, as from another disk.
        """
        subprocess.run(["sync", "-f", str(self.disk)], check=False, capture_output=True)
        self.unmount()
        image, copy = self.folder / "image", self.folder / "image.copy"
        subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        copy.replace(image)
        subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
        self.mount(*options)

    def boot(self, under: list[str] | None = None) -> None:
        """Run the helper's boot recovery as a start of the device would; `under`: a program to run it under."""
        helper = self.helper()
        fresh = self.folder / "boot_id"
        fresh.write_text(f"{next(self.numbers):08d}-campaign\n")
        bind = f"mount --bind {fresh} /proc/sys/kernel/random/boot_id && " if os.geteuid() == 0 else ""
        recover = f"{bind}exec {' '.join(under or [])} {REAL} -I -B {helper} boot {self.root} kws"
        wrap = ["unshare", "-m"] if bind else []
        done = subprocess.run([*wrap, "sh", "-c", recover], capture_output=True, text=True, timeout=120)
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            raise WrongState(f"boot recovery ended with {done.returncode}: {done.stderr[-800:]}")

    def helper(self) -> str:
        """Return the path of the helper on the device."""
        return helper_path(str(self.root), helper_sha256())

    def processes(self) -> Iterator[int]:
        """Yield the processes that belong to this device: those that name its root, or work in it."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if str(self.root).encode() in (entry / "cmdline").read_bytes():
                        yield int(entry.name)

    def kill_processes(self) -> None:
        """SIGKILL everything of this device until nothing of it runs."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.faults.folder / "hung").read_text()), signal.SIGKILL)
        for _ in range(200):
            found = list(self.processes())
            if not found:
                return
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def repair(self) -> None:
        """Undo the fault, as a person would: free the space; restart a device whose storage broke."""
        (self.disk / "ballast").unlink(missing_ok=True) if self.writable() else self.restart()

    def writable(self) -> bool:
        """Return whether the file system takes writes (a full one does)."""
        probe = self.disk / "probe"
        try:
            probe.mkdir(exist_ok=True)
            probe.rmdir()
        except OSError as error:
            return error.errno == errno.ENOSPC
        return True

    def close(self) -> None:
        """End everything and give the file system back."""
        self.kill_processes()
        shutil.rmtree(self.in_memory, ignore_errors=True)
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    @property
    def in_memory(self) -> Path:
        """The folder in memory that this device alone serves from where its disk takes nothing."""
        return Path("/run") / f"edgeship-kws-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"

    # --- deploying ---

    def bundle(self, **behaviour: Any) -> Bundle:
        """Return a new release."""
        made = load_bench().make_bundle(
            self.folder / "bundles", version=str(next(self.numbers)), port=self.port, **behaviour
        )
        assert isinstance(made, Bundle)
        return made

    def deploy(
        self, bundle: Bundle, options: DeployOptions | None = None, progress: Progress | None = None
    ) -> DeployReport:
        """Deploy with whatever fault is planned."""
        with self.faults.active():
            return deploy(bundle, self.host, options or self.options, progress or Silent())

    def deploy_clean(self, bundle: Bundle) -> DeployReport:
        """Deploy without a fault, and note how long it took; a device under load has time enough."""
        begun = time.monotonic()
        report = self.deploy(bundle, replace(self.options, trial_seconds=60))
        if report.state == "committed":
            self.pace = (time.monotonic() - begun) / CLEAN_SECONDS
        return report

    def serve_old(self) -> Bundle:
        """Return the release that serves, deploying one where the device is new."""
        if self.old is None:
            bundle = self.bundle()
            report = self.deploy_clean(bundle)
            if report.state != "committed":
                raise WrongState(f"a first deployment without a fault: {report.state}: {report.reason}")
            self.old = bundle
        return self.old

    # --- what must hold ---

    def record(self) -> dict[str, Any]:
        """Return the newest whole state record, read without the helper's code."""
        best: dict[str, Any] = {"seq": 0, "state": "NONE", "to": None}
        for path in (self.root / "apps/kws").glob("state.[01]"):
            with contextlib.suppress(ValueError, OSError):
                found = json.loads(path.read_text())
                body = {key: value for key, value in found.items() if key != "sha"}
                text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
                if hashlib.sha256(text.encode()).hexdigest() == found["sha"] and body["seq"] > best["seq"]:
                    best = body
        return best

    def answers(self) -> str | None:
        """Return the release that answers over HTTP."""
        import urllib.request

        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2", timeout=5) as got,
        ):
            return str(got.headers["Edgeship-Release"])
        return None

    def wait(self, what: Callable[[], Any], seconds: float, words: str) -> None:
        """Wait until `what` is true."""
        deadline = time.monotonic() + seconds * slack()
        while not what():
            if time.monotonic() > deadline:
                raise WrongState(
                    f"{words}: {self.answers()} answers; record {self.record()}; {self.last_words()}"
                )
            time.sleep(0.05)

    def last_words(self) -> str:
        """Return what runs there and what was logged last, for a report's end."""
        logs = [self.root / "apps/kws/log" / name for name in ("supervisor.log", "service.log")]
        tails = [f"{path.name}: {path.read_text()[-300:]}" for path in logs if path.exists()]
        return f"{len(list(self.processes()))} processes; {'; '.join(tails)}"

    def check_whole(self, bundle: Bundle) -> None:
        """Check that `bundle` is what `current` names, file by file, and that it answers."""
        self.check_files(bundle)
        self.wait(
            lambda: self.answers() == bundle.release,
            self.answer_seconds,
            f"release {bundle.release[:12]} should answer",
        )

    def check_files(self, bundle: Bundle) -> None:
        """Check that `bundle` is what `current` names, file by file."""
        link = self.root / "apps/kws/current"
        if not link.is_symlink() or str(link.readlink()) != f"releases/{bundle.release}":
            said = link.readlink() if link.is_symlink() else "nothing"
            raise WrongState(f"current says {said}, the record {bundle.release}")
        wanted = {"manifest.json": bundle.release}
        wanted.update({name: info["sha256"] for name, info in bundle.manifest["files"].items()})
        found = {
            str(path.relative_to(link)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in link.rglob("*")
            if path.is_file()
        }
        if found != wanted:
            raise WrongState(
                f"release {bundle.release[:12]} is torn: {sorted(set(found.items()) ^ set(wanted.items()))}"
            )

    def judge(
        self, report: DeployReport, old: Bundle | None, new: Bundle, *, may_degrade: bool = False
    ) -> Bundle | None:
        """Check a report against the device, wait for the final state, and return the release the device ended on.

        The device must end on the old release or the new one, whole, and the report must have told the truth.
        `may_degrade`: the fault may hit the old release's own start too, and then it must be told so.
        """
        if EXIT_CODE_OF_STATE[report.state] != EXIT_CODES[report.state]:
            raise WrongState(f"exit code {EXIT_CODE_OF_STATE[report.state]} for {report.state}")
        if may_degrade and self.record()["state"] == "DEGRADED":
            if report.state not in ("degraded", "unknown") or old is None:
                raise WrongState(f"{report.state}, but the device is degraded: {report.reason}")
            self.check_files(old)
            return old
        if report.state == "degraded" and self.writable() and self.record()["state"] == "DEGRADED":
            raise WrongState(f"degraded: {report.reason}")
        if report.state not in ("unknown", "degraded") and self.record()["state"] not in (
            "COMMITTED",
            "NONE",
        ):
            raise WrongState(f"{report.state}, but the record is {self.record()}: {report.reason}")
        self.repair()
        ends = ("COMMITTED", "NONE")
        self.wait(lambda: self.record()["state"] in ends, self.end_seconds, f"no end after {report.state}")
        ended = {bundle.release: bundle for bundle in (old, new) if bundle}.get(str(self.record()["to"]))
        promised = {"committed": new, "unchanged": new, "failed": old, "reverted": old}
        if report.state in promised and promised[report.state] is not ended:
            raise WrongState(f"{report.state}, but the device runs {self.record()}: {report.reason}")
        if ended is None:
            if (
                old is not None
                or self.answers() is not None
                or os.path.lexists(self.root / "apps/kws/current")
            ):
                raise WrongState(f"ended on {self.record()}")
            return None
        self.check_whole(ended)
        return ended

    def converge(self, new: Bundle) -> None:
        """Check that a second run without a fault brings the new release, and that nothing drifted."""
        report = self.deploy_clean(new)
        if report.state not in ("committed", "unchanged"):
            raise WrongState(f"the clean second run: {report.state}: {report.reason}")
        self.check_whole(new)
        with self.faults.active():
            drift = verify(self.host, "kws", self.options)["drift"]
        if drift:
            raise WrongState(f"after the clean second run: {drift}")
        self.old = new


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Cap how long a controller waits for any answer, so that a hang costs seconds instead of minutes.

    A little longer on a busy machine, and still shorter than the 8 s that storage stalls in a case.
    """
    from edgeship.remote.local import LocalTransport
    from edgeship.remote.ssh import SshTransport

    seconds *= min(1.75, slack())

    def capped(whole: Any) -> Any:
        def run(self: Any, command: Any, *heard: Any) -> Any:
            return whole(self, replace(command, timeout=min(command.timeout, seconds)), *heard)

        return run

    wholes = [(kind, kind.run) for kind in (LocalTransport, SshTransport)]
    for kind, whole in wholes:
        kind.run = capped(whole)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, whole in wholes:
            kind.run = whole  # type: ignore[method-assign]
