"""How much the service costs over a bare loop around the engine. Run: `python benchmarks/serve.py [--model X.tflite]`.

Measures in one run: the engine in a bare loop, binary requests from one client, throughput a core, an open loop at
half of that, start to the first answer, resident memory. The load comes from processes of their own. Bare loop and
client take turns, and the quietest turn of each counts: other work on the machine only ever adds. Prints a table in
Markdown. Without --model it takes the KWS model beside the checkout, or makes a small one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KWS = ROOT.parent / "shared" / "data" / "kws" / "mlperf_int8.tflite"
# Asked of ai_edge_litert's interpreter, in a process of its own: what tensors does the model have?
SPECS = """
import json, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
def spec(d):
    scale, zero = d["quantization"]
    return [d["name"], [int(n) for n in d["shape"]], d["dtype"].__name__, float(scale), int(zero)]
details = interpreter.get_input_details(), interpreter.get_output_details()
print(json.dumps([[spec(d) for d in side] for side in details]))
"""
TURNS = 3
TARGETS = {"overhead": "< 0.4 ms", "throughput": ">= 2000/s", "start": "< 150 ms", "memory": "< 25 MB"}


def litert_package() -> Path:
    """Return the folder of the installed ai_edge_litert."""
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("ai-edge-litert is not installed: pip install -e .")
    return Path(next(iter(spec.submodule_search_locations)))


def litert_version() -> str:
    """Return the installed version."""
    from importlib.metadata import version

    return version("ai-edge-litert")


def make_release(folder: Path, model: Path, threads: int, datatype: str = "FP32") -> dict[str, Any]:
    """Write a release around `model` whose clients send `datatype`; return service.json's content."""
    for name in ("models", "lib", "runtime"):
        (folder / name).mkdir()
    shutil.copy(model, folder / "models" / "model.tflite")
    shutil.copy(litert_package() / "libLiteRt.so", folder / "lib")
    for source in (ROOT / "edgeship" / "runtime").glob("*.py"):
        shutil.copy(source, folder / "runtime")
    command = [sys.executable, "-c", SPECS, str(model)]
    sides = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def entry(sent: str, name: str, shape: list[int], dtype: str, scale: float, zero: int) -> dict[str, Any]:
        inner = {
            "dtype": dtype,
            "shape": shape,
            "scale": scale or None,
            "zero_point": zero if scale else None,
        }
        return {"name": name, "datatype": sent, "shape": shape, "tensor": inner, "preprocess": None}

    inputs = [entry(datatype, *tensor) for tensor in sides[0]]
    outputs = [entry("FP32", *tensor) for tensor in sides[1]]
    service = {
        "schema": "edgeship.service/1",
        "app": "bench",
        "version": "1",
        "listen": "127.0.0.1:0",
        "limits": {
            "queue": 256,
            "connections": 256,
            "body_bytes": 64 << 20,
            "header_bytes": 16384,
            "request_seconds": 30.0,
            "idle_seconds": 60.0,
            "drain_seconds": 5.0,
        },
        "engine": {
            "name": "litert",
            "version": litert_version(),
            "delegate": "xnnpack",
            "delegate_library": None,
            "threads": threads,
            "library": "lib/libLiteRt.so",
            "site": None,
        },
        "chosen": "model",
        "variants": [
            {"recipe": "model", "file": "models/model.tflite", "inputs": inputs, "outputs": outputs}
        ],
        "labels": [],
    }
    (folder / "service.json").write_text(json.dumps(service))
    (folder / "manifest.json").write_text("{}")
    return service


