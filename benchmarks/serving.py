"""JSON requests: edgeship's service beside uvicorn, orjson and NumPy around the same model, in one run.

    python -m benchmarks.serving [--only kws] [--rounds 5] [--seconds 1] [--clients 1,8] [--environment DIR]

Both services run on one core, the load generator on another where there is one; they take turns, round by round, in
changing order, with keep-alive connections and the same bytes. Before any load both must give the same numbers. The
peer (benchmarks/serving_peer.py) is installed into an environment of its own (`--environment`, kept for the next run
where it is given), once as `uvicorn` is, once with uvloop and httptools (`uvicorn[standard]`). Ratios are medians over
rounds of edgeship's throughput to the peer's of the same round: above 1 is faster. `by CPU` counts the server's
processor seconds only, which other work on the machine cannot take away. Memory is resident after the load. Exits
with 1 where edgeship takes more processor time than `--against` (plain) in any row.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.loopback import free_port
from benchmarks.serve import ROOT, Service, litert_version, load, make_release, pinned

DATA = ROOT.parent / "shared" / "data"
PEER = Path(__file__).with_name("serving_peer.py")
PEERS = ("plain", "standard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model with one form of request."""

    name: str
    model: Path
    datatype: str
    nested: bool
    decimals: int | None = None  # What the client rounds its numbers to, None: not at all.


def own_models(folder: Path) -> dict[str, Path]:
    """Write a tiny model, a wide one and one for pictures of 96 x 96, so that the service costs more than they do."""
    found = importlib.util.spec_from_file_location("make_models", ROOT / "tests/runtime/make_models.py")
    assert found is not None and found.loader is not None
    make = importlib.util.module_from_spec(found)
    found.loader.exec_module(make)
    draw = random.Random(7)

    def layers(name: str, widths: list[int]) -> Path:
        graph = make.Graph()
        first = last = graph.tensor("x", [1, widths[0]], make.F32)
        for depth, (wide, out) in enumerate(itertools.pairwise(widths)):
            weights = make.np.array([draw.gauss(0, 0.1) for _ in range(wide * out)], make.np.float32)
            w = graph.tensor(f"w{depth}", [out, wide], make.F32, data=weights.reshape(out, wide))
            b = graph.tensor(f"b{depth}", [out], make.F32, data=make.np.zeros(out, make.np.float32))
            after = graph.tensor(f"y{depth}", [1, out], make.F32)
            code, kind = make.schema.BuiltinOperator, make.schema.BuiltinOptions
            options = make.schema.FullyConnectedOptionsT()
            graph.operator(code.FULLY_CONNECTED, [last, w, b], [after], kind.FullyConnectedOptions, options)
            last = after
        graph.save(folder / f"{name}.tflite", [first], [last])
        return folder / f"{name}.tflite"

    def picture() -> Path:
        graph = make.Graph()
        x = graph.tensor("x", [1, 96, 96, 3], make.I8, 1.0, -128)
        axes = graph.tensor("axes", [2], make.I32, data=make.np.array([1, 2], make.np.int32))
        y = graph.tensor("y", [1, 3], make.I8, 1.0, -128)
        code, kind = make.schema.BuiltinOperator.MEAN, make.schema.BuiltinOptions.ReducerOptions
        graph.operator(code, [x, axes], [y], kind, make.schema.ReducerOptionsT())
        graph.save(folder / "picture.tflite", [x], [y])
        return folder / "picture.tflite"

    return {"tiny": layers("tiny", [8, 16, 4]), "wide": layers("wide", [640, 16, 640]), "picture": picture()}


def cases(folder: Path, only: str) -> list[Case]:
    """Return the rows of the table whose name holds `only`."""
    models = own_models(folder)
    kws, resnet = DATA / "kws/mlperf_int8.tflite", DATA / "cifar10/mlperf_int8.tflite"
    rows: list[tuple[str, Path, str, int | None]] = [
        ("MLP 8-16-4, FP32", models["tiny"], "FP32", None),
        ("KWS int8, 490 FP32", kws, "FP32", None),
        ("KWS int8, 490 FP32 of 4 decimals", kws, "FP32", 4),
        ("ResNet-8 int8, 3,072 UINT8", resnet, "UINT8", None),
        ("640 FP32 to 640 FP32", models["wide"], "FP32", None),
        ("picture 96x96x3, UINT8", models["picture"], "UINT8", None),
    ]
    found = []
    for name, model, datatype, decimals in rows:
        if not model.is_file():
            print(f"{model} is missing: {name} is left out", file=sys.stderr)
            continue
        for nested in (False, True):
            full = f"{name}, {'nested' if nested else 'flat'}"
            if only in full and not (nested and model == models["tiny"]):
                case = Case(name=full, model=model, datatype=datatype, nested=nested, decimals=decimals)
                found.append(case)
    return found


