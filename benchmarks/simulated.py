"""The simulator against the real service: one trace through both, p99 and energy side by side.

Run: `python -m benchmarks.simulated [--seconds 60] [--patterns burst,diurnal] [--turns 2]`. Three convolutional nets of
one input, made here and timed by the runtime's own `figures`, are served by the real service with its governor, which
reads its sensors from a folder: temperature and throttle flags of the heat model, driven by the processor time that the
service's process really uses. A process of its own sends requests at the moments of the trace (open loop). Then the
simulator runs the same trace with the same figures. Nothing is fitted to the outcome: the overhead of a request beside
the model's run is measured before, by single requests. Nets are worth what their order says: no accuracy is made up.

Other work on the machine is in the real figures and not in the simulated ones: as root, `--prefix "chrt -f 10"` gives
the service and the load a core of their own while they want one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.serve import ROOT, make_release, request_bytes

sys.path.append(str(ROOT / "edgeship" / "runtime"))

DEEP = {"shallow": 1, "middle": 3, "deep": 9}
"""Name -> 3x3 convolutions of 64 channels at 64x64, 0.3 GFLOP each."""
NETS = """
import sys, tensorflow as tf
for name, layers in {deep!r}.items():
    x = first = tf.keras.Input((64, 64, 3), batch_size=1)
    for _ in range(layers + 1):
        x = tf.keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = tf.keras.layers.Dense(10)(tf.keras.layers.GlobalAveragePooling2D()(x))
    model = tf.keras.Model(first, x)
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 64, 64, 3)))
    made = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    open(sys.argv[1] + "/" + name + ".tflite", "wb").write(made)
"""
ZONE = "/sys/class/thermal/thermal_zone0/temp"
FLAGS = "/sys/devices/platform/soc/soc:firmware/get_throttled"
SENSORS = [
    {"name": "soc", "kind": "temperature", "path": ZONE, "unit": "celsius", "scale": 0.001,
     "trips": [{"at": 62.0, "effect": "slower"}]},
    {"name": "throttled", "kind": "throttle", "path": FLAGS, "unit": "flags", "bits": {"throttled": 2}},
]  # fmt: skip
# A small board that warms up within the minute that a run takes.
POWER = {"idle_watts": 2.7, "busy_watts": 5.7, "basis": "of this benchmark"}
THERMAL = {"ambient_c": 25.0, "c_per_watt": 8.0, "seconds": 20.0, "basis": "of this benchmark"}
BOARD = {"power": POWER, "thermal": THERMAL, "trips": [62.0]}


def release_with_ladder(folder: Path, prefix: list[str]) -> dict[str, Any]:
    """Make and time the nets, write a release with all of them; return its service.json."""
    nets, twin = folder / "nets", folder / "release"
    nets.mkdir()
    twin.mkdir()
    subprocess.run([sys.executable, "-c", NETS.format(deep=DEEP), str(nets)], check=True, capture_output=True)
    service = make_release(twin, nets / "deep.tflite", 1)
    first = service["variants"][0]
    service["variants"] = []
    for name in DEEP:
        shutil.copy(nets / f"{name}.tflite", twin / "models")
        service["variants"].append({**first, "name": name, "file": f"models/{name}.tflite"})
    for variant in service["variants"]:
        variant["outputs"] = own_outputs(folder, nets / f"{variant['name']}.tflite", first["outputs"])
    service["chosen"] = "deep"
    service["limits"]["queue"] = 64
    rows = [{"variant": name, "accuracy": None, "seconds": None, "threads": 1} for name in DEEP]
    service["governor"] = {
        "settings": {"mode": "auto"}, "rungs": rows, "sensors": SENSORS, "power": POWER, "thermal": THERMAL,
    }  # fmt: skip
    write(twin, service)
    for row in rows:
        command = [sys.executable, "-I", "-B", str(twin / "runtime" / "main.py"), "figures"]
        command += ["--release", str(twin), "--variant", str(row["variant"]), "--seconds", "6"]
        done = subprocess.run([*prefix, *command], check=True, capture_output=True, text=True)
        told = json.loads(done.stdout)
        row.update(seconds=told["seconds"], p95_seconds=told["p95_seconds"], measured="host")
    write(twin, service)
    return service


def own_outputs(folder: Path, net: Path, outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs of a net, which are called otherwise in each, under the names of the first."""
    scratch = folder / f"one-{net.stem}"
    scratch.mkdir()
    found = make_release(scratch, net, 1)["variants"][0]["outputs"]
    return [{**one, "name": first["name"]} for one, first in zip(found, outputs, strict=True)]


