"""What `edgeship compress` makes of KWS and ResNet-8, beside plain int8, MLPerf's own int8 file and the control.

    python -m benchmarks.compression --data ../shared/data [--only kws] [--minutes 60] [--keep DIR] [--json]

Every figure is of the command itself, as it is typed: the training data is trained on and chosen by (a part held out),
`eval.npz` is looked at at the end. `download` is the file packed as bundles are; its ratio is to plain int8's. The
control is the model fine-tuned with the same loss, and not compressed. `int4` is the plain recipe of 4-bit weights.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model and what is tried on it."""

    model: str
    folder: str
    chains: tuple[str, ...]


CASES = {
    "kws": Case(
        model="kws/saved_model",
        folder="kws",
        chains=(
            "cluster-16,steps=1000",
            "cluster-12,steps=1000",
            "finetune",
        ),
    ),
    "resnet8": Case(
        model="cifar10/resnet8.h5",
        folder="cifar10",
        chains=(
            "cluster-7,epochs=30",
            "low-rank-50+distill,epochs=60,rate=0.0003+qat-int8",
            "low-rank-25+distill,epochs=30,rate=0.0003+qat-int4,epochs=12",
            "channels-25+distill,epochs=40,rate=0.0003+qat-int8",
            "round-int4+qat-int4,epochs=12",
            "finetune,epochs=30",
        ),
    ),
}


def compressed(data: Path, case: Case, minutes: float, out: Path) -> tuple[dict[str, Any], float]:
    """Return (the document of a search, its seconds)."""
    folder = data / case.folder
    command = [
        sys.executable, "-m", "edgeship", "compress", str(data / case.model), "--target", "host",
        "--train", str(folder / "train.npz"), "--calibration", str(folder / "calibration.npz"),
        "--eval", str(folder / "eval.npz"), "--recipe", "int8", "--recipe", "int4",
        "--minutes", str(minutes), "--json", "-o", str(out),
    ]  # fmt: skip
    for chain in case.chains:
        command += ["--method", chain]
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"edgeship compress ended with {done.returncode}")
    return json.loads(done.stdout), time.monotonic() - begun


def mlperf(path: Path, samples: Path) -> dict[str, Any]:
    """Return bytes, download and top-1 of MLPerf's own int8 file."""
    from ai_edge_litert.interpreter import Interpreter

    content, held = path.read_bytes(), np.load(samples)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = entry["quantization"]
    right = 0
    for x, y in zip(held["x"], held["y"], strict=True):
        stored = np.clip(np.rint(x.astype(np.float32) / scale + zero), -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], stored[None])
        interpreter.invoke()
        right += int(interpreter.get_tensor(out["index"]).argmax()) == int(y)
    download = len(gzip.compress(content, 6, mtime=0))
    return {"bytes": len(content), "download": download, "top1": 100 * right / len(held["y"])}


def rows_of(document: dict[str, Any], peer: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table, plain int8 first."""
    plain = next(v for v in document["variants"] if not v["steps"])
    whole = plain["bytes_compressed"]
    rows = []
    for variant in document["variants"]:
        held, seen = variant["metric"]["held_out"], variant["metric"]["evaluation"]
        rows.append(
            [
                variant["name"] + (" (control)" if variant["control"] else ""),
                f"{variant['bytes']:,}",
                f"{variant['bytes_compressed']:,}",
                f"{variant['bytes_compressed'] / whole:.2f}",
                f"{held['value']:.2f}",
                f"{seen['value']:.2f}" if "value" in seen else "",
                f"{variant['latency_ms']['p50'] / plain['latency_ms']['p50']:.2f}",
                f"{variant['sparsity']:.0%}",
                f"{variant['unique_weights']}",
                f"{sum(step['seconds'] for step in variant['steps']):.0f}",
            ]
        )
    rows.append(
        ["MLPerf's int8", f"{peer['bytes']:,}", f"{peer['download']:,}", f"{peer['download'] / whole:.2f}", "",
         f"{peer['top1']:.2f}", "", "", "", ""]
    )  # fmt: skip
    return rows


HEADER = [
    "candidate",
    "bytes",
    "download",
    "ratio",
    "held-out",
    "evaluation",
    "time",
    "zeros",
    "values",
    "train s",
]


def main() -> int:
    """Run the cases and print a table each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--keep", type=Path, help="folder for what is made; a later run goes on from it")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="edgeship-compression-") as folder:
        work = arguments.keep or Path(folder)
        os.environ["EDGESHIP_CACHE"] = str(work / "cache")
        for name, case in CASES.items():
            if arguments.only not in (None, name):
                continue
            document, seconds = compressed(arguments.data, case, arguments.minutes, work / name)
            data = arguments.data / case.folder
            peer = mlperf(data / "mlperf_int8.tflite", data / "eval.npz")
            found[name] = {"document": document, "mlperf": peer, "seconds": seconds}
            if not arguments.json:
                print(
                    f"\n{name}: {len(document['variants'])} candidates in {seconds:.0f} s; {document['reason']}\n"
                )
                print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
                print("\n".join("| " + " | ".join(row) + " |" for row in rows_of(document, peer)))
    if arguments.json:
        print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
