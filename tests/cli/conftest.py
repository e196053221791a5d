"""What the command-line tests share: the command itself, a tiny model with data, and the published schemas."""

from __future__ import annotations

import importlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeship.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
DATATYPES = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8", "int8": "INT8"}


GOOD = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 212 ms.

Input model: static_wi8_ai8.tflite
Input size: 52.72KiB
Output model: static_wi8_ai8_edgetpu.tflite
Output size: 120.59KiB
On-chip memory used for caching model parameters: 69.00KiB
On-chip memory remaining for caching model parameters: 7.83MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 13
Operation log: static_wi8_ai8_edgetpu.log

Operator                       Count      Status

AVERAGE_POOL_2D                1          Mapped to Edge TPU
CONV_2D                        5          Mapped to Edge TPU
DEPTHWISE_CONV_2D              4          Mapped to Edge TPU
FULLY_CONNECTED                1          Mapped to Edge TPU
RESHAPE                        1          Mapped to Edge TPU
SOFTMAX                        1          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""


@dataclass(frozen=True)
class Said:
    """What a command said: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        """Return stdout as the one JSON document it must be."""
        return json.loads(self.out)


@pytest.fixture
def edgeship(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Callable[..., Said]:
    """Run the command line in an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESHIP_CACHE", str(cache))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers questions
    monkeypatch.setenv("EDGESHIP_DEBUG", "1")  # a bug must fail the test, not become an error text

    def call(*words: object) -> Said:
        capfd.readouterr()
        status = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Said(status, captured.out, captured.err)

    return call