def request_bytes(service: dict[str, Any]) -> bytes:
    """Return one binary inference request of pseudo-random samples inside the input's range."""
    inputs, blobs = [], []
    for spec in service["variants"][0]["inputs"]:
        inner, count = spec["tensor"], 1
        for size in spec["shape"]:
            count *= size
        scale, zero = inner["scale"] or 1 / 64, inner["zero_point"] or 0
        blob = struct.pack(f"<{count}f", *(scale * ((i * 37) % 101 - 50 - zero / 2) for i in range(count)))
        inputs.append({"name": spec["name"], "datatype": "FP32", "shape": spec["shape"]})
        inputs[-1]["parameters"] = {"binary_data_size": len(blob)}
        blobs.append(blob)
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(blobs)
    lines = [
        "POST /v2/models/bench/infer HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/octet-stream",
    ]
    lines += [f"Inference-Header-Content-Length: {len(head)}", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Service:
    """The service as a process pinned to one core, where the machine has two."""

    def __init__(self, folder: Path, core: int | None, port: int = 0) -> None:
        self.announce = folder / "announce.json"
        self.announce.unlink(missing_ok=True)
        main = str(folder / "runtime" / "main.py")
        command = [sys.executable, "-I", "-B", main, "serve", "--release", str(folder)]
        command += ["--announce", str(self.announce), "--listen", f"127.0.0.1:{port}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(pinned(command, core), **quiet)  # type: ignore[call-overload]

    def port(self) -> int:
        """Wait for the announcement; return the port."""
        while not self.announce.exists():
            if self.process.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.01)
        return int(json.loads(self.announce.read_text())["url"].rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used."""
        # clock_getcpuclockid(3), which Python has for threads only: nanoseconds, where /proc counts in hundredths.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def rss_mb(self) -> float:
        """Return the resident memory in MB (2**20 bytes)."""
        return (
            int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            * os.sysconf("SC_PAGE_SIZE")
            / 2**20
        )

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


def pinned(command: list[str], core: int | None) -> list[str]:
    """Return the command bound to a core, where there is a choice."""
    return (
        command if core is None or shutil.which("taskset") is None else ["taskset", "-c", str(core), *command]
    )


def load(port: int, request: Path, core: int | None, *arguments: str) -> dict[str, float]:
    """Run the load generator; return its figures."""
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "load.py"),
        "--port",
        str(port),
        "--request",
        str(request),
    ]
    done = subprocess.run(pinned([*command, *arguments], core), capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def bare_loop(folder: Path, core: int | None) -> dict[str, float]:
    """Return the engine's own latencies in ms, from the same code without a server around it."""
    command = [
        sys.executable,
        "-I",
        "-B",
        str(folder / "runtime" / "main.py"),
        "bench",
        "--release",
        str(folder),
    ]
    done = subprocess.run(
        pinned([*command, "--seconds", "2"], core), capture_output=True, text=True, check=True
    )
    latency: dict[str, float] = json.loads(done.stdout)["latency_ms"]
    return latency


def first_answer_ms(folder: Path, request: bytes, core: int | None) -> float:
    """Return milliseconds from starting the process to the first answered inference."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    service = Service(folder, core, port)
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    client.sendall(request)
                    if client.recv(65536).startswith(b"HTTP/1.1 200"):
                        return (time.perf_counter() - begun) * 1e3
            except OSError:
                pass
            if service.process.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.001)
    finally:
        service.stop()


def python_start_ms(core: int | None) -> float:
    """Return milliseconds that an empty Python process takes: the floor under the start."""
    begun = time.perf_counter()
    subprocess.run(pinned([sys.executable, "-I", "-B", "-c", "pass"], core), check=True)
    return (time.perf_counter() - begun) * 1e3


def measure(folder: Path, model: Path, seconds: float, clients: int, threads: int) -> dict[str, Any]:
    """Return every figure of one run."""
    service_json = make_release(folder, model, threads)
    request = request_bytes(service_json)
    request_file = folder / "request.bin"
    request_file.write_bytes(request)
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    length = ["--seconds", str(seconds)]
    starts = sorted(first_answer_ms(folder, request, server_core) for _ in range(9))
    empty = sorted(python_start_ms(server_core) for _ in range(9))
    service = Service(folder, server_core)
    try:
        port = service.port()
        load(port, request_file, load_core, "--seconds", "0.5")
        bare, one = [], []
        for _ in range(TURNS):
            bare.append(bare_loop(folder, server_core))
            one.append(load(port, request_file, load_core, *length))
        before = service.cpu_seconds()
        many = load(port, request_file, load_core, "--clients", str(clients), *length)
        spent = service.cpu_seconds() - before
        rate = many["per_second"] / 2
        half = load(port, request_file, load_core, "--clients", str(clients), "--rate", str(rate), *length)
        return {
            "bare": min(bare, key=lambda latency: latency["p50"]),
            "one": min(one, key=lambda figures: figures["p50_ms"]),
            "many": many,
            "clients": clients,
            "half": half,
            "rate": rate,
            "per_core": many["requests"] / spent,
            "start_ms": {"best": starts[0], "median": starts[len(starts) // 2]},
            "python_ms": {"best": empty[0], "median": empty[len(empty) // 2]},
            "rss_mb": service.rss_mb(),
        }
    finally:
        service.stop()


def both(figures: dict[str, float]) -> str:
    """Return best and median as text."""
    return f"{figures['best']:.0f} / {figures['median']:.0f} ms"


def table(figures: dict[str, Any]) -> str:
    """Return the Markdown table."""
    bare, one, many, half = figures["bare"], figures["one"], figures["many"], figures["half"]
    rows = [
        ("engine in a bare loop, p50 / p95", f"{bare['p50']:.3f} / {bare['p95']:.3f} ms", ""),
        ("one client over HTTP, binary, p50 / p95", f"{one['p50_ms']:.3f} / {one['p95_ms']:.3f} ms", ""),
        ("server overhead at one client, p50", f"{one['p50_ms'] - bare['p50']:.3f} ms", TARGETS["overhead"]),
        (f"closed loop, {figures['clients']} clients", f"{many['per_second']:.0f} requests/s", ""),
        ("requests a second and core (by CPU time)", f"{figures['per_core']:.0f}/s", TARGETS["throughput"]),
        (
            f"open loop at {figures['rate']:.0f}/s, p50 / p95",
            f"{half['p50_ms']:.3f} / {half['p95_ms']:.3f} ms, {half['refused']} refused",
            "",
        ),
        (
            "start of the process to the first answer, best / median",
            both(figures["start_ms"]),
            TARGETS["start"],
        ),
        ("an empty Python process, best / median", both(figures["python_ms"]), ""),
        ("resident memory after the load", f"{figures['rss_mb']:.1f} MB", TARGETS["memory"]),
    ]
    lines = ["| measured | value | target (KWS int8) |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} | {target} |" for name, value, target in rows])


def default_model(folder: Path) -> Path:
    """Return the KWS model beside the checkout, or a small one made for this run."""
    if KWS.is_file():
        return KWS
    script = ROOT / "tests" / "runtime" / "make_models.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder / "dense_i8.tflite"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a .tflite file")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load")
    parser.add_argument("--clients", type=int, default=8, help="connections under full load")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as folder:
        model = options.model or default_model(Path(made))
        if not model.is_file():
            raise SystemExit(f"{model} is missing")
        figures = measure(Path(folder), model, options.seconds, options.clients, options.threads)
    if options.json:
        print(json.dumps(figures))
        return
    where = f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{model.name}, {options.threads} thread(s), on {where}, LiteRT {litert_version()}\n")
    print(table(figures))


if __name__ == "__main__":
    main()
