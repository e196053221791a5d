"""Random I/O errors from libfiu in the helper's calls, from one drawn call of a deployment on.

Needs Debian's fiu-utils and libfiu0.

python -m benchmarks.faults.fiu [--runs N] [--seed S] [--jobs N]

The helper runs with libfiu's POSIX layer preloaded: open, close, read, write, pread, pwrite, ftruncate, fsync, unlink,
rename and reading folders fail at random with EIO or ENOSPC, and reads and writes come up short, once the request is
read. libfiu does not cover link, symlink, mkdir, chmod, stat and flock. What fails is drawn by the seed, inside the
helper's own process, and is put on record there. Every fifth run is `fiu-run` itself instead, which spares nothing from
the interpreter's start on, and whose draw can neither be seeded nor counted. The interpreter keeps no bytecode (-I -B):
a fault would spoil a cache that others share. The device's own processes (service, dead-man) run without faults.
"""

from __future__ import annotations

import random
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import matrix
from benchmarks.faults.devices import Device, WrongState
from benchmarks.faults.interpose import REAL
from benchmarks.faults.runner import parser_of, run_cases

LIBRARIES = Path("/usr/lib/fiu")
PRELOAD = f"{LIBRARIES}/fiu_run_preload.so:{LIBRARIES}/fiu_posix_preload.so"
PROBABILITIES = (0.0005, 0.002, 0.005, 0.02)
PLAIN_PROBABILITIES = (0.00025, 0.001)
BEGIN = ("hello", "lease", "put", "stage", "stage", "arm", "arm", "activate", "activate", "activate", "status",
         "confirm", "confirm", "collect")  # fmt: skip
BEGIN_BACK = ("arm", "activate", "revert", "revert", "revert")
PLAIN_EVERY = 5
RUNS = 300
INJECTED = "faults injected"
WRAPPER = r"""
import atexit, ctypes, errno, os, random, sys
seed, probability, note, path = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
with open(path, "rb") as stream:
    program = compile(stream.read(), path, "exec")
draw, failed, armed = random.Random(seed), [], []
fiu = ctypes.CDLL("libfiu.so.0")
KIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int),
                        ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_uint))
def decide(name, number, info, flags):
    if not armed or draw.random() >= probability:
        return 0
    info[0] = draw.choice((errno.EIO, errno.EIO, errno.ENOSPC))
    failed.append(name.decode())
    return 1
kept = KIND(decide)
def end():
    del armed[:]
    if failed:
        with open(note, "a") as stream:
            stream.write("".join("%s\n" % name for name in failed))
atexit.register(end)
fiu.fiu_init(0)
for name in ("oc/open", "oc/close", "rw/read", "rw/write", "rw/pread", "rw/pwrite", "rw/ftruncate", "rw/read/reduce",
             "rw/write/reduce", "sync/fsync", "dir/unlink", "dir/rename", "dir/opendir", "dir/readdir"):
    if fiu.fiu_enable_external(("posix/io/" + name).encode(), 1, None, 0, kept):
        sys.exit("libfiu refuses " + name)
sys.argv = sys.argv[4:]
helper = {"__name__": "helper", "__file__": path}
exec(program, helper)
whole = helper["read_request"]
def read_request(stream):
    request = whole(stream)
    armed.append(True)
    return request
helper["read_request"] = read_request
sys.exit(helper["main"](sys.argv[1:]))
"""


@dataclass(frozen=True)
class Run:
    """One deployment under faults: from the first call of which verb on, how likely, seeded how."""

    seed: str
    begin: str
    probability: float
    plain: bool
    back: bool
    """Whether it is stopped before it is confirmed."""

    @property
    def name(self) -> str:
        """Return what the case is called."""
        kind = "fiu-run" if self.plain else "libfiu"
        return f"{kind}-{self.seed}-{self.begin}-{self.probability}{'-back' if self.back else ''}"


def under_faults(device: Device, run: Run) -> Path:
    """Have helper calls run under faults; return the file that will tell what failed."""
    folder = device.faults.folder
    wrapper, note, count = folder / "wrapper.py", folder / "failed", folder / "count"
    wrapper.write_text(WRAPPER)
    for path in (note, count):
        path.unlink(missing_ok=True)
    if run.plain:
        errors = f"enable_random name=posix/io/*,probability={run.probability}"
        line = f"exec fiu-run -x -f '' -c {shlex.quote(errors)} {REAL} \"$@\""
    else:
        line = (
            f"shift 2; LD_PRELOAD={PRELOAD} exec {REAL} -I -B {wrapper} "
            f'{run.seed}-$(wc -l <{count}) {run.probability} {note} "$@"'
        )
    device.faults.under(
        f'[ -f {count} ] || [ $VERB = {run.begin} ] || exec {REAL} "$@"\necho >>{count}\n{line}'
    )
    return note


def random_errors(run: Run) -> Callable[[Device], str | None]:
    """Return the case of a deployment under random I/O errors."""

    def go(device: Device) -> str | None:
        old = device.serve_old()
        new = device.bundle()
        note = under_faults(device, run)
        try:
            report = matrix.deploy_and_stop(device, new) if run.back else device.deploy(new)
        finally:
            device.faults.under(None)
        failed = note.read_text().split() if note.exists() else []
        try:
            device.old = device.judge(report, old, new, may_degrade=True)
            device.converge(new)
        except WrongState as wrong:
            raise WrongState(
                f"{wrong} ({report.state}: {report.reason}; failed: {', '.join(failed)})"
            ) from None
        how = "fiu-run" if run.plain else INJECTED if failed else "nothing failed"
        why = f": {report.reason[:300]}" if report.state == "degraded" else ""
        return f"{how}, {report.state}: {len(failed)}{why}"

    return go


def all_cases(runs: int, seed: int) -> list[matrix.Case]:
    """Return the runs, drawn by seed."""
    draw = random.Random(seed)
    cases = []
    for number in range(runs):
        plain, back = number % PLAIN_EVERY == PLAIN_EVERY - 1, draw.random() < 0.3
        run = Run(
            seed=f"{seed}-{number:04d}",
            begin=draw.choice(BEGIN_BACK if back else BEGIN),
            probability=draw.choice(PLAIN_PROBABILITIES if plain else PROBABILITIES),
            plain=plain,
            back=back,
        )
        cases.append(matrix.Case(run.name, random_errors(run)))
    return cases


def main(arguments: list[str]) -> int:
    """Run the campaign."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args(arguments)
    if not LIBRARIES.is_dir():
        sys.exit("needs libfiu: apt-get install fiu-utils libfiu0")
    return run_cases(all_cases(given.runs, given.seed), given, must=INJECTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
