"""Tiny releases that speak the runtime's command line and behave, or misbehave, as they are told."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
from pathlib import Path
from typing import Any

from edgeship.bundle.render import render
from edgeship.digest import canonical_json, sha256_bytes, write_tar
from edgeship.values import Bundle

# A release's behaviour stands in behaviour.json: what its golden vectors say and how its service fares.
MAIN = r"""
import hashlib, json, os, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def options():
    rest, found = sys.argv[2:], {}
    while rest:
        name = rest.pop(0)[2:]
        found[name] = rest.pop(0)
    return sys.argv[1], found

verb, given = options()
release = given["release"]
with open(os.path.join(release, "manifest.json"), "rb") as stream:
    raw = stream.read()
ident, manifest = hashlib.sha256(raw).hexdigest(), json.loads(raw)
with open(os.path.join(release, "behaviour.json")) as stream:
    behaviour = json.load(stream)

def proof(failed, reason):
    print(json.dumps({"schema": "edgeship.prove/1", "vectors": 2, "failed": failed, "exact": True,
        "worst": {"lsb": failed, "abs": 0, "cosine": 1, "text": "%d LSB" % failed}, "reason": reason,
        "engine": {"name": "fake", "version": "1", "delegate": "none",
                   "delegated": behaviour.get("golden") != "fell back"},
        "latency_ms": {"cold": 1.0, "p50": behaviour.get("p50", 0.5), "p95": 0.6}}))
    sys.exit(1 if reason else 0)

if verb == "prove":
    time.sleep(behaviour.get("prove_seconds", 0))
    if "live" in given:
        with urllib.request.urlopen(given["live"] + "/v2", timeout=5) as answer:
            same = answer.headers["Edgeship-Release"] == ident
        bad = not same or behaviour.get("live") == "wrong"
        proof(1 if bad else 0, "output 0 differs by 9 LSB" if bad else None)
    if behaviour.get("golden") == "fell back":
        proof(0, "the delegate gpu took no part: no operation of the model ran on the GPU")
    bad = behaviour.get("golden") == "wrong"
    proof(1 if bad else 0, "vector 0: output 0 differs by 9 LSB" if bad else None)
BENCH = {"schema": "edgeship.bench/1", "variant": "v", "runs": 50, "seconds": 1.0, "threads": 1,
    "engine": {"name": "fake", "version": "1", "delegate": "none"}, "governor": {"unavailable": "fake"},
    "latency_ms": {"cold": 1.0, "p50": 0.5, "p95": 0.6}, "peak_rss_mb": 9.5}
if verb == "bench" and "soak" in given:
    import signal
    stop, minutes, begun = [], [], time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    while not stop and time.monotonic() - begun < float(given["soak"]):
        time.sleep(0.2)
        minutes.append({"at": time.monotonic() - begun, "runs": 9, "p50_ms": 0.5, "p99_ms": 0.7, "temperature_c": 50.0,
            "throttled_seconds": 1.0, "flags": ["under-voltage"], "frequency_hz": None, "watts": None})
        with open(given["log"], "a") as log:
            log.write(json.dumps(minutes[-1]) + "\n")
    print(json.dumps(dict(BENCH, soak={"wanted_seconds": float(given["soak"]), "minutes": minutes,
        "ended": "stopped" if stop else "done", "worst_p99_ms": 0.7, "throttled_seconds": 1.0,
        "watts_by": "cpu-seconds", "temperature_c": {"first": 50.0, "highest": 50.0, "last": 50.0}})))
    sys.exit(0)
if verb == "bench":
    asked = {name: given[name] for name in ("idle", "rungs") if name in given}
    energy = {"by": "measured", "meter": "board-power", "covers": "board", "watts": 3.1, "joules_per_run": 0.0012,
        "idle": {"seconds": 1.0, "watts": 2.7, "subtracted": True}, "cpu_seconds_per_run": 0.001}
    rungs = {"small": {"seconds": 0.001, "p95_seconds": 0.002, "cold_seconds": 0.001, "threads": 1}}
    print(json.dumps(dict(BENCH, energy=energy, asked=asked, rungs=rungs, failed={"big": "no memory"})
        if asked else BENCH))
    sys.exit(0)
if verb == "figures":
    said = behaviour.get("figures", {"small": 0.002, "big": 0.01})
    if said == "none":
        sys.exit("the engine gave up")
    rungs = {name: {"cold_seconds": 0.05, "seconds": each, "p95_seconds": each * 2, "threads": 1, "joules": None,
        "by_threads": {"1": each}, "fixed_seconds": 0.0, "each_seconds": each, "memory_bytes": 4096}
        for name, each in said.items()}
    print(json.dumps({"schema": "edgeship.figures/1", "release": ident, "rungs": rungs, "failed": {},
        "left_out": behaviour.get("left_out", []), "within": behaviour.get("within", [])}))
    sys.exit(0)
if behaviour.get("serve") == "dies":
    print("cannot map the model", flush=True)
    sys.exit(9)
if behaviour.get("serve") == "hangs":
    time.sleep(3600)

with open(os.path.join(release, "service.json")) as stream:
    service = json.load(stream)
if "kept" in given and "governor" not in service:
    sys.exit("serve takes no '--kept'")

def settings():
    found = dict(service["governor"]["settings"])
    try:
        with open(os.path.join(given["kept"], "settings.json")) as stream:
            found.update(json.load(stream)["settings"])
    except OSError:
        pass
    return found

