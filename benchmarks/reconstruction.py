"""What rounding and equalisation without labels recover: accuracy, agreement with the float model, and CPU seconds.

    OPENBLAS_NUM_THREADS=1 python benchmarks/reconstruction.py --data ../shared/data [--only resnet8] [--json]

Each method runs in this process; CPU seconds are of the method alone. Inputs are train.npz (no labels are
read), calibration is calibration.npz, accuracy is of eval.npz, which nothing was set by. `unlike` is ResNet-8 with the
channels between its convolutions scaled up and down (by up to 20), the same function in float, quantized with one scale
a tensor.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.assets import target_folders
from edgeship.compress.equalise import pairs_of
from edgeship.compress.methods import rows_by_name, step_of
from edgeship.compress.samples import Samples
from edgeship.compress.work import Work
from edgeship.digest import sha256_file
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.profile import TargetProfile, load_profile
from edgeship.progress import Silent
from edgeship.quantize.derive import derive_all, one_scale_operations
from edgeship.quantize.recipes import RECIPES
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import constant, with_weights
from edgeship.values import FloatModel, PreparedSamples

MODELS = {"kws": ("kws/saved_model", "kws"), "resnet8": ("cifar10/resnet8.h5", "cifar10")}
PLANS = (
    ("int8", ""),
    ("int8", "equalise"),
    ("int8", "round-int8"),
    ("int8", "equalise+round-int8"),
    ("int4", ""),
    ("int4", "round-int4,samples=500"),
    ("int4", "round-int4"),
    ("int4", "equalise+round-int4"),
)
"""(recipe, chain)."""
UNLIKE = (("int8", ""), ("int8", "equalise"), ("int8", "round-int8"), ("int8", "equalise+round-int8"))


def changed(content: bytes, chain: str, samples: Samples, recipe: str, profile: TargetProfile) -> Any:
    """Return (the float file after a chain, CPU seconds)."""
    started, original = time.process_time(), content
    one_scale = frozenset(one_scale_operations(RECIPES[recipe], profile))
    before: tuple[Any, ...] = ()
    for label in chain.split("+") if chain else ():
        step = step_of(label)
        work = Work(
            content=content, step=step, before=before, original=original, recipe=RECIPES[recipe].name,
            train=samples, held_out=None, calibration=None, one_scale=one_scale,
        )  # fmt: skip
        module, function = rows_by_name()[step.method].function.split(":")
        content = getattr(importlib.import_module(module), function)(work).content
        before = (*before, step)
    return content, time.process_time() - started


def answers(path: Path, x: Any) -> Any:
    """Return the model's outputs `[n, classes]`."""
    from edgeship.score.worker import Model

    model, rows = Model(str(path)), []
    for sample in x:
        model.feed([sample[None]])
        model.invoke()
        rows.append(np.array(model.read()[0]).reshape(-1))
    return np.array(rows)


def unlike(content: bytes) -> bytes:
    """Return the same function with channels of very unlike size."""
    file, random = parse(Path("m.tflite"), content, ""), np.random.default_rng(0)
    values: dict[int, Any] = {}
    for pair in pairs_of(file):
        if pair.first.operator.op != "CONV_2D" or pair.second.operator.op != "CONV_2D":
            continue
        s = np.exp(random.uniform(-3, 3, pair.channels)).astype(np.float32)
        first, second, bias = pair.first.weight, pair.second.weight, pair.first.bias
        values[first] = values.get(first, constant(file, first)) * s[:, None, None, None]
        values[second] = values.get(second, constant(file, second)) / s
        if bias is not None:
            values[bias] = constant(file, bias) * s
    return with_weights(content, values)


def measured(model: FloatModel, name: str, plans: Any, data: Path, profile: TargetProfile) -> list[Any]:
    """Return a row for each plan: recipe, chain, accuracy, agreement, bytes, CPU seconds."""
    train, held = (np.load(data / f"{part}.npz") for part in ("train", "eval"))
    folder = model.path.parent
    np.save(folder / "train.npy", train["x"].astype(np.float32))
    np.save(folder / "calibration.npy", np.load(data / "calibration.npz")["x"].astype(np.float32))
    samples = Samples.opened([folder / "train.npy"])
    fed = PreparedSamples(paths=(folder / "calibration.npy",), sha256="c" * 64)
    x, y = held["x"].astype(np.float32), held["y"]
    exact = answers(model.path, x)
    rows = [[name, "float", "", float((exact.argmax(1) == y).mean()), 1.0, model.path.stat().st_size, 0.0]]
    for number, (recipe, chain) in enumerate(plans):
        content, seconds = changed(model.path.read_bytes(), chain, samples, recipe, profile)
        out = folder / f"{name}-{number}"
        out.mkdir()
        (out / "float.tflite").write_bytes(content)
        source = replace(model, path=out / "float.tflite", sha256=sha256_file(out / "float.tflite"))
        made = derive_all(source, (RECIPES[recipe],), fed, out, profile=profile)
        if made.failed:
            raise SystemExit(f"{name} {recipe} {chain}: {made.failed[0][1]}")
        got = answers(made.artifacts[0].path, x)
        right, agreed = (float((got.argmax(1) == other).mean()) for other in (y, exact.argmax(1)))
        rows.append([name, recipe, chain, right, agreed, made.artifacts[0].bytes, seconds])
        print(f"{name} {recipe} {chain or '(plain)'}: {right:.3f}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure and print the table."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--target", default="x86-64-linux")
    asked.add_argument("--only", choices=sorted(MODELS))
    asked.add_argument("--json", action="store_true")
    args = asked.parse_args()
    profile = load_profile(args.target, folders=target_folders(environment=os.environ))
    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (path, data) in MODELS.items():
            if args.only not in (None, name):
                continue
            work = Path(scratch) / name
            work.mkdir()
            model = to_float_tflite(open_model(args.data / path), work, progress=Silent(), batch=1)
            rows += measured(model, name, PLANS, args.data / data, profile)
            if name == "resnet8":
                whole = profile.precision.model_copy(update={"granularity": "per_tensor"})
                other = Path(scratch) / "unlike"
                other.mkdir()
                (other / "float.tflite").write_bytes(unlike(model.path.read_bytes()))
                broken = replace(model, path=other / "float.tflite")
                narrowed = profile.model_copy(update={"precision": whole})
                rows += measured(broken, "unlike", UNLIKE, args.data / data, narrowed)
    if args.json:
        print(json.dumps(rows))
        return
    print("| model | recipe | chain | top-1 | as the float model | file | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name, recipe, chain, right, agreed, size, seconds in rows:
        said = chain or "plain"
        print(f"| {name} | {recipe} | {said} | {right:.1%} | {agreed:.1%} | {size:,} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