class Service:
    """A service that answers over HTTP: what it says of its inputs, and its answers."""

    def __init__(self, base: str, said: Said | None = None) -> None:
        self.said = said
        """What the command said that deployed it."""
        self.url = f"{base}/v2/models/m"
        with urllib.request.urlopen(self.url) as answer:
            self.inputs: list[dict[str, Any]] = json.loads(answer.read())["inputs"]

    def ask(self, *samples: np.ndarray, **parameters: Any) -> list[np.ndarray]:
        """Return the outputs, `[1, ...]` float32 each, for a sample of every input, without a batch, of any type."""
        inputs = [
            {
                "name": spec["name"],
                "datatype": DATATYPES[str(sample.dtype)],
                "shape": [1, *sample.shape],
                "data": sample.ravel().tolist(),
            }
            for spec, sample in zip(self._in_order(samples), samples, strict=True)
        ]
        body = json.dumps({"inputs": inputs, **({"parameters": parameters} if parameters else {})}).encode()
        with urllib.request.urlopen(f"{self.url}/infer", data=body) as answer:
            found = json.loads(answer.read())["outputs"]
        return [np.array(o["data"], np.float32).reshape(o["shape"]) for o in found]

    def _in_order(self, samples: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Return the inputs in the order of the original's, told apart by their shapes where names changed."""
        left = list(self.inputs)
        found = []
        for sample in samples:
            fits = next(s for s in left if len(left) == 1 or s["shape"][1:] == list(sample.shape))
            left.remove(fits)
            found.append(fits)
        return found


@pytest.fixture
def served(edgeship: Callable[..., Said], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that builds a model, deploys it on this machine, and returns its service."""
    host = f"local:{tmp_path / 'device'}"

    def serve(model: Path, *more: object) -> Service:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        where = ("--host", host, "--listen", listen, "--app", "m")
        said = edgeship("deploy", model, "-t", "host", *where, *more)
        if said.status and "wheel-fetch-failed" in said.err:
            pytest.skip("needs the package index")
        assert said.status == 0, said.err
        return Service(f"http://{listen}", said)

    yield serve
    edgeship("remove", "--host", host, "--app", "m", "--yes")


@pytest.fixture
def served_bundle(tmp_path: Path) -> Iterator[Callable[[Path], Service]]:
    """Return a function that starts a bundle's own runtime, with no device around it, and returns its service."""
    running: list[subprocess.Popen[bytes]] = []

    def serve(bundle: Path) -> Service:
        release = tmp_path / f"release{len(running)}"
        with tarfile.open(bundle) as archive:
            archive.extractall(release, filter="data")
        announce = release / "announce.json"
        command = [sys.executable, "-I", "-B", release / "runtime" / "main.py", "serve", "--release", release]
        command += ["--listen", "127.0.0.1:0", "--announce", announce]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.append(process)
        for _ in range(400):
            if announce.exists() and announce.read_text():
                break
            assert process.poll() is None, process.communicate()[1][-2000:]
            time.sleep(0.05)
        told = json.loads(announce.read_text())
        base = str(told.get("url") or told.get("listen"))
        return Service(base if base.startswith("http") else f"http://{base}")

    yield serve
    for process in running:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers that quantize and score run here: a start of one costs seconds, and tiny models harm nobody."""

    def call(worker: str, payload: dict[str, Any], **_: Any) -> Any:
        module, _, function = worker.partition(":")
        made = getattr(importlib.import_module(module), function)(payload, lambda *a: None)
        return SimpleNamespace(value=made)

    for user in ("quantize.derive", "score.measure", "score.runs", "score.golden", "pipeline.unlike_ranges"):
        monkeypatch.setattr(f"edgeship.{user}.run_worker", call)


@pytest.fixture(scope="session")
def cache(once: Callable[..., Path]) -> Path:
    """One cache for all command-line tests of a run: what one worker converted or fetched, the others have."""
    return once("cache")


@pytest.fixture(scope="session")
def tiny(tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny float classifier (model.tflite, 4 classes) and calibration and evaluation data."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_models.classifier(folder / "model.tflite")
    tiny_models.adder(folder / "sum.tflite")
    tiny_models.with_outputs(folder / "model.tflite", folder / "two.tflite", ["c", "y"])
    x = tiny_models.pictures(64, seed=3)
    y = np.arange(64) % 4
    np.savez(folder / "calibration.npz", x=x[:40])
    np.savez(folder / "eval.npz", x=x[40:], y=y[40:])
    return folder


@pytest.fixture(scope="session")
def valid() -> Callable[[str, Any], None]:
    """Check a document against a published schema."""

    def check(name: str, document: Any) -> None:
        schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(document)

    return check


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> Any:
    """Return a function that puts an edgetpu_compiler on the PATH which says `text` and ends with `status`."""
    recorded = shared_data / "coral" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"

    def put(text: str = GOOD, status: int = 0, *, copies: bool = True) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "say").write_text(text)
        words = [
            sys.executable,
            str(ROOT / "tests" / "cli" / "fake_edgetpu_compiler.py"),
            str(recorded),
            str(folder / "say"),
            str(status),
        ]
        program = folder / "edgetpu_compiler"
        command = " ".join(f'"{w}"' for w in words)
        # A compiler that maps nothing writes the model as it was, and calls that a success.
        rest = (
            f'exec {command} "$@"'
            if copies
            else f'for a; do f=$a; done; cat "{folder / "say"}"; cp "$f" "${{f%.tflite}}_edgetpu.tflite"'
        )
        program.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n{rest}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    put.good = GOOD  # type: ignore[attr-defined]
    return put


@pytest.fixture(scope="session")
def kinds(once: Callable[..., Path]) -> Path:
    """The folder with a folder for every kind of model that people bring, made once by one process."""

    def make(folder: Path) -> None:
        command = [sys.executable, str(ROOT / "tests" / "cli" / "make_kinds.py"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    return once("kinds", make)


@pytest.fixture
def model_of(kinds: Path) -> Callable[[str], Path]:
    """Return a function: the model of a kind."""
    return lambda kind: next(p for p in sorted((kinds / kind).iterdir()) if p.name.startswith("model"))


@pytest.fixture
def build_kind(edgeship: Callable[..., Said], kinds: Path, model_of: Any) -> Callable[..., Said]:
    """Return a function that builds a kind for targets."""

    def build(kind: str, *targets: str) -> Said:
        data = [] if kind == "state" else ["--calibration", kinds / kind / "calib.npz"]
        more = ["--app", "m", "--allow-uncompiled", "-o", "out", "--json"]
        at = [word for target in targets for word in ("-t", target)]
        return edgeship("build", model_of(kind), *at, *data, *more)

    return build