def write(twin: Path, service: dict[str, Any]) -> None:
    """Write service.json."""
    (twin / "service.json").write_text(json.dumps(service))


class Board(threading.Thread):
    """The heat model, driven by the processor time that a process uses; its sensors are files below `root`."""

    def __init__(self, root: Path, pid: int) -> None:
        super().__init__(daemon=True)
        from es_world import World

        self.world, self._root, self._clock = World(BOARD), root, (~pid << 3) | 2
        self._over = threading.Event()
        self.show()

    def show(self) -> None:
        """Write what the sensors say now, each file at once."""
        flags = 4 if self.world.speed < 1.0 else 0
        for path, text in ((ZONE, f"{self.world.celsius * 1000:.0f}\n"), (FLAGS, f"{flags:x}\n")):
            file = self._root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / ".new").write_text(text)
            (file.parent / ".new").replace(file)

    def run(self) -> None:
        begun, used = time.monotonic(), time.clock_gettime(self._clock)
        while not self._over.wait(0.1):
            now, before = time.monotonic() - begun, self.world.now
            total = time.clock_gettime(self._clock)
            cores, used = (total - used) / max(1e-6, now - before), total
            while self.world.now < now:
                self.world.advance(min(now, self.world.next_change()), cores)
            self.show()

    def stop(self) -> None:
        """End, and wait for it."""
        self._over.set()
        self.join()


