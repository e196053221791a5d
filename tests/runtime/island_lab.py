"""Releases with tiny models, the service as a live process, and a raw HTTP client for the runtime's tests."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "edgeship" / "runtime"
LIMITS = {
    "queue": 32,
    "connections": 64,
    "body_bytes": 1 << 20,
    "header_bytes": 8192,
    "request_seconds": 10.0,
    "idle_seconds": 60.0,
    "drain_seconds": 10.0,
    "sessions": 3,
    "session_seconds": 30.0,
}


def litert_library() -> Path:
    """Return libLiteRt.so of the installed ai-edge-litert, without importing it."""
    spec = importlib.util.find_spec("ai_edge_litert")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "libLiteRt.so"


def tensor(
    name: str,
    shape: list[int],
    dtype: str = "float32",
    scale: float | None = None,
    zero_point: int | None = None,
    datatype: str = "FP32",
    raw_shape: list[int] | None = None,
    preprocess: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one entry of service.json's inputs or outputs."""
    entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": raw_shape or shape}
    entry["tensor"] = {"dtype": dtype, "shape": shape, "scale": scale, "zero_point": zero_point}
    entry["preprocess"] = preprocess
    return entry


IO: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "dense_f32": ([tensor("x", [1, 6])], [tensor("y", [1, 3])]),
    "dense_i8": ([tensor("x", [1, 6], "int8", 0.1, 3)], [tensor("y", [1, 3], "int8", 0.2, -5)]),
    "several": (
        [tensor("b", [1, 3]), tensor("a", [1, 2, 3])],
        [tensor("twice", [1, 3]), tensor("total", [1, 2, 3])],
    ),
    "image": (
        [
            tensor(
                "x",
                [1, 4, 4, 3],
                "int8",
                1.0,
                0,
                "UINT8",
                None,
                {"resize": None, "scale": 1.0, "mean": [128], "std": [1]},
            )
        ],
        [tensor("y", [1, 4, 4, 3], "int8", 1.0, 0)],
    ),
    "int16": ([tensor("x", [1, 4], "int16", 1 / 1024, 0)], [tensor("y", [1, 4], "int16", 1 / 512, 0)]),
    "divide": ([tensor("x", [1, 4])], [tensor("y", [1, 4])]),
    "pairs": ([tensor("x", [2, 3])], [tensor("y", [2, 3])]),
    "whole": ([tensor("x", [1, 4])], [tensor("y", [4])]),
    "lookup": ([tensor("ids", [1, 2], "int32", datatype="INT32")], [tensor("rows", [1, 2, 1])]),
    "tiled": ([tensor("x", [1, 1])], [tensor("y", [1, 2_000_000])]),
    "wide": ([tensor("x", [1, 1_000_000])], [tensor("y", [1, 1_000_000])]),
    "accumulate": ([tensor("x", [1, 2])], [tensor("after", [1, 2])]),
    "svdf": ([tensor("x", [1, 1])], [tensor("y", [1, 1])]),
    "slow": ([tensor("x", [1, 1])], [tensor("y", [1, 1])]),
    "quick": ([tensor("x", [1, 1])], [tensor("y", [1, 1])]),
    "middle": ([tensor("x", [1, 1])], [tensor("y", [1, 1])]),
    "mlp": ([tensor("x", [1, 640])], [tensor("y", [1, 640])]),
}


STATE = {
    "accumulate": [{"name": "total", "kind": "resource", "dtype": "float32", "shape": [1, 2]}],
    "svdf": [{"name": "SVDF:0:0", "kind": "tensor", "dtype": "float32", "shape": [1, 3]}],
}


