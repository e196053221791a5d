"""Bytes on the wire for version 1 -> 2 of real bundles: edgeship against rsync and casync.

python -m benchmarks.wire [--data ../shared/data] [--bundles FOLDER] [--only NAME] [--transfer-only]

Each brings the same release tree to a device that has version 1, over the same real OpenSSH server on loopback. A proxy
in front of it counts the bytes of every TCP connection, both ways, handshakes included; packet headers are not counted.
`transfer` is edgeship's hello, lease, have, put and stage, on one connection; `deployment` all of `edgeship deploy`:
the checks, the switch, the trial and the confirmation over a second connection. rsync and casync get their best of
several settings. casync pulls, as it is made to. Needs rsync and casync. Bundles are built where FOLDER lacks them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.loopback import Count, Proxy, Server, free_port, server
from benchmarks.pairs import PAIRS, make_bundles
from edgeship.bundle.seal import extract, open_bundle
from edgeship.deploy import DeployOptions, deploy
from edgeship.deploy.session import Session
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import send_missing
from edgeship.progress import Silent
from edgeship.values import Bundle

ROOT = Path(__file__).resolve().parents[1]
RSYNC = {
    "-a --checksum": (),
    "-z": ("-z",),
    "-z, zlib 9": ("-z", "--compress-choice=zlib", "--compress-level=9"),
    "-z, zstd 19": ("-z", "--compress-choice=zstd", "--compress-level=19"),
}
CASYNC = {"default": (), "chunks of 16 KiB": ("--chunk-size=16384",)}


class Bench:
    """One server, one proxy, and a folder for everything that is made."""

    def __init__(self, folder: Path, sshd: Server) -> None:
        self.folder, self.sshd = folder, sshd
        self.proxy = Proxy(sshd.port)
        self.numbers = iter(range(1000))

    def new(self, name: str) -> Path:
        """Return a folder that is not there yet."""
        return self.folder / f"{name}-{next(self.numbers)}"

    def rsync(self, old: Path, new: Path, settings: tuple[str, ...]) -> Count:
        """Have rsync turn a copy of `old` into `new`."""
        target = self.new("rsync")
        shutil.copytree(old, target, symlinks=True)
        remote = " ".join(self.sshd.ssh(self.proxy.port))
        words = ["rsync", "-a", "--checksum", "--delete", *settings, "-e", remote]
        self.proxy.take()
        subprocess.run([*words, f"{new}/", f"127.0.0.1:{target}/"], check=True)
        same(new, target)
        return self.proxy.take()

    def casync(self, old: Path, new: Path, settings: tuple[str, ...]) -> Count:
        """Have casync make `new` beside `old`, which it may build on."""
        store, target, wrapper = self.new("store"), self.new("casync"), self.new("ssh")
        store.mkdir()
        feature = ("--with=unix",)
        make = [
            "casync",
            "make",
            f"--store={store}/s.castr",
            *feature,
            *settings,
            f"{store}/i.caidx",
            str(new),
        ]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(self.sshd.ssh(self.proxy.port))} "$@"\n')
        wrapper.chmod(0o755)
        self.proxy.take()
        at = f"127.0.0.1:{store}"
        words = [
            "casync",
            "extract",
            f"--store={at}/s.castr",
            f"--seed={old}",
            *feature,
            *settings,
            f"{at}/i.caidx",
        ]
        subprocess.run(
            [*words, str(target)], check=True, env={**os.environ, "CASYNC_SSH_PATH": str(wrapper)},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        same(new, target)
        return self.proxy.take()

    @contextlib.contextmanager
    def device(self, old: Bundle) -> Iterator[DeployOptions]:
        """Give a device that serves version 1; its processes are ended afterwards."""
        root = self.new("device")
        options = DeployOptions(
            root=str(root), service="supervised", ssh_config=self.sshd.ssh_config, allow_volatile_root=True,
            listen=f"127.0.0.1:{free_port()}", allow_no_boot_hook=True,
        )  # fmt: skip
        report = deploy(old, self.sshd.host(self.sshd.port), options, Silent())
        if report.state != "committed":
            raise SystemExit(f"version 1 was not deployed: {report.reason}")
        try:
            yield options
        finally:
            end_processes(root)

    def transfer(self, old: Bundle, new: Bundle) -> tuple[Count, int]:
        """Return what bringing version 2 costs, and the bytes of content in it; nothing is switched."""
        with self.device(old) as options:
            session = Session(self.sshd.host(self.proxy.port), options, new.app)
            self.proxy.take()
            session.ask("hello", release=new.release, listen=options.listen)
            fence = session.ask("lease", release=new.release, signatures=[], allow_unsigned=True)["fence"]
            with Spool(new) as spool:
                sent = send_missing(partial(session.ask, fence=fence), spool, Silent(), session.packs, False)
            staged = session.ask(
                "stage", release=new.release, fence=fence, signatures=[], tx=uuid.uuid4().hex[:16]
            )
            session.close()
            assert staged["staged"] == "new"
            return self.proxy.take(), sent

    def deployment(self, old: Bundle, new: Bundle) -> Count:
        """Return what the whole deployment of version 2 costs."""
        with self.device(old) as options:
            self.proxy.take()
            report = deploy(new, self.sshd.host(self.proxy.port), options, Silent())
            if report.state != "committed":
                raise SystemExit(f"version 2 was not deployed: {report.reason}")
            return self.proxy.take()


def same(tree: Path, other: Path) -> None:
    """Leave where two trees differ."""
    subprocess.run(["diff", "-r", str(tree), str(other)], check=True)


def end_processes(root: Path) -> None:
    """End what runs below a device's folder."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(root).encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)