def decided():
    now = settings()
    cheap = (now.get("watts") or 9) < 4
    rung = now.get("variant") or ("small" if cheap else "big")
    return {"mode": "auto", "rung": rung, "reason": "budget" if cheap else "accurate", "load": 0.25, "rate": 12.5,
        "p50_ms": 2.0, "p95_ms": 3.5, "misses": 1, "refused": 2, "temperature_c": 48.5, "watts": None, "joules": 7.5,
        "joules_by": "estimated", "readings": {}, "settings": now, "rungs": service["governor"]["rungs"],
        "left_out": [], "time_in_rung": {rung: 3.0}, "decisions": {"accurate": 5},
        "problems": ["no meter: governor.watts cannot be held"] if cheap else []}

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        known = not self.path.endswith("/governor") or "governor" in service
        body = json.dumps(decided() if known and self.path.endswith("/governor") else {}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Edgeship-Release", ident)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

listen = given.get("listen") or service["listen"]
host, _, port = listen.rpartition(":")
server = ThreadingHTTPServer((host, int(port)), Handler)
print("serving", manifest["version"], flush=True)
told = {"url": "http://" + listen, "pid": os.getpid(), "release": ident, "app": manifest["app"], "variant": "v"}
with open(given["announce"] + ".part", "w") as stream:
    json.dump(told, stream)
os.rename(given["announce"] + ".part", given["announce"])
notify = os.environ.get("NOTIFY_SOCKET")
if notify:
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.connect("\0" + notify[1:] if notify[0] == "@" else notify)
        link.sendall(b"READY=1")
if behaviour.get("serve") == "dies later":
    def end():
        time.sleep(behaviour["after"])
        while not os.path.exists(behaviour.get("only_if", "/")):
            time.sleep(0.05)
        os._exit(7)
    threading.Thread(target=end, daemon=True).start()
server.serve_forever()
"""

UNIT = """[Unit]
Description=edgeship: @APP@
StartLimitIntervalSec=120
StartLimitBurst=5
[Service]
Type=notify
ExecStart=@PYTHON@ -I -B @ROOT@/apps/@APP@/current/runtime/main.py serve --release @ROOT@/apps/@APP@/current \
--listen @LISTEN@ --announce /run/edgeship-@APP@/serving.json@KEPT@
Restart=on-failure
RestartSec=1
RuntimeDirectory=edgeship-@APP@
[Install]
WantedBy=multi-user.target
"""

KEPT = " --kept @ROOT@/apps/@APP@/kept"
GOVERNOR: dict[str, Any] = {
    "settings": {"mode": "auto", "watts": 8.0},
    "rungs": [{"variant": "small", "accuracy": 0.8}, {"variant": "big", "accuracy": 0.9}],
}
"""What a release says that has two variants to choose from."""

REQUIRES: dict[str, Any] = {
    "machine": "",
    "python": ["3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"],
    "ram_mb": 8,
    "disk_bytes": 100_000,
    "service": "auto",
}


def free_port() -> int:
    """Return a port of this machine that nobody listens on, below those that the system itself hands out: no connection
    or listener of another test takes it before, or while a server starts again."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def make_bundle(
    folder: Path,
    *,
    version: str = "1",
    port: int,
    app: str = "kws",
    requires: dict[str, Any] | None = None,
    ballast: bytes = b"",
    openrc: bool = False,
    provenance: dict[str, Any] | None = None,
    governor: dict[str, Any] | None = None,
    **behaviour: Any,
) -> Bundle:
    """Return a sealed bundle whose runtime is MAIN, behaving as told. `openrc`: with a script for OpenRC; `governor`:
    as in service.json."""
    service = {"app": app, "version": version, "listen": f"127.0.0.1:{port}"}
    service |= {"governor": governor} if governor else {}
    files = {
        "runtime/main.py": MAIN.encode(),
        "service.json": canonical_json(service),
        "behaviour.json": canonical_json(behaviour),
        "service/edgeship.service": UNIT.replace("@KEPT@", KEPT if governor else "").encode(),
        "models/model.tflite": b"model " + version.encode() + ballast,
    }
    if openrc:
        values = {
            "app": app,
            "target": "test",
            "user": None,
            "groups": [],
            "stop_seconds": 20,
            "memory_mb": 64,
        }
        files["service/edgeship.initd"] = render("edgeship.initd.j2", values).encode()
    manifest = {
        "schema": "edgeship.manifest/1",
        "app": app,
        "version": version,
        "target": "test",
        "requires": {**REQUIRES, **(requires or {})},
        "engine": {"name": "fake", "version": "1", "delegate": "none"},
        "chosen": "v",
        "variants": [],
        "provenance": provenance or {},
        "files": {
            name: {"sha256": sha256_bytes(data), "bytes": len(data), "executable": False}
            for name, data in files.items()
        },
    }
    head = canonical_json(manifest)
    path = folder / f"{app}-{version}-{sha256_bytes(head)[:12]}.edgeship"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as stream:
        write_tar(stream, {"manifest.json": head, **files})  # type: ignore[arg-type]
    data = path.read_bytes()
    return Bundle(
        path=path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        release=sha256_bytes(head),
        app=app,
        target="test",
        manifest=json.loads(head),
    )
