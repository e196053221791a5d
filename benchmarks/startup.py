"""What whole `edgeship` processes cost before they have done anything: the verbs people and scripts call most.

    python -m benchmarks.startup [--runs 15] [--bundle FILE]

Prints a Markdown table: median processor time (user and system) and median wall-clock seconds, and the processor time
as a multiple of an interpreter that does nothing. All commands run in turn, so that drift hits all alike; the first
turn warms caches and writes bytecode, as an installation has it. Devices are reached over a real OpenSSH server on
loopback, so nothing that runs on the device counts. The deployment finds its release serving and has nothing to do; its
bundle has the size of a real one (2.5 MB) unless FILE is given. Exits with 1 where a median is over its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.loopback import free_port, server

ROOT = Path(__file__).resolve().parents[1]
BALLAST = 2_500_000
EDGESHIP = (sys.executable, "-m", "edgeship")


@dataclass
class Measured:
    """One command, the folder it runs in, what it may cost, and what it did."""

    command: tuple[str, ...]
    folder: Path
    limit: float | None = None
    """Seconds of processor time."""
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, *, keep: bool) -> None:
        """Run the command once. Raises SystemExit with what it said where it fails."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with tempfile.TemporaryFile() as said:
            started = time.perf_counter()
            process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=said
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                raise SystemExit(f"{' '.join(self.command)}: {said.read().decode()}")
        if keep:
            self.seconds.append(usage.ru_utime + usage.ru_stime)
            self.wall.append(wall)


def tiny_bundle(folder: Path) -> Path:
    """Return a bundle as the tests make them, with the bytes of a real one."""
    sys.path.append(str(ROOT / "tests/deploy"))
    from tiny_release import make_bundle

    made = make_bundle(folder, port=free_port(), ballast=os.urandom(BALLAST))
    return Path(made.path)


@contextlib.contextmanager
def commands(bundle: Path | None) -> Iterator[Mapping[str, Measured]]:
    """Yield what is measured, with a device that serves the bundle."""
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "ssh") as sshd:
        folder = Path(name)
        empty, project = folder / "empty", folder / "project"
        for each in (empty, project):
            each.mkdir()
        (project / "edgeship.yaml").write_text((ROOT / "examples/edgeship.yaml").read_text())
        file = bundle.resolve() if bundle else tiny_bundle(folder)
        device = ("--host", sshd.host(sshd.port).text, "--ssh-config", str(sshd.ssh_config), "--no-sudo")
        device += ("--root", f"{folder}/device")
        volatile = ("--allow-volatile-root", "--allow-no-boot-hook")
        deploy = (*EDGESHIP, "deploy", str(file), *device, *volatile)
        try:
            Measured((*deploy,), empty).run(keep=False)
            yield {
                "python -c pass": Measured((sys.executable, "-c", "pass"), empty),
                "python -c 'import fabric'": Measured((sys.executable, "-c", "import fabric"), empty),
                "edgeship --version": Measured((*EDGESHIP, "--version"), empty),
                "edgeship --help": Measured((*EDGESHIP, "--help"), empty),
                "edgeship build --help": Measured((*EDGESHIP, "build", "--help"), empty),
                "edgeship target list": Measured((*EDGESHIP, "target", "list"), empty, 0.3),
                "edgeship status": Measured((*EDGESHIP, "status", *device), empty, 0.5),
                "edgeship status, beside an edgeship.yaml": Measured((*EDGESHIP, "status", *device), project, 0.5),
                "edgeship deploy, nothing to do": Measured(deploy, empty, 0.6),
            }  # fmt: skip
        finally:
            end_services(folder / "device")


def end_services(root: Path) -> None:
    """End what serves below a device root."""
    for path in root.glob("apps/*/run/*.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            told = json.loads(path.read_text())
            parts = [told.get(key) for key in ("supervisor", "child", "process")]
            for pid in [part["pid"] for part in parts if isinstance(part, dict)]:
                if str(root).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


def main() -> int:
    """Measure, print, and return 1 where something costs too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--bundle", type=Path)
    given = parser.parse_args()
    over = []
    with commands(given.bundle) as measured:
        for turn in range(given.runs + 1):
            for each in measured.values():
                each.run(keep=turn > 0)
    bare = statistics.median(next(iter(measured.values())).seconds)
    print("| command | processor s | limit | times `pass` | wall s |\n|---|---|---|---|---|")
    for name, each in measured.items():
        middle = statistics.median(each.seconds)
        limit = "" if each.limit is None else f"{each.limit}"
        print(
            f"| `{name}` | {middle:.3f} | {limit} | {middle / bare:.1f} | {statistics.median(each.wall):.3f} |"
        )
        if each.limit is not None and middle > each.limit:
            over.append(name)
    if over:
        print(f"over the limit: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
