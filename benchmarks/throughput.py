"""How fast edgeship uploads over SSH, against OpenSSH's own tools, on loopback.

python -m benchmarks.throughput [--megabytes 100] [--rounds 5]

One incompressible file, a real sshd, the tools in turn. `edgeship` is what `deploy` does to bring a blob: reading it
out of the bundle, asking what is missing, sending, writing, hashing all of it and fsync on the device.
`ssh cat && sync` leaves a durable file, too, without a hash; `ssh cat` and `sftp` do neither. Each is also run with the
cipher that edgeship asks for. Connections are made inside the time measured, by a shell that reads no start-up file.
Prints the medians, their ratio to each OpenSSH way, and exits with 1 where that to the quickest of all is above 1.3.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.loopback import Server, server
from edgeship.deploy import DeployOptions
from edgeship.deploy.session import Session
from edgeship.deploy.spool import Spool
from edgeship.deploy.upload import send_missing
from edgeship.digest import canonical_json, sha256_bytes, write_tar
from edgeship.progress import Silent
from edgeship.values import Bundle

CIPHER = "aes128-gcm@openssh.com"
LIMIT = 1.3


def make_bundle(folder: Path, data: bytes) -> Bundle:
    """Return a bundle around one file."""
    entry = {"sha256": sha256_bytes(data), "bytes": len(data), "executable": False}
    manifest = {"schema": "edgeship.manifest/1", "app": "bench", "version": "1", "files": {"model": entry}}
    head = canonical_json(manifest)
    path = folder / "bench.edgeship"
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=1) as stream:
        write_tar(stream, {"manifest.json": head, "model": data})  # type: ignore[arg-type]
    return Bundle(
        path=path, sha256="", bytes=path.stat().st_size, release=sha256_bytes(head), app="bench", target="test",
        manifest=manifest,
    )  # fmt: skip


def edgeship(sshd: Server, bundle: Bundle, root: Path) -> float:
    """Return the seconds of one upload to a device that has the helper and nothing else."""
    options = DeployOptions(root=str(root), ssh_config=sshd.ssh_config, service="supervised")
    session = Session(sshd.host(sshd.port), options, "bench")
    session.ship()
    fence = session.ask("lease", allow_unsigned=True)["fence"]
    session.reconnect()
    begun = time.perf_counter()
    with Spool(bundle) as spool:
        send_missing(partial(session.ask, fence=fence), spool, Silent(), session.packs, False)
    took = time.perf_counter() - begun
    session.close()
    digest = str(bundle.manifest["files"]["model"]["sha256"])
    assert (root / "cas" / digest[:2] / digest).is_file()
    shutil.rmtree(root)
    return took


def cat(sshd: Server, source: Path, target: Path, *words: str, sync: bool = False) -> float:
    """Return the seconds of `ssh host 'cat > file' < file`; `sync`: until the file is durable."""
    program = f"cat > {target}" + (f" && sync {target}" if sync else "")
    begun = time.perf_counter()
    with source.open("rb") as stream:
        subprocess.run([*sshd.ssh(sshd.port), *words, "127.0.0.1", program], stdin=stream, check=True)
    took = time.perf_counter() - begun
    assert target.stat().st_size == source.stat().st_size
    target.unlink()
    return took


def sftp(sshd: Server, source: Path, target: Path, *words: str) -> float:
    """Return the seconds of an sftp `put`."""
    command = ["sftp", "-q", "-F", str(sshd.ssh_config), "-P", str(sshd.port), *words, "-b", "-", "127.0.0.1"]
    begun = time.perf_counter()
    subprocess.run(command, input=f"put {source} {target}\n".encode(), check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - begun
    assert target.stat().st_size == source.stat().st_size
    target.unlink()
    return took


def main(arguments: list[str]) -> int:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgeship-throughput-") as made:
        folder = Path(made)
        source, target = folder / "blob", folder / "target"
        data = os.urandom(given.megabytes * 1_000_000)
        source.write_bytes(data)
        bundle = make_bundle(folder, data)
        with server(folder / "ssh") as sshd:
            ways = {
                "edgeship": lambda: edgeship(sshd, bundle, folder / "device"),
                "ssh cat && sync": lambda: cat(sshd, source, target, sync=True),
                f"ssh cat && sync, {CIPHER}": lambda: cat(sshd, source, target, "-c", CIPHER, sync=True),
                "sftp": lambda: sftp(sshd, source, target),
                f"sftp, {CIPHER}": lambda: sftp(sshd, source, target, "-c", CIPHER),
                "ssh cat": lambda: cat(sshd, source, target),
                f"ssh cat, {CIPHER}": lambda: cat(sshd, source, target, "-c", CIPHER),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(given.rounds):
                for name, way in ways.items():
                    times[name].append(way())
    medians = {name: statistics.median(took) for name, took in times.items()}
    print(
        f"{given.megabytes} MB, {given.rounds} rounds in turn, {platform.machine()}, {os.cpu_count()} cores\n"
    )
    print("| | median s | best s | MB/s |\n|---|---|---|---|")
    for name, took in times.items():
        print(f"| {name} | {medians[name]:.2f} | {min(took):.2f} | {given.megabytes / medians[name]:.0f} |")
    ours = medians.pop("edgeship")
    for name, took in medians.items():
        print(f"\nedgeship over {name}: {ours / took:.2f}", end="")
    ratio = ours / min(medians.values())
    print(f"\nedgeship over the quickest: {ratio:.2f}; the limit is {LIMIT}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
