"""What recipes cost and give: build time with 1 and with 6 recipes, and size, accuracy, agreement and latency of each.

    python benchmarks/recipes.py --data ../shared/data [--target x86-64-linux] [--only kws] [--json]

Every figure is measured on this machine, now: the models are converted from scratch (no cache), calibrated with
calibration.npz and scored on eval.npz; `held out` is train.npz without the calibration samples, which no setting was
tuned on. Published beside it: the int8 file that MLPerf Tiny ships with the model.
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
from edgeship.data.dataset import load_dataset
from edgeship.data.preprocess import apply
from edgeship.data.samples import Reading
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Silent
from edgeship.quantize.calibration import check
from edgeship.quantize.derive import derive_all
from edgeship.quantize.recipes import RECIPES
from edgeship.score.measure import score
from edgeship.toolchain import run_worker
from edgeship.values import FloatModel, Goals, PreparedSamples, Preprocess

MODELS = {"kws": ("kws/saved_model", "kws"), "resnet8": ("cifar10/resnet8.h5", "cifar10")}
SIX = ("fp32", "fp16", "dynamic", "int8", "int16x8", "weight-int8")
HELD_OUT = 3000
"""Held-out samples that are used at most."""


def build(
    model: Path, calibration: Path, work: Path, recipes: tuple[str, ...], profile: TargetProfile
) -> Any:
    """Return (seconds of conversion, seconds of derivation, float model, artifacts) of a build from nothing."""
    started = time.perf_counter()
    float_model = to_float_tflite(open_model(model), work, progress=Silent(), batch=1)
    converted = time.perf_counter()
    data = load_dataset(str(calibration), work, Reading(role="calibration"))
    check(data, float_model.signature.inputs)
    prepared = work / "prepared.npy"
    np.save(prepared, apply(Preprocess(), np.load(data.x_path)))
    chosen = tuple(RECIPES[name] for name in recipes)
    made = derive_all(
        float_model,
        chosen,
        PreparedSamples(paths=(prepared,), sha256=data.info.sha256),
        work / "out",
        profile=profile,
    )
    if made.failed:
        raise SystemExit(f"a recipe failed: {made.failed}")
    return converted - started, time.perf_counter() - converted, float_model, made.artifacts


def top1(path: Path, samples: Path, labels: np.ndarray[Any, Any], work: Path) -> float:
    """Return the top-1 accuracy of a file, percent."""
    job = {"name": "m", "path": str(path), "out": str(work / "scored")}
    value = run_worker("edgeship.score.worker:outputs", {"samples": [str(samples)], "models": [job]}).value
    if value["failed"]:
        raise SystemExit(f"{path} failed: {value['failed']}")
    return 100.0 * float(np.mean(np.load(f"{job['out']}.0.npy").argmax(axis=1) == labels))


def held_out(folder: Path, work: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """Write train.npz without the calibration samples as float32; return the path and the labels."""
    train, calibration = np.load(folder / "train.npz"), np.load(folder / "calibration.npz")
    first = len(calibration["x"])
    x = train["x"][first : first + HELD_OUT].astype(np.float32)
    path = work / "held_out.npy"
    np.save(path, x)
    return path, train["y"][first : first + HELD_OUT]


def table(name: str, data: Path, float_model: FloatModel, artifacts: Any, work: Path) -> list[dict[str, Any]]:
    """Return one row per artifact, and one for MLPerf's own int8 file."""
    folder = data / MODELS[name][1]
    evaluation = load_dataset(str(folder / "eval.npz"), work, Reading(role="evaluation"))
    prepared = work / "evaluation.npy"
    np.save(prepared, apply(Preprocess(), np.load(evaluation.x_path)))
    unseen, labels = held_out(folder, work)
    cards = score(
        artifacts,
        float_model,
        evaluation,
        PreparedSamples(paths=(prepared,), sha256=evaluation.info.sha256),
        Goals(metric="top1"),
    )
    rows = [
        {
            "recipe": artifact.recipe,
            "bytes": artifact.bytes,
            "top1": card.metric.value,
            "drop": card.metric.drop,
            "held_out": top1(artifact.path, unseen, labels, work),
            "argmax": card.agreement.argmax,
            "cosine": card.agreement.cosine,
            "p50_ms": card.latency_ms.p50,
            "p95_ms": card.latency_ms.p95,
            "cold_ms": card.latency_ms.cold,
            "rss_mb": card.peak_rss_mb,
        }
        for artifact, card in zip(artifacts, cards, strict=True)
    ]
    theirs = folder / "mlperf_int8.tflite"
    y = np.load(folder / "eval.npz")["y"]
    rows.append(
        {
            "recipe": "MLPerf's own int8",
            "bytes": theirs.stat().st_size,
            "top1": top1(theirs, prepared, y, work),
            "held_out": top1(theirs, unseen, labels, work),
        }
    )
    return rows


def show(name: str, result: dict[str, Any]) -> None:
    """Print one model's figures for people."""
    print(
        f"\n{name}: conversion {result['convert_s']:.1f} s; derivation {result['derive_s'][0]:.2f} s for int8 alone,"
    )
    print(f"  {result['derive_s'][1]:.2f} s for six recipes; build time ratio 6 to 1: {result['ratio']:.2f}")
    heads = ("bytes", "top1", "drop", "held_out", "argmax", "cosine", "p50_ms", "p95_ms", "cold_ms", "rss_mb")
    print(f"  {'recipe':<20}" + "".join(f"{h:>10}" for h in heads))
    for row in result["rows"]:
        cells = "".join(
            f"{row[h]:>10,}"
            if h == "bytes"
            else f"{row[h]:>10.3f}"
            if isinstance(row.get(h), float)
            else f"{'-':>10}"
            for h in heads
        )
        print(f"  {row['recipe']:<20}{cells}")


def main() -> int:
    """Measure and print; return the exit status: 1 where the ratio is 1.5 or more."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with kws/ and cifar10/")
    parser.add_argument("--target", default="x86-64-linux")
    parser.add_argument("--only", choices=tuple(MODELS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    profile = load_profile(options.target, folders=target_folders(environment=os.environ))
    results: dict[str, Any] = {}
    for name in [options.only] if options.only else MODELS:
        model, folder = (options.data / part for part in MODELS[name])
        with tempfile.TemporaryDirectory(prefix="edgeship-bench-") as temporary:
            work = Path(temporary)
            one = build(model, folder / "calibration.npz", work / "one", ("int8",), profile)
            six = build(model, folder / "calibration.npz", work / "six", SIX, profile)
            results[name] = {
                "convert_s": six[0],
                "derive_s": [one[1], six[1]],
                # One conversion time for both, so that its noise does not hide what recipes cost.
                "ratio": (min(one[0], six[0]) + six[1]) / (min(one[0], six[0]) + one[1]),
                "ratio_as_measured": (six[0] + six[1]) / (one[0] + one[1]),
                "rows": table(name, options.data, six[2], six[3], work),
            }
        if not options.json:
            show(name, results[name])
    if options.json:
        print(json.dumps({"target": profile.name, "cpus": os.cpu_count(), "models": results}, indent=1))
    return 1 if any(r["ratio"] >= 1.5 for r in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
