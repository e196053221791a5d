"""Candidates a minute of `edgeship compress`: cold with one job and with two, repeated, and killed and resumed.

    python -m benchmarks.search [--data ../shared/data] [--steps 40] [--work DIR] [--json]

Eight candidates at small settings (`--steps` of training each) of the demo's digits CNN, or of KWS where `--data`
says where it is. Every run is the command itself in a process of its own, bundle and page included; the model was
converted before, for that is no part of a search. `killed`: SIGKILL to the command and all that it started once four
steps of chains are kept, then the same command again; its seconds are of both. Exits 1 where the tables of candidates
differ in more than what a clock says, or a repeat takes two seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.toolchain import run_worker

CHAINS = (
    "equalise", "round-int8", "cluster-16{0}", "cluster-8{0}", "prune-50{0}", "prune-50{0}+cluster-16{0}",
    "finetune{0}",
)  # fmt: skip
CLOCK = ("seconds", "latency_ms", "peak_rss_mb")
"""Keys of the document that a clock or the system fills."""
REPEAT = 2.0
"""Seconds that a repeated search may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run of the command."""

    name: str
    seconds: float
    processor: float
    document: dict[str, Any]

    @property
    def minute(self) -> float:
        """Candidates a minute."""
        return 60 * self.document["tried"] / self.seconds


class Search:
    """The command, with a cache of its own for each name."""

    def __init__(self, folder: Path, model: Path, data: list[str], steps: int) -> None:
        self.folder = folder
        settings = f",epochs=1,steps={steps},batch=32,augment=none"
        self.words = [sys.executable, "-m", "edgeship", "compress", str(model), "--target", "host", *data]
        self.words += ["--recipe", "int8", "--max-drop", "100", "--json", "-q"]
        for chain in CHAINS:
            self.words += ["--method", chain.format(settings)]

    def cache(self, name: str) -> Path:
        return self.folder / f"cache-{name}"

    def start(self, name: str, *more: str) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        return subprocess.Popen(
            [*self.words, "-o", str(self.folder / f"out-{name}"), *more],
            env=os.environ | {"EDGESHIP_CACHE": str(self.cache(name))},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, name: str, cache: str, *more: str) -> Ran:
        """Return a whole run with the cache of `cache`."""
        before, begun = _processor(), time.perf_counter()
        process = self.start(cache, *more)
        out, err = process.communicate()
        if process.returncode not in (0, 3):
            raise SystemExit(f"{name}: {err}")
        seconds = time.perf_counter() - begun
        return Ran(name=name, seconds=seconds, processor=_processor() - before, document=json.loads(out))

    def kill(self, cache: str, done: int) -> Ran:
        """Start with one job and kill everything once `done` steps are kept; return what that took."""
        steps = self.cache(cache) / "compress" / "steps"
        before, begun = _processor(), time.perf_counter()
        process = self.start(cache, "--jobs", "1")
        while len(_whole(steps)) < done:
            if process.poll() is not None:
                raise SystemExit(f"it ended before it was killed: {process.communicate()[1]}")
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        seconds = time.perf_counter() - begun
        return Ran(name="killed", seconds=seconds, processor=_processor() - before, document={"tried": done})


def _whole(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".part"] if folder.exists() else []


def _processor() -> float:
    used = os.times()
    return used.children_user + used.children_system


def told(value: Any) -> Any:
    """Return a document without what a clock says."""
    if isinstance(value, dict):
        return {key: told(each) for key, each in value.items() if key not in CLOCK}
    return [told(each) for each in value] if isinstance(value, list) else value


def runs(search: Search) -> list[Ran]:
    """Return all runs, their tables compared."""
    for name in ("one", "two", "killed"):  # the model as it is converted, and nothing else
        shutil.copytree(search.cache("converted") / "models", search.cache(name) / "models")
    cold = search.run("cold, --jobs 1", "one", "--jobs", "1")
    found = [cold, search.run("repeated", "one", "--jobs", "1")]
    found.append(search.run("cold, --jobs 2", "two", "--jobs", "2"))
    killed = search.kill("killed", 4)
    again = search.run("resumed", "killed", "--jobs", "1")
    both = Ran(
        name="killed and resumed", seconds=killed.seconds + again.seconds,
        processor=killed.processor + again.processor, document=again.document,
    )  # fmt: skip
    return [*found, both]


def prepared(folder: Path, data: Path | None, steps: int) -> Search:
    """Return the search of digits or KWS, with the model converted once."""
    if data is None:
        if not (folder / "digits.keras").exists():
            run_worker("benchmarks.digits:saved", {"folder": str(folder), "seed": 7})
        model, where = folder / "digits.keras", folder
        options: list[str] = []
    else:
        model, where = data / "kws" / "saved_model", data / "kws"
        options = ["--calibration", str(where / "calibration.npz")]
    options += ["--train", str(where / "train.npz"), "--eval", str(where / "eval.npz")]
    search = Search(folder, model, options, steps)
    plain = [word for word in search.words if word != "--json"]
    plain = plain[: plain.index("--recipe")]
    subprocess.run(
        [*plain[:3], "explain", *plain[4:], "--recipe", "int8", "--minutes", "0.01", "-q"],
        env=os.environ | {"EDGESHIP_CACHE": str(search.cache("converted"))}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return search


def main() -> int:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the shared models and data: KWS, not digits")
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--work", type=Path, help="folder that stays; made anew where it holds earlier runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeship-search-") as name:
        folder = options.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = runs(prepared(folder, options.data, options.steps))
    tables = [told(ran.document) for ran in found]
    same = all(table == tables[0] for table in tables)
    if options.json:
        rows = [
            {"run": ran.name, "seconds": ran.seconds, "processor": ran.processor, "candidates": ran.document["tried"],
             "a_minute": ran.minute} for ran in found
        ]  # fmt: skip
        print(
            json.dumps(
                {"cpus": os.cpu_count(), "load": os.getloadavg(), "same": same, "runs": rows}, indent=1
            )
        )
    else:
        print("| run | candidates | seconds | processor s | candidates a minute |\n|---|---|---|---|---|")
        for ran in found:
            tried = ran.document["tried"]
            print(f"| {ran.name} | {tried} | {ran.seconds:.1f} | {ran.processor:.1f} | {ran.minute:.1f} |")
        print(f"\nload {os.getloadavg()[0]:.1f}; tables {'are the same' if same else 'DIFFER'}")
    return int(not same or found[1].seconds >= REPEAT)


if __name__ == "__main__":
    sys.exit(main())
