"""How long `edgeship --version` and `--help` take, beside a bare interpreter that imports nothing.

    python benchmarks/startup.py [--runs 20]

Prints a Markdown table: median and worst wall-clock seconds of whole processes, in turn so that drift hits all alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "edgeship --version": [sys.executable, "-m", "edgeship", "--version"],
    "edgeship --help": [sys.executable, "-m", "edgeship", "--help"],
    "edgeship target list": [sys.executable, "-m", "edgeship", "target", "list"],
    "edgeship build --help": [sys.executable, "-m", "edgeship", "build", "--help"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            if turn:  # the first turn warms the caches
                times[name].append(time.perf_counter() - started)
    print("| command | median s | worst s |\n|---|---|---|")
    for name, seen in times.items():
        print(f"| `{name}` | {statistics.median(seen):.3f} | {max(seen):.3f} |")


if __name__ == "__main__":
    main()