def shaped(values: list[Any], shape: list[int]) -> list[Any]:
    """Return a nested list of this shape."""
    for size in reversed(shape[1:]):
        values = [values[i : i + size] for i in range(0, len(values), size)]
    return values


def request_of(service: dict[str, Any], case: Case) -> tuple[bytes, bytes]:
    """Return (the whole HTTP request, its body): numbers as `json.dumps(array.tolist())` spells them, a float32 with
    the 17 digits of its double."""
    draw, inputs = random.Random(3), []
    for spec in service["variants"][0]["inputs"]:
        count = 1
        for size in spec["shape"]:
            count *= size
        values: list[Any] = [draw.randrange(256) for _ in range(count)]
        if case.datatype == "FP32":
            scale, zero = spec["tensor"]["scale"] or 1 / 64, spec["tensor"]["zero_point"] or 0
            real = [scale * (draw.uniform(-120, 120) - zero) for _ in range(count)]
            values = list(struct.unpack(f"<{count}f", struct.pack(f"<{count}f", *real)))
            if case.decimals is not None:
                values = [round(value, case.decimals) for value in values]
        data = shaped(values, spec["shape"]) if case.nested else values
        inputs.append({"name": spec["name"], "datatype": case.datatype, "shape": spec["shape"], "data": data})
    body = json.dumps({"id": "1", "inputs": inputs}).encode()
    lines = ["POST /v2/models/bench/infer HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body, body


class Peer:
    """The peer as a process pinned to one core, where the machine has two."""

    def __init__(self, python: Path, service: dict[str, Any], model: Path, kind: str, core: int | None):
        variant, self._port = service["variants"][0], free_port()
        spec = {
            "model": str(model),
            "threads": 1,
            "inputs": variant["inputs"],
            "outputs": variant["outputs"],
        }
        command = [str(python), "-I", "-B", str(PEER), json.dumps(spec), str(self._port), kind]
        self.process = subprocess.Popen(pinned(command, core), stderr=subprocess.DEVNULL)

    def port(self) -> int:
        """Wait until it answers; return the port."""
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=5)
            except urllib.error.HTTPError:
                return self._port
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("the peer did not start") from None
                time.sleep(0.05)

    cpu_seconds, rss_mb, stop = Service.cpu_seconds, Service.rss_mb, Service.stop


@dataclass(slots=True)
class Turn:
    """What one service did in all rounds with one number of clients."""

    per_second: list[float] = field(default_factory=list)
    per_cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def take(self, figures: dict[str, float], cpu: float) -> None:
        """Add a round."""
        if figures["refused"]:
            raise SystemExit(f"{figures['refused']} requests were refused under load")
        self.per_second.append(figures["per_second"])
        self.per_cpu.append(figures["requests"] / cpu)
        self.p50.append(figures["p50_ms"])
        self.p99.append(figures["p99_ms"])


def numbers(port: int, body: bytes) -> list[list[float]]:
    """Return the outputs' values of one answer."""
    url = f"http://127.0.0.1:{port}/v2/models/bench/infer"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [output["data"] for output in json.load(answer)["outputs"]]


def same(found: list[list[float]], other: list[list[float]]) -> bool:
    """Return whether two answers hold the same numbers; the engine is entered by two ways, so 1 in 10^5 is let pass."""
    pairs = [(a, b) for x, y in zip(found, other, strict=True) for a, b in zip(x, y, strict=True)]
    return all(abs(a - b) <= 1e-5 * max(1.0, abs(a)) for a, b in pairs)