@dataclass
class ReleaseDir:
    """A release directory on disk and ways to use it as a device would."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def main(self, *arguments: str, timeout: float = 120) -> tuple[int, dict[str, Any], str]:
        """Run the island's main.py; return (exit code, its JSON document, stderr)."""
        command = [sys.executable, "-I", "-B", str(self.path / "runtime" / "main.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        lines = done.stdout.splitlines()
        assert len(lines) == 1, (done.stdout, done.stderr)
        return done.returncode, json.loads(lines[0]), done.stderr

    def edit(self, change: Callable[[dict[str, Any]], None], file: str = "service.json") -> ReleaseDir:
        """Change a JSON file in place."""
        path = self.path / file
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return self

    def record(self, samples: list[list[bytes]], **tolerance: Any) -> dict[str, Any]:
        """Record golden vectors for raw samples with the release's own engine; return the document written."""
        inputs = self.path / "inputs.json"
        vectors = [{"inputs": [base64.b64encode(data).decode() for data in sample]} for sample in samples]
        inputs.write_text(json.dumps({"vectors": vectors}))
        code, document, stderr = self.main("record", "--release", str(self.path), "--inputs", str(inputs))
        assert code == 0, stderr
        document["tolerance"] = {
            "max_lsb": 2,
            "max_abs": 1e-3,
            "min_cosine": 0.99,
            "argmax": True,
            **tolerance,
        }
        (self.path / "golden").mkdir(exist_ok=True)
        (self.path / "golden" / "golden.json").write_text(json.dumps(document))
        return document


def make_release(
    folder: Path,
    model: Path,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    limits: dict[str, Any] | None = None,
    labels: list[str] | None = None,
    engine: dict[str, Any] | None = None,
    state: list[dict[str, Any]] | None = None,
) -> ReleaseDir:
    """Write a release around a model, as the bundle builder would."""
    for name in ("models", "lib", "runtime"):
        (folder / name).mkdir(parents=True)
    shutil.copy(model, folder / "models" / "model.tflite")
    (folder / "lib" / "libLiteRt.so").symlink_to(litert_library())
    for source in RUNTIME.glob("*.py"):
        shutil.copy(source, folder / "runtime" / source.name)
    variant = {"recipe": "r", "file": "models/model.tflite", "sha256": "", "golden": "golden/golden.json"}
    chosen = {
        "name": "litert",
        "version": "2.3.0",
        "delegate": "xnnpack",
        "delegate_library": None,
        "threads": 1,
    }
    chosen.update({"library": "lib/libLiteRt.so", "site": "site"})
    service = {
        "schema": "edgeship.service/1",
        "app": "app",
        "version": "7",
        "listen": "127.0.0.1:0",
        "limits": {**LIMITS, **(limits or {})},
        "engine": {**chosen, **(engine or {})},
        "chosen": "r",
        "variants": [
            {**variant, "inputs": inputs, "outputs": outputs, **({"state": state} if state else {})}
        ],
        "labels": labels or [],
    }
    (folder / "service.json").write_text(json.dumps(service))
    (folder / "manifest.json").write_text('{"schema": "edgeship.manifest/1"}')
    return ReleaseDir(folder)


def rung(variant: str, seconds: float, accuracy: float, **more: Any) -> dict[str, Any]:
    """Return one entry of service.json's `governor.rungs`."""
    row = {"variant": variant, "accuracy": accuracy, "agreement": None, "seconds": seconds}
    row |= {"p95_seconds": seconds * 1.1, "cold_seconds": seconds * 2, "threads": 1, "joules": None}
    return {**row, "memory_bytes": 1 << 20, "measured": "host", **more}


def make_ladder(
    folder: Path,
    models: Path,
    rungs: list[dict[str, Any]],
    files: dict[str, str],
    governor: dict[str, Any] | None = None,
    **changes: Any,
) -> ReleaseDir:
    """Write a release of several variants, the last of `files` (variant: model of IO) chosen, with a governor."""
    (first, *_), made = list(files.values()), None
    made = make_release(folder, models / f"{first}.tflite", *IO[first], **changes)

    def change(service: dict[str, Any]) -> None:
        service["variants"] = []
        for variant, model in files.items():
            shutil.copy(models / f"{model}.tflite", folder / "models" / f"{variant}.tflite")
            entry = {"name": variant, "recipe": variant, "file": f"models/{variant}.tflite", "sha256": ""}
            inputs, outputs = IO[model]
            service["variants"].append(
                {**entry, "golden": "golden/golden.json", "inputs": inputs, "outputs": outputs}
            )
        service["chosen"] = list(files)[-1]
        service["governor"] = {
            "settings": {}, "rungs": rungs, "sensors": [], "power": None, "thermal": None, **(governor or {}),
        }  # fmt: skip

    return made.edit(change)


MakeRelease = Callable[..., ReleaseDir]
Serve = Callable[..., "Service"]


@dataclass
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class Wire:
    """A raw connection to the service: sends exactly the bytes it is given."""

    def __init__(self, address: tuple[str, int] | str, timeout: float = 20.0) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.buffer = b""

    def send(self, data: bytes) -> Wire:
        """Send bytes; a peer that has closed already is for `reply` to find out."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)
        return self

    def reply(self, head_only: bool = False) -> Reply:
        """Read one answer; raises EOFError where the connection ends before one is complete."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        status = int(lines[0].split(" ")[1])
        if status == 100:
            return Reply(status, headers, b"")
        length = 0 if head_only else int(headers["content-length"])
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(status, headers, body)

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the service closed the connection")
        self.buffer += data

    def closed(self) -> bool:
        """Return whether the service closes its side now, with nothing more to say."""
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()


def http(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a well-formed request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Service:
    """The service as a live process."""

    def __init__(
        self, release_dir: ReleaseDir, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self.release = release_dir
        self.announce = release_dir.path / "announce.json"
        self.announce.unlink(missing_ok=True)
        main = str(release_dir.path / "runtime" / "main.py")
        command = [sys.executable, "-I", "-B", main, "serve", "--release", str(release_dir.path)]
        command += ["--announce", str(self.announce), *arguments]
        self.errors = (release_dir.path / "stderr.txt").open("w+b")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **(environment or {})}
        )

    def wait(self, seconds: float = 30.0) -> Service:
        """Wait for the announcement."""
        until = time.monotonic() + seconds
        while not self.announce.exists():
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < until, "the service did not become ready"
            time.sleep(0.005)
        self.facts = json.loads(self.announce.read_text())
        url: str = self.facts["url"]
        self.address: tuple[str, int] | str
        if url.startswith("unix:"):
            self.address = url[len("unix:") :]
        else:
            host, _, port = url[len("http://") :].rpartition(":")
            self.address = (host, int(port))
        return self

    def wire(self, timeout: float = 20.0) -> Wire:
        """Open a raw connection."""
        return Wire(self.address, timeout)

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> Reply:
        """Ask once on a connection of its own."""
        wire = self.wire()
        try:
            return wire.send(http(method, path, body, *headers)).reply(head_only=method == "HEAD")
        finally:
            wire.close()

    def infer(self, document: Any) -> Reply:
        """POST a JSON document for inference."""
        return self.ask("POST", "/v2/models/app/infer", json.dumps(document).encode())

    def metric(self, name: str) -> float:
        """Return the value of a metric's only line, e.g. `edgeship_queue_depth` or `x_total{code="200"}`."""
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split(" ")[-1])
        raise KeyError(name)

    def stderr(self) -> str:
        """Return what the process wrote to stderr so far."""
        self.errors.flush()
        return (self.release.path / "stderr.txt").read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Signal the process; return (exit code, its JSON document)."""
        self.process.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Wait for the end; return (exit code, its JSON document)."""
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out)

    def kill(self) -> None:
        """End the process whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()
