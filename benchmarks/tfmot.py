"""Beside tensorflow-model-optimization: the same tf_keras model, data, epochs, sparsity and clusters, by it and by us.

    edgeship toolchain install tfmot
    python -m benchmarks.tfmot [--epochs 24] [--seeds 5] [--only prune] [--resnet8 ../shared/data/cifar10] [--json]

The digits CNN of `edgeship demo`, built in tf_keras; with --resnet8 MLPerf Tiny's ResNet-8 too, which takes long. Each
method starts from the same trained model and is trained with each seed: one training moves by more than the two sides
differ. Both learn from labels, from the same samples, with Adam, a batch of 64 and the same rate, but that edgeship's
pruning finds its own. Of the data edgeship holds 15 % out, by which a search chooses between candidates; so `tfmot` is
trained on the same 85 %, and as `tfmot, all` once more on everything. `edgeship, mixed` learns as by default: for
0.3 from labels, for the rest from the float model's answers. What either made becomes an int8 `.tflite` by edgeship and
is scored on evaluation data that neither saw: top-1, bytes packed with gzip, the share of zeros among integer weights.
Seconds are those of the whole process that trains, from its start (loading TensorFlow takes most of it for a small
model) to the model on disk.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.assets import target_folders
from edgeship.compress.methods import step_of
from edgeship.compress.rows import parted
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import load_profile
from edgeship.progress import Silent
from edgeship.quantize.derive import derive_all
from edgeship.quantize.ranges import ranges_of
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.refit import unpacked
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.toolchain.environments import require
from edgeship.values import PreparedSamples

PERCENT, CLUSTERS = 80, 16
SIDES = ("tfmot", "edgeship", "tfmot, all", "edgeship, mixed")
METHODS = ("none", "finetune", f"prune-{PERCENT}", f"cluster-{CLUSTERS}", "qat-int8")
RATES = {"digits": 1e-3, "resnet8": 5e-4}
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}
RECIPE = "static_wi8_ai8"


def digits(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker: train the demo's CNN in tf_keras; write digits.h5, x.npy, y.npy, ex.npy and ey.npy."""
    import tf_keras
    from sklearn.datasets import load_digits

    folder, layers = Path(payload["folder"]), tf_keras.layers
    tf_keras.utils.set_random_seed(7)
    data = load_digits()
    order = np.random.default_rng(7).permutation(len(data.images))
    x = (data.images[order, ..., None] / 16).astype(np.float32)
    y = data.target[order].astype(np.int64)
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1), name="digit"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(32, 1, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy")
    model.fit(x[:1297], y[:1297], batch_size=64, epochs=16, verbose=0)
    model.save(str(folder / "digits.h5"), include_optimizer=False)
    for name, part in {"x": x[:1297], "y": y[:1297], "ex": x[1297:], "ey": y[1297:]}.items():
        np.save(folder / f"{name}.npy", part)
    return {}


def theirs(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker with tfmot on its path: do `payload["method"]` to `payload["model"]`, write `payload["out"]`."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from edgeship.compress.tfmot import pruned

    tf_keras.utils.set_random_seed(payload["seed"])
    model = tf_keras.models.load_model(payload["model"], compile=False)
    x = np.load(payload["x"]).astype(np.float32)
    y = np.load(payload["y"])
    epochs, rate, name = payload["epochs"], payload["rate"], payload["method"]
    if name.startswith("prune"):
        settings = {"percent": PERCENT, "epochs": epochs, "batch": 64, "rate": rate}
        model = pruned(model, (x,), y, settings, payload["seed"], lambda *_: None)
    else:
        if name.startswith("cluster"):
            clustering = tfmot.clustering.keras
            init = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
            model = clustering.cluster_weights(
                model, number_of_clusters=CLUSTERS, cluster_centroids_init=init
            )
        elif name.startswith("qat"):
            model = tfmot.quantization.keras.quantize_model(model)
        model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    model.save(payload["out"], include_optimizer=False)  # with its wrappers, which edgeship reads
    return {}


def ours(case: Case, method: str, seed: int, folder: Path) -> tuple[Path, float]:
    """Return (float `.tflite`, seconds of the process) of edgeship's method, `method` with its settings."""
    rate = "" if method.startswith("prune") else f",rate={case.rate}"  # pruning finds its own
    step = step_of(f"{method},steps=1,augment=none{rate}")
    out = folder / "ours.tflite"
    payload = {
        "model": str(case.float_path),
        "original": str(case.float_path),
        "step": {**step.to_json(), "seed": seed},
        "before": [],
        "recipe": RECIPE,
        "train": {"inputs": [str(case.x)], "labels": str(case.y)},
        "calibration": None,
        "ranges": ranges_of(case.float_path, case.samples, RECIPE, Silent()),
        "out": str(out),
    }
    limits = WorkerLimits(seconds=7200)
    return out, run_worker("edgeship.compress.worker:apply", payload, limits=limits).seconds


class Case:
    """A model and its data."""

    def __init__(self, name: str, model: Path, folder: Path, data: tuple[Path, Path, Path, Path]) -> None:
        self.name, self.model, self.rate, self.folder = name, model, RATES[name], folder
        self.x, self.y, self.ex, self.ey = data
        some = folder / "calibration.npy"
        np.save(some, np.load(self.x)[:300].astype(np.float32))
        self.samples = PreparedSamples(paths=(some,), sha256="0" * 64)
        self.float_path = self.converted(model, folder).path

    def trained_on(self, folder: Path) -> tuple[Path, Path]:
        """Return files of the samples and labels that edgeship trains on: those it does not hold out."""
        rows, _ = parted(len(np.load(self.x, mmap_mode="r")))
        kept = folder / "x.npy", folder / "y.npy"
        for path, whole in zip(kept, (self.x, self.y), strict=True):
            np.save(path, np.load(whole, mmap_mode="r")[rows])
        return kept

    def converted(self, model: Path, folder: Path) -> Any:
        """Return the float model of a file."""
        return to_float_tflite(open_model(model), folder, progress=Silent())

    def scored(self, model: Any, folder: Path) -> dict[str, Any]:
        """Return top-1 (percent) as int8, bytes packed with gzip, and the share of zeros (percent)."""
        profile = load_profile("x86-64-linux", folders=target_folders(environment=os.environ))
        made = derive_all(model, (RECIPES[RECIPE],), self.samples, folder / "int8", profile=profile)
        if made.failed:
            raise SystemExit(f"{self.name}: {made.failed}")
        path = made.artifacts[0].path
        job = {"name": "m", "path": str(path), "out": str(folder / "answers")}
        told = run_worker("edgeship.score.worker:outputs", {"samples": [str(self.ex)], "models": [job]}).value
        if told["failed"]:
            raise SystemExit(f"{self.name}: {told['failed']}")
        answers = np.load(f"{job['out']}.0.npy").argmax(axis=1)
        return {
            "top1": 100 * float(np.mean(answers == np.load(self.ey))),
            "zeros": 100 * zeros_in(path.read_bytes()),
            "packed": len(gzip.compress(path.read_bytes(), mtime=0)),
        }


def zeros_in(content: bytes) -> float:
    """Return the share of zeros among the 8-bit constants of a file."""
    model, schema = unpacked(content)
    held = [
        np.frombuffer(bytes(model.buffers[t.buffer].data), np.int8)
        for t in model.subgraphs[0].tensors
        if t.type == schema.TensorType.INT8 and model.buffers[t.buffer].data is not None
    ]
    return float(np.mean(np.concatenate(held) == 0))


def trained(case: Case, method: str, side: str, epochs: int, seed: int, work: Path) -> tuple[Any, float]:
    """Return (the float `.tflite` that a side made, seconds of its process)."""
    if side.startswith("edgeship"):
        labels = "" if side.endswith("mixed") else ",labels=1"
        path, seconds = ours(case, f"{method},epochs={epochs}{labels}", seed, work)
        return case.converted(path, work), seconds
    x, y = (case.x, case.y) if side.endswith("all") else case.trained_on(work)
    payload = {"model": str(case.model), "x": str(x), "y": str(y), "method": method, "seed": seed}
    payload |= {"epochs": epochs, "rate": case.rate, "out": str(work / "theirs.h5")}
    seconds = run_worker(
        "benchmarks.tfmot:theirs",
        payload,
        python_path=require("tfmot").python_path,
        environment=LEGACY,
        limits=WorkerLimits(seconds=7200),
    ).seconds
    return case.converted(work / "theirs.h5", work), seconds


def rows(case: Case, epochs: int, seeds: int, only: str = "") -> list[dict[str, Any]]:
    """Return a row for each method (of those whose names begin so) and side: means over seeds, and each top-1."""
    found = []
    for method, side in [(m, s) for m in METHODS if m.startswith(only) for s in SIDES]:
        told: list[dict[str, Any]] = []
        if method == "none" and side != "edgeship":
            continue
        for seed in range(1 if method == "none" else seeds):
            with tempfile.TemporaryDirectory(dir=case.folder) as name:
                work, seconds = Path(name), 0.0
                if method == "none":
                    model = case.converted(case.model, work)
                else:
                    model, seconds = trained(case, method, side, epochs, seed, work)
                told.append({**case.scored(model, work), "seconds": seconds})
        row: dict[str, Any] = {"model": case.name, "method": method, "by": side}
        row |= {key: float(np.mean([one[key] for one in told])) for key in told[0]}
        found.append({**row, "each": [round(one["top1"], 2) for one in told]})
        print(found[-1], file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resnet8", type=Path, help="folder with resnet8.h5, train.npz and eval.npz")
    parser.add_argument("--only", default="", choices=("", "finetune", "prune", "cluster", "qat"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="edgeship-tfmot-") as name:
        folder = Path(name)
        run_worker("benchmarks.tfmot:digits", {"folder": name}, environment=LEGACY)
        data = tuple(folder / f"{part}.npy" for part in ("x", "y", "ex", "ey"))
        case = Case("digits", folder / "digits.h5", folder, data)  # type: ignore[arg-type]
        results += rows(case, options.epochs, options.seeds, options.only)
        if options.resnet8:
            work = folder / "resnet8"
            work.mkdir()
            train, held = np.load(options.resnet8 / "train.npz"), np.load(options.resnet8 / "eval.npz")
            arrays = {"x": train["x"], "y": train["y"], "ex": held["x"], "ey": held["y"]}
            for part, array in arrays.items():
                np.save(work / f"{part}.npy", array.astype(np.int64 if "y" in part else np.float32))
            data = tuple(work / f"{part}.npy" for part in arrays)
            case = Case("resnet8", options.resnet8 / "resnet8.h5", work, data)  # type: ignore[arg-type]
            results += rows(case, options.epochs, options.seeds, options.only)
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "epochs": options.epochs, "rows": results}, indent=1))
        return 0
    print("| model | method | by | top-1 as int8 | of each seed | packed bytes | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in results:
        cells = (
            row["model"],
            row["method"],
            row["by"],
            f"{row['top1']:.2f}",
            ", ".join(f"{one:g}" for one in row["each"]),
            f"{row['packed']:,.0f}",
            f"{row['seconds']:.1f}",
        )
        print(f"| {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
