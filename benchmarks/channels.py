"""What leaving channels and blocks out costs and gives before any training: parameters, bytes, time, top-1.

    python -m benchmarks.channels --data ../shared/data [--only kws] [--step channels-30]

Each step is done as `edgeship compress` does it, on calibration.npz alone; the int8 file is calibrated with the same.
`top-1` is of eval.npz, of the float file and of the int8 one. `time` is the int8 file's, relative to the whole model's:
both run in turn, one thread, the median of `--rounds` runs each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.assets import target_folders
from edgeship.compress.methods import step_of
from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Silent
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.toolchain import run_worker
from edgeship.values import PreparedSamples

MODELS = {"kws": ("kws/saved_model", "kws"), "resnet8": ("cifar10/resnet8.h5", "cifar10")}
STEPS = (
    "channels-10",
    "channels-30",
    "channels-30,repair=no",
    "channels-30,by=weights",
    "channels-30,layers=global",
    "channels-30,of=macs",
    "channels-30,multiple=8",
    "student-width-50",
    "student-width-33,of=parameters",
    "student-depth-1",
)


def stepped(model: Path, label: str, samples: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Return (the model after a step, what the step told)."""
    out = work / f"{label.replace(',', '_').replace('=', '-')}.tflite"
    payload = {
        "model": str(model),
        "original": str(model),
        "step": step_of(label).to_json(),
        "before": [],
        "recipe": "static_wi8_ai8",
        "train": None,
        "calibration": {"inputs": [str(samples)], "labels": None},
        "out": str(out),
    }
    return out, run_worker("edgeship.compress.worker:apply", payload).value


def quantized(model: Path, samples: Path, work: Path, profile: TargetProfile) -> Path:
    """Return the int8 file of a float one."""
    float_model = to_float_tflite(open_model(model), work / "float", progress=Silent())
    dataset = load_dataset(str(samples), work, Reading(role="calibration"))
    given = PreparedSamples(paths=(samples,), sha256=dataset.info.sha256)
    made = derive_all(float_model, (RECIPES["int8"],), given, work / model.stem, profile=profile)
    if made.failed:
        raise SystemExit(f"int8 failed: {made.failed}")
    return made.artifacts[0].path


def interpreter(path: Path) -> Any:
    """Return LiteRT with a file loaded, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=str(path), num_threads=1)
    made.allocate_tensors()
    return made


def top1(path: Path, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Return the top-1 accuracy of a file, percent."""
    runs = interpreter(path)
    given, made = runs.get_input_details()[0], runs.get_output_details()[0]
    scale, zero = given["quantization"]
    right = 0
    for sample, label in zip(x, y, strict=True):
        value = sample[None].astype(np.float32)
        if given["dtype"] == np.int8:
            value = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
        runs.set_tensor(given["index"], value)
        runs.invoke()
        right += int(runs.get_tensor(made["index"]).argmax() == label)
    return 100.0 * right / len(y)


def times(paths: list[Path], rounds: int) -> list[float]:
    """Return the median milliseconds of a run of each file, all run in turn."""
    loaded = [interpreter(path) for path in paths]
    taken = np.zeros((len(loaded), rounds))
    for turn in range(-20, rounds):
        for number, runs in enumerate(loaded):
            started = time.perf_counter()
            runs.invoke()
            taken[number, max(turn, 0)] = time.perf_counter() - started
    return [1e3 * float(np.median(row)) for row in taken]


def rows(
    name: str, data: Path, steps: list[str], rounds: int, profile: TargetProfile
) -> list[dict[str, Any]]:
    """Return a row for the whole model and one for each step."""
    source, folder = (data / part for part in MODELS[name])
    evaluation = np.load(folder / "eval.npz")
    with tempfile.TemporaryDirectory(prefix="edgeship-bench-") as temporary:
        work = Path(temporary)
        samples = work / "calibration.npy"
        np.save(samples, np.load(folder / "calibration.npz")["x"].astype(np.float32))
        whole = work / "whole.tflite"
        whole.write_bytes(
            to_float_tflite(open_model(source), work / "float", progress=Silent()).path.read_bytes()
        )
        made = [(label, *stepped(whole, label, samples, work)) for label in steps]
        floats = [whole, *(path for _, path, _ in made)]
        int8 = [quantized(path, samples, work, profile) for path in floats]
        taken = times(int8, rounds)
        found = []
        for number, label in enumerate(["(whole)", *steps]):
            told = made[number - 1][2] if number else {"figures": {}, "seconds": 0.0, "notes": []}
            first = made[0][2]["figures"]
            figures = told["figures"] or {
                "parameters_after": first["parameters_before"],
                "macs_after": first["macs_before"],
            }
            found.append(
                {
                    "step": label,
                    "parameters": int(figures["parameters_after"]),
                    "macs": int(figures["macs_after"]),
                    "float_bytes": floats[number].stat().st_size,
                    "int8_bytes": int8[number].stat().st_size,
                    "int8_ms": taken[number],
                    "time": taken[number] / taken[0],
                    "float_top1": top1(floats[number], evaluation["x"], evaluation["y"]),
                    "int8_top1": top1(int8[number], evaluation["x"], evaluation["y"]),
                    "seconds": told["seconds"],
                    "notes": told["notes"],
                }
            )
    return found


def show(name: str, found: list[dict[str, Any]]) -> None:
    """Print one model's figures for people."""
    print(f"\n{name}\n  {'step':<34}{'params':>9}{'MMACs':>8}{'float B':>10}{'int8 B':>9}", end="")
    print(f"{'ms':>8}{'time':>7}{'float':>8}{'int8':>8}{'s':>7}")
    for row in found:
        print(
            f"  {row['step']:<34}{row['parameters']:>9,}{row['macs'] / 1e6:>8.2f}{row['float_bytes']:>10,}"
            f"{row['int8_bytes']:>9,}{row['int8_ms']:>8.3f}{row['time']:>7.2f}{row['float_top1']:>8.1f}"
            f"{row['int8_top1']:>8.1f}{row['seconds']:>7.1f}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with kws/ and cifar10/")
    parser.add_argument("--target", default="x86-64-linux")
    parser.add_argument("--only", choices=tuple(MODELS))
    parser.add_argument("--step", action="append", help="instead of the usual ones; may be given again")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    profile = load_profile(options.target, folders=target_folders(environment=os.environ))
    steps = options.step or list(STEPS)
    results = {
        name: rows(name, options.data, steps, options.rounds, profile)
        for name in ([options.only] if options.only else MODELS)
    }
    if options.json:
        print(json.dumps({"target": profile.name, "cpus": os.cpu_count(), "models": results}, indent=1))
    else:
        for name, found in results.items():
            show(name, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
