"""The digits CNN of the demo, compressed three ways by the verb itself, from each form that a model comes in.

    python -m benchmarks.digits [--form keras --form h5 --form saved_model --form tflite] [--work DIR] [--json]

Trained once in Keras 3 on 1,297 of scikit-learn's digits; saved as `.keras`, as `.h5` by tf_keras, as a SavedModel and
as a float `.tflite`, the same weights. `edgeship compress FORM` makes the candidates (80 % of weights pruned, 16 shared
values, a student of at most a third of the parameters; each then trained with the rounding of int8). What is printed is
counted and scored here, in the final files: top-1 of 500 digits that nothing was trained on or chosen by, zeros,
distinct values of the weight tensor that has most of them, weights. Seconds are those of the steps, each a process of
its own. One digit is 0.2 points. Exits 1 where a candidate is more than a point below float or breaks its promise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.tflite.contents import contents_of
from edgeship.tflite.reader import read_tflite
from edgeship.toolchain import run_worker

FORMS = {
    "keras": "digits.keras",
    "h5": "digits.h5",
    "saved_model": "digits_saved_model",
    "tflite": "digits.tflite",
}
METHODS = (
    "prune-80+qat-int8",
    "cluster-16+qat-int8",
    "student-width-33,of=parameters+distill+qat-int8",
)
TRAIN = 1297
ALLOWED = 1.0
"""Points of top-1 below float."""


def saved(payload: dict[str, Any], report: Any) -> dict[str, Any]:
    """Worker: train the demo's CNN and save it, the same weights, in the four forms; write train.npz and eval.npz."""
    import keras
    import tensorflow as tf
    import tf_keras
    from sklearn.datasets import load_digits

    folder = Path(payload["folder"])
    keras.utils.set_random_seed(payload["seed"])
    data = load_digits()
    order = np.random.default_rng(payload["seed"]).permutation(len(data.images))
    x = (data.images[order, ..., None] / 16).astype(np.float32)
    y = data.target[order].astype(np.int64)
    np.savez(folder / "train.npz", x=x[:TRAIN], y=y[:TRAIN])
    np.savez(folder / "eval.npz", x=x[TRAIN:], y=y[TRAIN:])
    model = network(keras)
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy")
    model.fit(x[:TRAIN], y[:TRAIN], batch_size=64, epochs=16, verbose=0)
    model.save(folder / FORMS["keras"])
    model.export(folder / FORMS["saved_model"], verbose=False)
    legacy = network(tf_keras)
    legacy.set_weights(model.get_weights())
    legacy.save(str(folder / FORMS["h5"]), include_optimizer=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / FORMS["saved_model"]))
    (folder / FORMS["tflite"]).write_bytes(converter.convert())
    return {}


def network(keras: Any) -> Any:
    """Return the CNN of `edgeship.demo.train`, of either generation of Keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="digit"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", strides=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(32, 1, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )


def top1(path: Path, data: Path) -> float:
    """Return the top-1 (percent) of a file on labelled samples, by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    right, held = 0, np.load(data)
    for sample, wanted in zip(held["x"], held["y"], strict=True):
        if entry["dtype"] != np.float32:
            scale, zero = entry["quantization"]
            limits = np.iinfo(entry["dtype"])
            sample = np.clip(np.rint(sample / scale + zero), limits.min, limits.max)
        interpreter.set_tensor(entry["index"], sample[None].astype(entry["dtype"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(end["index"]).argmax()) == int(wanted)
    return 100 * right / len(held["y"])


def compressed(folder: Path, form: str, seed: int, settings: str = "") -> tuple[dict[str, Any], Path]:
    """Return (the document of `edgeship compress`, the folder of files that it made)."""
    cache = folder / f"cache-{form}"
    words = [sys.executable, "-m", "edgeship", "compress", str(folder / FORMS[form]), "--target", "host"]
    words += ["--train", str(folder / "train.npz"), "--eval", str(folder / "eval.npz"), "--recipe", "int8"]
    words += ["--max-drop", "5", "--minutes", "60", "--seed", str(seed), "--json", "-q"]
    for method in METHODS:
        words += ["--method", with_settings(method, settings)]
    words += ["-o", str(folder / f"out-{form}")]
    done = subprocess.run(
        words, env=os.environ | {"EDGESHIP_CACHE": str(cache)}, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"{form}: {done.stderr}")
    return json.loads(done.stdout), cache / "compress" / "files"


def with_settings(method: str, settings: str) -> str:
    """Return a chain with the same settings for each of its steps that trains."""
    return "+".join(
        label if label.startswith("student") or not settings else f"{label},{settings}"
        for label in method.split("+")
    )


def rows_of(folder: Path, form: str, seed: int, settings: str = "") -> list[dict[str, Any]]:
    """Return a row for the float model, one for plain int8 and one for each candidate, counted in the files."""
    float_path = folder / FORMS["tflite"]
    full = contents_of(read_tflite(float_path)).parameters
    best = top1(float_path, folder / "eval.npz")
    rows: list[dict[str, Any]] = [{"form": form, "candidate": "float", "top1": best, "parameters": full}]
    document, files = compressed(folder, form, seed, settings)
    if document["failed"] or document["left"]:
        raise SystemExit(f"{form}: {document['failed']} {document['left']}")
    for variant in document["variants"]:
        path = files / f"{variant['sha256'][:32]}.tflite"
        held = contents_of(read_tflite(path))
        row = {
            "form": form,
            "candidate": variant["name"],
            "top1": top1(path, folder / "eval.npz"),
            "parameters": held.parameters,
            "zeros": 100 * held.sparsity,
            "values": held.unique_weights,
            "packed": held.download,
            "seconds": sum(step["seconds"] for step in variant["steps"]),
        }
        rows.append(row | {"broken": broken(row, full, best)})
    return rows


def broken(row: dict[str, Any], full: int, best: float) -> list[str]:
    """Return which promises a row does not keep."""
    name, found = row["candidate"], []
    if name.startswith("prune-80") and not 79.5 < row["zeros"] < 90:
        found.append("zeros")
    if name.startswith("cluster-16") and row["values"] > 16:
        found.append("values")
    if name.startswith("student-width-33") and row["parameters"] > full / 3:
        found.append("parameters")
    return found + (["top1"] if row["top1"] < best - ALLOWED - 1e-9 else [])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", action="append", choices=tuple(FORMS), help="repeatable; all without")
    parser.add_argument("--seed", type=int, default=7, help="of the split, the float model and the search")
    parser.add_argument("--work", type=Path, help="folder that stays; what was made there is used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeship-digits-") as name:
        folder = options.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / FORMS["tflite"]).exists():
            run_worker("benchmarks.digits:saved", {"folder": str(folder), "seed": options.seed})
        rows = [row for form in options.form or FORMS for row in rows_of(folder, form, options.seed)]
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "rows": rows}, indent=1))
    else:
        print("| form | candidate | top-1 | zeros | values | weights | packed bytes | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        for row in rows:
            print(f"| {' | '.join(cells(row))} |")
    return int(any(row.get("broken") for row in rows))


def cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row of the table."""
    told = [row["form"], row["candidate"], f"{row['top1']:.1f}"]
    if "zeros" not in row:
        return [*told, "", "", f"{row['parameters']:,}", "", ""]
    told += [f"{row['zeros']:.1f} %", str(row["values"]), f"{row['parameters']:,}"]
    return [
        *told,
        f"{row['packed']:,}",
        f"{row['seconds']:.0f}" + "".join(f" **{b}**" for b in row["broken"]),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