def compare(bench: Bench, old: Bundle, new: Bundle, deploying: bool) -> dict[str, tuple[Count, str]]:
    """Return who -> (bytes, settings) for one pair."""
    trees = []
    for bundle in (old, new):
        trees.append(bench.new("tree"))
        extract(bundle, trees[-1])
    count, sent = bench.transfer(old, new)
    found = {"edgeship transfer": (count, f"{sent} bytes of content")}
    for who, settings, run in (("rsync", RSYNC, bench.rsync), ("casync", CASYNC, bench.casync)):
        tried = {name: run(trees[0], trees[1], words) for name, words in settings.items()}
        best = min(tried, key=lambda name: tried[name].total)
        found[who] = (tried[best], best)
    if deploying:
        found["edgeship deployment"] = (bench.deployment(old, new), "")
    return found


def main(arguments: list[str]) -> int:
    """Measure every pair and print a table in Markdown; exit 1 where edgeship's transfer is the dearest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--bundles", type=Path, help="keep the bundles here, or take them from here")
    parser.add_argument("--transfer-only", action="store_true", help="leave the whole deployment out")
    parser.add_argument("--only", default="", help="pairs whose name holds this")
    given = parser.parse_args(arguments)
    for tool in ("rsync", "casync"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing: sudo apt-get install -y rsync casync")
    worse = 0
    with tempfile.TemporaryDirectory(prefix="edgeship-wire-") as made:
        folder = Path(made)
        paths = make_bundles(given.data, given.bundles or folder / "bundles", given.only)
        print(f"{platform.machine()}, {os.cpu_count()} cores; {first_line('rsync', '--version')}; "
              f"{first_line('casync', '--version')}; {first_line('ssh', '-V')}\n")  # fmt: skip
        print("| pair | who | up | down | both | connections | |\n|---|---|---|---|---|---|---|")
        with server(folder / "ssh") as sshd:
            bench = Bench(folder, sshd)
            for name, old, new, what in PAIRS:
                if given.only not in name:
                    continue
                found = compare(
                    bench, open_bundle(paths[old]), open_bundle(paths[new]), not given.transfer_only
                )
                for who, (count, note) in found.items():
                    print(f"| {name} | {who} | {count.up:,} | {count.down:,} | {count.total:,} "
                          f"| {count.connections} | {note} |", flush=True)  # fmt: skip
                print(f"| | {what} | | | | | |", flush=True)
                others = min(found[who][0].total for who in ("rsync", "casync"))
                worse += found["edgeship transfer"][0].total > others
            bench.proxy.close()
    print(f"\nedgeship's transfer was dearer than the cheaper of the two in {worse} pairs")
    return 1 if worse else 0


def first_line(*words: str) -> str:
    """Return the first line that a program says of itself."""
    done = subprocess.run(words, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
