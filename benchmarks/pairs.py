"""Pairs of real bundles, version 1 and 2, for benchmarks/wire.py: built by `edgeship build` for this machine.

What differs in each version 2 is said in PAIRS. Weights are changed in the SavedModel's own variables, or in the
buffers of the .tflite file, and the model is built again; nothing is changed in a bundle.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgeship.tflite.reader import read_tflite

SEED = 7
LABELS = "[down, go, left, 'no', 'off', 'on', right, stop, up, 'yes', silence, {last}]"
# (name, version 1, version 2, what differs)
PAIRS = (
    ("kws-label", "kws", "kws-label", "one label, the description and the version; the same weights"),
    ("kws-last-layer", "kws", "kws-last", "last layer: every weight moved by 5% of the layer's spread"),
    ("kws-retrained", "kws", "kws-all", "every weight moved by 5% of its layer's spread"),
    (
        "mobilenet-last-layer",
        "mobilenet",
        "mobilenet-last",
        "last layer (1,001 classes): every weight moved by -1..1",
    ),
    ("mobilenet-middle", "mobilenet", "mobilenet-middle", "two of 28 layers: every weight moved by -1..1"),
)
# Runs in a process of its own: TensorFlow stays out of the benchmark.
CHANGE = """
import sys, numpy, tensorflow as tf
source, target, only, seed = sys.argv[1:]
model = tf.saved_model.load(source)
draw = numpy.random.default_rng(int(seed))
for variable in model.variables:
    if only in variable.name:
        value = variable.numpy()
        if "moving_variance" not in variable.name:
            variable.assign(value + 0.05 * (value.std() or 0.01) * draw.standard_normal(value.shape))
tf.saved_model.save(model, target, signatures=model.signatures)
"""


def make_bundles(data: Path, folder: Path, only: str = "") -> dict[str, Path]:
    """Return name -> bundle of the pairs whose name holds `only`; what is in the folder already is not built again."""
    kws, mobilenet = data / "kws/saved_model", data / "coral/mobilenet_v1_0.25_128_quant.tflite"
    made = {}
    for name in dict.fromkeys(name for pair in PAIRS if only in pair[0] for name in pair[1:3]):
        out = folder / name
        if not (found := sorted(out.glob("*.edgeship"))):
            out.mkdir(parents=True, exist_ok=True)
            kind, _, change = name.partition("-")
            model = kws if kind == "kws" else mobilenet
            if kind == "kws" and change in ("last", "all"):
                model = out / "model"
                only = "dense/" if change == "last" else ""
                _run([sys.executable, "-c", CHANGE, str(kws), str(model), only, str(SEED)])
            elif change and kind == "mobilenet":
                model = out / "mobilenet.tflite"
                model.write_bytes(changed_tflite(mobilenet, change))
            _build(model, kind, change, data, out)
            found = sorted(out.glob("*.edgeship"))
        made[name] = found[0]
    return made


def changed_tflite(path: Path, which: str) -> bytes:
    """Return the file with some layers' weights moved by -1, 0 or 1: the last convolution, or two in the middle."""
    model = read_tflite(path)
    content = bytearray(path.read_bytes())
    layers = [op for op in model.main.operators if op.op in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    draw = np.random.default_rng(SEED)
    for op in layers[-1:] if which == "last" else layers[12:14]:
        old = model.tensor_bytes(op.inputs[1])
        at = bytes(content).index(old)
        weights = np.frombuffer(old, np.uint8).astype(int)
        content[at : at + len(old)] = (
            np.clip(weights + draw.integers(-1, 2, weights.shape), 0, 255).astype(np.uint8).tobytes()
        )
    return bytes(content)


def _build(model: Path, kind: str, change: str, data: Path, out: Path) -> None:
    """Run `edgeship build`."""
    config = out / "edgeship.yaml"
    lines = [f"app: {kind}", f"version: '{2 if change else 1}'"]
    if kind == "kws":
        last = "none-of-these" if change == "label" else "unknown"
        about = "Says which of ten words was spoken." + (" Version two." if change == "label" else "")
        lines += [f"labels: {LABELS.format(last=last)}", "metadata:", f"  description: {about}"]
    config.write_text("\n".join(lines) + "\n")
    words = [
        sys.executable,
        "-m",
        "edgeship",
        "build",
        str(model),
        "-t",
        "host",
        "-o",
        str(out),
        "-c",
        str(config),
    ]
    if kind == "kws":
        words += ["--calibration", str(data / "kws/calibration.npz"), "--recipe", "int8"]
    _run(words)


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:6])} ... ended with {done.returncode}:\n{done.stderr[-2000:]}")