def served(
    twin: Path, service: dict[str, Any], trace: Any, deadline: float, prefix: list[str]
) -> dict[str, Any]:
    """Return what the real service made of a trace."""
    root, announce = twin.parent / "sensors", twin.parent / "announce.json"
    announce.unlink(missing_ok=True)
    log = twin.parent / "service.log"
    Board(root, os.getpid())
    command = [sys.executable, "-I", "-B", str(twin / "runtime" / "main.py"), "serve", "--release", str(twin)]
    command += ["--announce", str(announce)]
    environment = {**os.environ, "EDGESHIP_SENSOR_ROOT": str(root)}
    process = subprocess.Popen(
        [*prefix, *command], env=environment, stdout=subprocess.DEVNULL, stderr=log.open("w")
    )
    try:
        while not announce.exists():
            if process.poll() is not None:
                raise SystemExit(f"the service did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        url = json.loads(announce.read_text())["url"]
        port = int(url.rpartition(":")[2])
        request = with_deadline(request_bytes(service), deadline)
        single = sent(twin.parent, port, request, [0.5 * n for n in range(20)], 1, prefix)
        best = max(row["seconds"] for row in service["governor"]["rungs"])
        overhead = max(0.0, statistics.median(latency for latency, _ in single) - best)
        board = Board(root, process.pid)
        board.start()
        answers = sent(twin.parent, port, request, trace.at, 64, prefix)
        while board.world.now < trace.seconds:
            time.sleep(0.05)
        board.stop()
        with urllib.request.urlopen(f"{url}/v2/models/bench/governor") as answer:
            told = json.loads(answer.read())
    finally:
        process.terminate()
        process.wait()
    return {"answers": answers, "overhead": overhead, "joules": board.world.joules, "told": told,
            "hottest": board.world.hottest, "seconds": board.world.now}  # fmt: skip


def with_deadline(request: bytes, deadline: float) -> bytes:
    """Return a request that names its deadline."""
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.split(b"\r\n") if line.startswith(b"Inference-Header")).split()[1]
    )
    document = json.loads(body[:length])
    document["parameters"]["deadline_ms"] = 1e3 * deadline
    own = json.dumps(document).encode()
    whole = own + body[length:]
    lines = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"content-length", b"inference-header"))
    ]
    lines += [b"Inference-Header-Content-Length: %d" % len(own), b"Content-Length: %d" % len(whole)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + whole


def sent(
    folder: Path, port: int, request: bytes, at: list[float], connections: int, prefix: list[str]
) -> list[list[float]]:
    """Return (latency, status) of requests that a process of its own sends at the moments of a schedule."""
    (folder / "request.bin").write_bytes(request)
    plan = {"host": "127.0.0.1", "port": port, "request": str(folder / "request.bin"), "at": at}
    (folder / "plan.json").write_text(json.dumps({**plan, "connections": connections}))
    command = [*prefix, sys.executable, "-m", "benchmarks.scheduled", str(folder / "plan.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    answers: list[list[float]] = json.loads(done.stdout)["latencies"]
    return answers


def simulated(service: dict[str, Any], trace: Any, overhead: float) -> dict[str, Any]:
    """Return what the simulator makes of the same trace."""
    from es_govern import profile_of
    from es_policies import Governor
    from es_simulate import Run, Service
    from es_tally import Tally
    from es_world import World

    profile = profile_of(service["governor"], None, None, service["chosen"])
    world, tally = World(BOARD), Tally(profile, trace.seconds)
    Run(profile, trace, world, Governor(profile), Service(service["limits"]["queue"], overhead), tally).run()
    tally.close(world)
    document: dict[str, Any] = tally.document()
    return document


def row(name: str, real: dict[str, Any], model: dict[str, Any], deadline: float) -> list[str]:
    """Return the row of a turn: real and simulated, and how far apart."""
    good = sorted(latency for latency, status in real["answers"] if status == 200)
    refused = sum(status == 503 for _, status in real["answers"])
    late = sum(latency > deadline for latency in good)
    asked = len(real["answers"])
    p50, p99 = (1e3 * good[min(len(good) - 1, int(share * len(good)))] for share in (0.5, 0.99))
    latency = model["latency_ms"]
    apart = [
        100 * (a / b - 1)
        for a, b in ((latency["p99"], p99), (model["watts"], real["joules"] / real["seconds"]))
    ]
    times = real["told"]["time_in_rung"]
    whole = sum(times.values()) or 1.0
    own = model["rung_seconds"]
    share = " / ".join(f"{100 * times.get(n, 0.0) / whole:.0f}" for n in DEEP)
    said = " / ".join(f"{100 * own[n] / sum(own.values()):.0f}" for n in DEEP)
    return [
        name, f"{asked:,}", f"{1e3 * real['overhead']:.2f}", f"{p50:.1f}", f"{latency['p50']:.1f}", f"{p99:.1f}",
        f"{latency['p99']:.1f}", f"**{apart[0]:+.1f} %**", f"{real['joules'] / real['seconds']:.3f}",
        f"{model['watts']:.3f}", f"**{apart[1]:+.1f} %**", f"{100 * (refused + late) / asked:.2f}",
        f"{100 * model['missed_share']:.2f}", share, said, f"{real['hottest']:.1f}", f"{model['hottest_c']:.1f}",
    ]  # fmt: skip


HEAD = (
    "trace", "requests", "overhead, ms", "p50", "simulated", "p99, ms", "simulated", "apart", "W", "simulated", "apart",
    "missed %", "simulated", "time in rungs, %", "simulated", "hottest", "simulated",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    from es_traces import pattern

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--patterns", default="burst,diurnal")
    parser.add_argument("--load", type=float, default=1.0, help="of the deepest net alone, mean")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--prefix", default="", help='of service and load: "chrt -f 10" on a busy machine')
    options = parser.parse_args()
    prefix = options.prefix.split()
    with tempfile.TemporaryDirectory(prefix="edgeship-simulated-") as scratch:
        service = release_with_ladder(Path(scratch), prefix)
        rungs = service["governor"]["rungs"]
        best = max(rung["seconds"] for rung in rungs)
        deadline = 4 * best
        told = ", ".join(
            f"{r['variant']} {1e3 * r['seconds']:.2f} (p95 {1e3 * r['p95_seconds']:.2f})" for r in rungs
        )
        print(f"rungs, ms: {told}; deadline {1e3 * deadline:.0f} ms\n", flush=True)
        print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
        for name in options.patterns.split(","):
            for turn in range(options.turns):
                trace = pattern(name, options.load / best, options.seconds, deadline, turn)
                real = served(Path(scratch) / "release", service, trace, deadline, prefix)
                model = simulated(service, trace, real["overhead"])
                print("| " + " | ".join(row(name, real, model, deadline)) + " |", flush=True)


if __name__ == "__main__":
    main()
