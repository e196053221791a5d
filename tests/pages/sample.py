"""A document as a search over a ResNet-8 leaves it: twenty candidates, with what such candidates are like."""

from __future__ import annotations

import hashlib
import math
from typing import Any

HELD_OUT, EVALUATED, FLOAT = 2000, 1000, 77.9
NO = {"unavailable": "not asked for"}

ROWS: tuple[tuple[str, float, int, int, float, float, int, float, bool], ...] = (
    # name, top1 held-out, file, download, ms, zeros, unique weights, seconds, rung of the ladder
    ("float", 77.6, 318_200, 287_900, 1.91, 0.0, 71_208, 4, False),
    ("dynamic_wi8_afp32", 77.5, 104_800, 76_200, 1.44, 0.006, 255, 5, False),
    ("float16", 77.6, 161_900, 139_600, 1.93, 0.0, 24_310, 4, False),
    ("static_wi8_ai16", 77.5, 101_600, 78_100, 2.88, 0.006, 255, 9, False),
    ("static_wi8_ai8", 75.9, 99_600, 71_800, 0.71, 0.007, 255, 8, True),
    ("equalise+static_wi8_ai8", 76.3, 99_600, 72_400, 0.71, 0.006, 255, 14, False),
    ("rounding+static_wi8_ai8", 76.7, 99_600, 72_100, 0.71, 0.007, 255, 66, True),
    ("qat-int8+static_wi8_ai8", 77.4, 99_600, 72_300, 0.71, 0.007, 255, 214, True),
    ("finetune+static_wi8_ai8", 76.2, 99_600, 71_900, 0.71, 0.007, 255, 203, False),
    ("static_wi4_ai8", 46.9, 63_900, 31_700, 3.12, 0.094, 15, 9, False),
    ("rounding+static_wi4_ai8", 68.2, 63_900, 32_000, 3.12, 0.091, 15, 71, False),
    ("qat-int4+static_wi4_ai8", 72.8, 63_900, 31_900, 3.12, 0.102, 15, 231, True),
    ("prune-50+static_wi8_ai8", 76.8, 99_600, 49_900, 0.71, 0.502, 255, 206, True),
    ("prune-65+static_wi8_ai8", 75.7, 99_600, 40_300, 0.71, 0.651, 255, 207, True),
    ("prune-80+static_wi8_ai8", 71.9, 99_600, 28_800, 0.71, 0.801, 255, 209, True),
    ("cluster-16+static_wi8_ai8", 76.4, 99_600, 36_700, 0.71, 0.044, 16, 221, True),
    ("prune-65+cluster-16+static_wi8_ai8", 74.9, 99_600, 31_300, 0.71, 0.652, 17, 229, True),
    ("prune-channels-30+qat-int8+static_wi8_ai8", 74.1, 62_400, 43_100, 0.48, 0.008, 255, 236, True),
    ("prune-channels-50+qat-int8+static_wi8_ai8", 69.3, 41_200, 25_900, 0.33, 0.009, 255, 228, True),
    ("prune-channels-30+prune-50+cluster-16+static_wi8_ai8", 72.2, 62_400, 20_100, 0.48, 0.506, 17, 251, True),
)  # fmt: skip
CHOSEN = "cluster-16+static_wi8_ai8"


def digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


def measured(value: float, count: int, reference: float) -> dict[str, Any]:
    """A share of samples with its Wilson interval."""
    share, z = value / 100, 1.96
    centre, below = share + z * z / (2 * count), 1 + z * z / count
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return {
        "value": value,
        "low": 100 * (centre - spread) / below,
        "high": 100 * (centre + spread) / below,
        "float": reference,
        "drop": round(reference - value, 3),
        "count": count,
    }


def layer_entry(index: int, layer: str, cost: float | None) -> dict[str, Any]:
    """What one layer loses; nothing is known of one that there was no time for."""
    no = {"unavailable": "there was no time for it: --minutes gives more"}
    outlier = {
        "kind": "range-outlier", "figure": 9.3, "command": "edgeship compress m.h5 --target host --method qat-int8",
        "words": "its largest value is 9.3 times the 99.9th percentile",
    }  # fmt: skip
    return {
        "index": index,
        "op": "CONV_2D" if "conv" in layer else "FULLY_CONNECTED",
        "layer": layer,
        "alone_drop": no if cost is None else cost,
        "alone_snr_db": no if cost is None else round(20 - 10 * math.log10(cost), 1),
        "back_drop": no if cost is None else round(cost * 0.8, 2),
        "back_snr_db": no if cost is None else round(3 * cost, 1),
        "causes": [outlier] if cost and cost > 0.5 else [],
    }


