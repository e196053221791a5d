"""What the trainable graph costs and how near it is to LiteRT, model by model.

    python -m benchmarks.trainable --data ../shared/data [MODEL.tflite ...] [--batch 32] [--room 256] [--json]

Without models: KWS and ResNet-8 of the shared data, and MobileNetV2 at 224 with random weights, each converted first.
A row: operations and variables; seconds until the graph is made; the largest difference of an output from LiteRT's, as
a share of its largest value, over 4 samples; seconds a training step takes (the graph as its own teacher, Adam, after
the first two) and from these those of an epoch of 10,000 samples; the peak memory of the process. Samples are noise,
read from a memory-mapped file. Everything is measured on this machine, now, each model in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.accelerator import training_environment
from edgeship.compress.in_parts import ROOM_MB
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import WorkerLimits, run_worker

ROOT = Path(__file__).resolve().parents[1]
SHARED = {"kws": "kws/saved_model", "resnet8": "cifar10/resnet8.h5"}
EPOCH = 10_000
COMPARED = 4


def mobilenet(payload: dict[str, Any], report: Callable[..., None]) -> None:
    """Write MobileNetV2 with random weights as a Keras file to `payload["out"]`; runs in a worker."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:  # as wide as a trained model's, so that the outputs tell samples apart
        layer.momentum = 0.0
    model(np.random.default_rng(0).uniform(0, 1, [8, 224, 224, 3]), training=True)
    model.save(payload["out"])


def measured(payload: dict[str, Any], report: Callable[..., None]) -> dict[str, Any]:
    """Return the row of the model at `payload["model"]`; runs in a worker. `payload`: `data` (paths of samples, one an
    input), `batch`."""
    import tensorflow as tf

    from edgeship.compress.graph import TrainableGraph
    from edgeship.compress.samples import Samples

    content = Path(payload["model"]).read_bytes()
    started = time.monotonic()
    graph = TrainableGraph(content)
    made = time.monotonic() - started
    samples = Samples.opened(payload["data"])
    row = {
        "operations": len(graph.file.main.operators),
        "kinds": len({op.op for op in graph.file.main.operators}),
        "variables": len(graph.variables),
        "graph_seconds": made,
        "activations_mb": graph.sample_bytes() * payload["batch"] / 2**20,
        "difference": difference(graph, samples),
        "device": "GPU" if tf.config.list_physical_devices("GPU") else "CPU",
    }
    return row | steps(graph, samples, payload["batch"], payload["room"])


def difference(graph: Any, samples: Any) -> float:
    """Return the largest difference of an output from LiteRT's, as a share of its largest value."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=graph.file.content)
    interpreter.allocate_tensors()
    inputs, _ = samples.block(np.arange(COMPARED))
    worst = 0.0
    answers = [np.asarray(value) for value in graph(inputs)]
    for number in range(COMPARED):
        for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], values[number].reshape(detail["shape"]))
        interpreter.invoke()
        for detail, values in zip(interpreter.get_output_details(), answers, strict=True):
            want = interpreter.get_tensor(detail["index"])
            far = np.abs(values[number].reshape(want.shape) - want).max() / np.abs(want).max()
            worst = max(worst, float(far))
    return worst


def steps(graph: Any, samples: Any, batch: int, room: float) -> dict[str, float]:
    """Train on all samples once and return what a step takes."""
    import tensorflow as tf

    from edgeship.compress.in_parts import InParts, rows_for

    variables = list(graph.variables.values())
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build(variables)

    def loss_of(inputs: Any, labels: Any) -> Any:
        return tf.add_n([tf.reduce_mean(tf.square(y - 0.5)) for y in graph(inputs)])

    rows = rows_for(graph.sample_bytes(), batch, room)
    gradients = InParts(loss_of, variables, rows)
    taken = []
    for inputs, _ in samples.batches(batch, rng=np.random.default_rng(0)):
        started = time.monotonic()
        optimizer.apply_gradients(zip(gradients(inputs)[1], variables, strict=True))
        taken.append(time.monotonic() - started)
    seconds = float(np.median(taken[2:]))
    return {"rows": rows, "step_seconds": seconds, "epoch_seconds": seconds * EPOCH / batch}


def noise(model: Path, folder: Path, count: int) -> list[str]:
    """Write samples for each input of a model, block by block, and return their paths."""
    file, paths = read_tflite(model), []
    rng = np.random.default_rng(0)
    for number, index in enumerate(file.main.inputs):
        tensor = file.main.tensors[index]
        shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        path = folder / f"{model.parent.name}.{number}.npy"
        held = np.lib.format.open_memmap(path, mode="w+", dtype=tensor.dtype, shape=(count, *shape))
        for start in range(0, count, 32):
            held[start : start + 32] = rng.uniform(0, 1, held[start : start + 32].shape)
        held.flush()
        paths.append(str(path))
    return paths


def models(arguments: argparse.Namespace, work: Path) -> dict[str, Path]:
    """Return the models to measure, by name."""
    if arguments.models:
        return {path.stem if path.stem != "model" else path.parent.name: path for path in arguments.models}
    sources = {name: arguments.data / path for name, path in SHARED.items()}
    sources["mobilenet-v2-224"] = work / "mobilenet.keras"
    run_worker(
        "benchmarks.trainable:mobilenet", {"out": str(sources["mobilenet-v2-224"])}, python_path=(ROOT,)
    )
    return {
        name: to_float_tflite(open_model(path), work, progress=Silent(), batch=1).path
        for name, path in sources.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument(
        "--room", type=float, default=ROOM_MB, help="MiB for the activations of a part of a batch"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models(arguments, Path(folder)).items():
            data = noise(model, Path(folder), arguments.samples)
            result = run_worker(
                "benchmarks.trainable:measured",
                {"model": str(model), "data": data, "batch": arguments.batch, "room": arguments.room},
                limits=WorkerLimits(seconds=3600),
                environment=training_environment(),
                python_path=(ROOT,),
            )
            rows[name] = {**result.value, "peak_mb": result.peak_rss_mb}
            if not arguments.json:
                print(line(name, rows[name]), flush=True)
    if arguments.json:
        json.dump({"batch": arguments.batch, "models": rows}, sys.stdout, indent=2)
    return 0


def line(name: str, row: dict[str, Any]) -> str:
    """Return a row for people."""
    return (
        f"{name:<18} {row['operations']:>3} operations of {row['kinds']} kinds, {row['variables']} variables, "
        f"made in {row['graph_seconds']:.1f} s; off by {row['difference']:.1e}; "
        f"step {row['step_seconds'] * 1000:.0f} ms, epoch of {EPOCH:,} {row['epoch_seconds']:.0f} s ({row['device']}); "
        f"peak {row['peak_mb']:.0f} MiB, activations of a batch {row['activations_mb']:.0f}, in parts of {row['rows']}"
    )


if __name__ == "__main__":
    sys.exit(main())
