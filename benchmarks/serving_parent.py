"""What a change costs the service: this checkout's runtime beside that of another commit, in one run.

    python -m benchmarks.serving_parent [--parent main] [--rounds 7] [--seconds 1] [--model X.tflite]

The same model and the same bytes: the service of the other commit, this one's, and this one's with three rungs of the
model and a governor. They take turns in changing order, on one core, the load generator on another where there is
one. Before any load the first two must give the same answer, byte for byte but for the date. Ratios are medians over
rounds of the same round's figures, of the latency of the best ones: other work on the machine only ever adds. `ms_cpu`
counts the server's processor time alone, which other work cannot take away. Exits with 1 where the service without a
governor takes more of that, or of memory, than `TOLERANCE` allows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.serve import ROOT, Service, default_model, first_answer_ms, load, make_release, request_bytes

TOLERANCE = 1.03
NAMES = ("parent", "here", "governed")


def take_runtime(commit: str, folder: Path) -> None:
    """Put another commit's runtime into a release."""
    for path in (folder / "runtime").glob("*.py"):
        path.unlink()
    archive = ["git", "-C", str(ROOT), "archive", commit, "edgeship/runtime"]
    packed = subprocess.run(archive, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(
        ["tar", "-x", "--strip-components=2", "-C", str(folder / "runtime")], input=packed, check=True
    )


def govern(folder: Path, rungs: int) -> None:
    """Make a ladder of copies of the release's model: what several rungs cost, each as large as the one."""
    service = json.loads((folder / "service.json").read_text())
    (only,) = service["variants"]
    service["variants"] = [{**only, "name": f"rung{n}", "recipe": f"rung{n}"} for n in range(rungs)]
    service["chosen"] = f"rung{rungs - 1}"
    rows = [
        {"variant": f"rung{n}", "accuracy": 0.8 + n / 100, "seconds": 1e-4 * (n + 1), "threads": 1}
        for n in range(rungs)
    ]
    service["governor"] = {"settings": {}, "rungs": rows, "sensors": [], "power": None, "thermal": None}
    (folder / "service.json").write_text(json.dumps(service))


def answer_of(port: int, request: bytes) -> bytes:
    """Return one answer's bytes without its date."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return re.sub(rb"Date: [^\r]*\r\n", b"", received)


def one_round(service: Service, request: Path, core: int | None, seconds: float) -> dict[str, float]:
    """Return the figures of one service in one round."""
    length = ["--seconds", str(seconds)]
    one = load(service.port(), request, core, *length)
    spent = service.cpu_seconds()
    many = load(service.port(), request, core, "--clients", "8", *length)
    spent = service.cpu_seconds() - spent
    return {
        "p50_ms": one["p50_ms"],
        "p95_ms": one["p95_ms"],
        "per_second": many["per_second"],
        "ms_cpu": 1e3 * spent / many["requests"],
        "rss_mb": service.rss_mb(),
    }


def measure(folders: dict[str, Path], request: bytes, rounds: int, seconds: float) -> dict[str, Any]:
    """Return {name: {figure: [one a round]}}."""
    cores = sorted(os.sched_getaffinity(0))
    own, other = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    path = folders["here"] / "request.bin"
    path.write_bytes(request)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in NAMES}
    for turn in range(rounds):
        for name in NAMES[turn % 3 :] + NAMES[: turn % 3]:
            start = first_answer_ms(folders[name], request, own)
            found[name].setdefault("start_ms", []).append(start)
    services = {name: Service(folder, own) for name, folder in folders.items()}
    try:
        answers = {name: answer_of(service.port(), request) for name, service in services.items()}
        if answers["parent"] != answers["here"]:
            raise SystemExit(f"the two do not answer the same:\n{answers['parent']!r}\n{answers['here']!r}")
        for turn in range(-1, rounds):
            for name in NAMES[turn % 3 :] + NAMES[: turn % 3]:
                for key, value in one_round(services[name], path, other, seconds).items():
                    if turn >= 0:
                        found[name].setdefault(key, []).append(value)
    finally:
        for service in services.values():
            service.stop()
    return found


def ratio(found: dict[str, Any], name: str, key: str) -> float:
    """Return the median over rounds of a figure over the parent's; above 1: worse."""
    if key == "p50_ms":
        return float(min(found[name][key]) / min(found["parent"][key]))
    pairs = zip(found[name][key], found["parent"][key], strict=True)
    return statistics.median(b / a if key == "per_second" else a / b for a, b in pairs)


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parent", default="main")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgeship-parent-") as made:
        model = given.model or default_model(Path(made))
        folders = {name: Path(made) / name for name in NAMES}
        for folder in folders.values():
            folder.mkdir()
            service = make_release(folder, model, 1)
        take_runtime(given.parent, folders["parent"])
        govern(folders["governed"], 3)
        found = measure(folders, request_bytes(service), given.rounds, given.seconds)
    keys = list(found["here"])
    print(
        f"{model.name} beside {given.parent}, {given.rounds} rounds of {given.seconds:g} s: medians (over the parent)\n"
    )
    print("| |", " | ".join(keys), "|\n|" + "---|" * (len(keys) + 1))
    for name in NAMES:
        cells = [f"{statistics.median(found[name][key]):.3f} ({ratio(found, name, key):.3f})" for key in keys]
        print(f"| {name} |", " | ".join(cells), "|")
    worst = max(ratio(found, "here", key) for key in ("ms_cpu", "rss_mb"))
    print(f"\nwithout a governor, at worst {worst:.3f} of the parent; the limit is {TOLERANCE}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