def step(label: str, seconds: float) -> dict[str, Any]:
    method = label.rsplit("-", 1)[0]
    return {
        "label": label,
        "method": method,
        "settings": {"epochs": 6, "rate": 0.0005, "share": 0.5} if seconds > 100 else {"passes": 2},
        "seed": 0,
        "data": {"train": digest("train")} if seconds > 20 else {"calibration": digest("calibration")},
        "figures": {"held-out loss": 0.214},
        "seconds": seconds,
        "notes": ["zeros make the download smaller, neither the file nor the time"]
        if label.startswith("prune-") and "channels" not in label
        else [],
    }


def candidate(row: tuple[str, float, int, int, float, float, int, float, bool]) -> dict[str, Any]:
    name, top1, file, download, ms, zeros, values, seconds, rung = row
    *labels, recipe = name.split("+")
    admitted = top1 >= 77.6 - 2
    control = "finetune" in name
    return {
        "name": name,
        "recipe": recipe,
        "candidate": digest(name),
        "file": f"{name}.tflite" if rung else {"unavailable": "it is no rung of the ladder"},
        "steps": [step(label, round(seconds / len(labels), 1)) for label in labels],
        "bytes": file,
        "bytes_compressed": download,
        "sha256": digest(f"{name} file"),
        "parameters": 77_850,
        "sparsity": zeros,
        "expected_loss": 0.4,
        "unique_weights": values,
        "metric": {
            "name": "top1",
            "higher_is_better": True,
            "drop_unit": "points",
            "held_out": measured(top1, HELD_OUT, 77.6),
            "evaluation": measured(round(top1 + 0.4 - (file % 7) / 10, 1), EVALUATED, FLOAT)
            if rung or control or not labels
            else {"unavailable": "only the ladder, plain recipes and controls are evaluated"},
        },
        "agreement": {"argmax": round(top1 / 80, 3), "cosine": 0.982},
        "latency_ms": {"cold": ms * 1.8, "p50": ms, "p95": ms * 1.2},
        "peak_rss_mb": round(9 + file / 100_000, 1),
        "pareto": rung,
        "control": control,
        "admitted": admitted,
        "gates": [
            {
                "name": "max_drop",
                "verdict": "pass" if admitted else "fail",
                "limit": 2.0,
                "value": round(77.6 - top1, 2),
                "reason": f"top1 falls by {77.6 - top1:.1f} points; at most 2.0 are allowed",
            }
        ],
        "seconds": seconds,
    }


def document() -> dict[str, Any]:
    """A whole `edgeship.compress/1`."""
    variants = [candidate(row) for row in ROWS]
    layers = ("conv2d", *(f"block{b}/conv{c}" for b in (1, 2, 3) for c in (1, 2, "_skip")), "dense")
    costs = (0.9, 0.1, 0.05, 0.1, 0.2, 0.1, 0.4, 0.3, 0.2, 0.1, None)
    return {
        "schema": "edgeship.compress/1",
        "edgeship": "0.9.0",
        "machine": "x86_64, 2 cores, LiteRT 2.3.0",
        "tools": {"ai-edge-quantizer": "0.10.0", "tensorflow": "2.19.1"},
        "model": {"path": "resnet8.keras", "sha256": digest("model")},
        "target": "raspberry-pi-4",
        "chosen": f"{CHOSEN}.tflite",
        "reason": f"{CHOSEN} has the smallest download of those that meet the goals: 36.7 kB, 1.2 points below float",
        "bundle": "resnet8-raspberry-pi-4.esb",
        "model_file": {"unavailable": "the model is in the bundle"},
        "prefer": "download",
        "goals": {"max_drop": 2.0, "max_kb": NO, "max_download_kb": 60.0, "max_ms": 1.5, "max_rss_mb": NO},
        "data": [
            {"role": "train", "reference": "cifar/train.npz", "sha256": digest("train"), "count": 8000},
            {
                "role": "calibration",
                "reference": "cifar/calib.npz",
                "sha256": digest("calibration"),
                "count": 500,
            },
            {
                "role": "held_out",
                "reference": "2000 of cifar/train.npz",
                "sha256": digest("held"),
                "count": HELD_OUT,
            },
            {
                "role": "evaluation",
                "reference": "cifar/eval.npz",
                "sha256": digest("evaluation"),
                "count": EVALUATED,
            },
        ],
        "chosen_by": "labels of 2000 of cifar/train.npz; evaluation data chose nothing",
        "variants": variants,
        "control": next(v for v in variants if v["control"]),
        "sensitivity": {
            "recipe": "static_wi8_ai8",
            "samples": 200,
            "drop": 2.0,
            "snr_db": 19.5,
            "looked_at": len(layers) - 1,
            "layers": [
                layer_entry(index, layer, cost)
                for index, (layer, cost) in enumerate(zip(layers, costs, strict=True))
            ],
        },
        "failed": [
            {"candidate": "nm-2-4+static_wi8_ai8", "reason": "conv2d has 3 input channels, no multiple of 4"}
        ],
        "left": ["distill-50+static_wi8_ai8"],
        "passed_over": ["prune-90+static_wi8_ai8", "cluster-4+static_wi8_ai8"],
        "tried": len(variants) + 1,
        "seconds": 2416.0,
    }