@contextmanager
def running(
    case: Case, folder: Path, python: Path, kinds: list[str]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Start edgeship's service and the peers for a case; yield (name -> process, the request)."""
    service = make_release(folder, case.model, 1, case.datatype)
    request, body = request_of(service, case)
    core = sorted(os.sched_getaffinity(0))[0] if len(os.sched_getaffinity(0)) > 1 else None
    found: dict[str, Any] = {"edgeship": Service(folder, core)}
    try:
        found.update({kind: Peer(python, service, case.model, kind, core) for kind in kinds})
        first = numbers(found["edgeship"].port(), body)
        for name, process in found.items():
            if not same(first, numbers(process.port(), body)):
                raise SystemExit(f"{case.name}: {name} answers other numbers")
        yield found, request
    finally:
        for process in found.values():
            process.stop()


def measure(case: Case, python: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one case, one for each number of clients."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgeship-serving-") as made:
        folder = Path(made)
        with running(case, folder, python, options.peers) as (services, request):
            path = folder / "request.bin"
            path.write_bytes(request)
            cores = sorted(os.sched_getaffinity(0))
            core = cores[1] if len(cores) > 1 else None
            for clients in options.clients:
                turns = {name: Turn() for name in services}
                for number in range(options.rounds + 1):  # The first one only warms up.
                    for name in list(services)[:: 1 if number % 2 else -1]:
                        process, before = services[name], services[name].cpu_seconds()
                        seconds = str(options.seconds if number else 0.3)
                        words = ["--clients", str(clients), "--seconds", seconds]
                        figures = load(process.port(), path, core, *words)
                        if number:
                            turns[name].take(figures, process.cpu_seconds() - before)
                memory = {name: process.rss_mb() for name, process in services.items()}
                rows.append({"case": case.name, "clients": clients, "turns": turns, "memory": memory})
    return rows


def ratio(row: dict[str, Any], peer: str, what: Callable[[Turn], list[float]]) -> float:
    """Return the median over rounds of edgeship's figure over the peer's."""
    ours, theirs = what(row["turns"]["edgeship"]), what(row["turns"][peer])
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def line(row: dict[str, Any]) -> str:
    """Return a row of the Markdown table."""
    turns, names = row["turns"], list(row["turns"])

    def of(what: Callable[[Turn], list[float]], form: str) -> str:
        return " / ".join(format(statistics.median(what(turns[name])), form) for name in names)

    def over(what: Callable[[Turn], list[float]]) -> str:
        return " / ".join(f"{ratio(row, peer, what):.2f}" for peer in names[1:])

    cells = [row["case"], str(row["clients"])]
    cells += [of(lambda t: t.per_second, ",.0f"), over(lambda t: t.per_second)]
    cells += [of(lambda t: [1e6 / each for each in t.per_cpu], ".0f"), over(lambda t: t.per_cpu)]
    cells += [of(lambda t: t.p50, ".2f"), of(lambda t: t.p99, ".2f")]
    cells.append(" / ".join(f"{row['memory'][name]:.0f}" for name in names))
    return f"| {' | '.join(cells)} |"


def environment(folder: Path) -> Path:
    """Return the python of an environment that has the peer; it is made where there is none."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = ["uvicorn[standard]", "orjson", "numpy", f"ai-edge-litert=={litert_version()}"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def main(arguments: list[str]) -> int:
    """Measure and print."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", default="", help="part of a row's name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each load")
    parser.add_argument("--clients", default=[1, 8], type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--peers", default=list(PEERS), type=lambda text: text.split(","))
    parser.add_argument("--against", default="plain", help="the peer that must not be faster")
    parser.add_argument("--environment", type=Path, help="folder of the peer's environment")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgeship-serving-") as made:
        folder = Path(made)
        python = environment(options.environment or folder / "environment")
        print(f"Each figure: {' / '.join(['edgeship', *options.peers])}; times: edgeship over each peer.\n")
        print("| | clients | requests/s | times | CPU us a request | times, by CPU | p50 ms | p99 ms | MB |")
        print("|---" * 9 + "|", flush=True)
        slower = 0
        for case in cases(folder, options.only):
            for row in measure(case, python, options):
                print(line(row), flush=True)
                slower += ratio(row, options.against, lambda t: t.per_cpu) < 1.0
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
