"""What calibration samples, evaluation samples and weights show of each operation: `evidence_of(...)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeship.progress import Progress
from edgeship.quantize.observe import Observation, narrowed
from edgeship.tflite.reader import read_tflite
from edgeship.tflite.weights import constant, layers_of
from edgeship.toolchain import run_worker
from edgeship.values import Evidence, PreparedSamples

WORKER = "edgeship.quantize.evidence:gather"
DEAD = 1e-6
"""Largest weight of a channel over the largest of the layer, below which it gives a constant."""
CHANCE = 4.0
"""Over the number of values seen in calibrating: the share of others of the same kind that lies outside by chance (of
both ends 2 are expected, values of one sample go together)."""
USUAL = 0.999
"""Of magnitudes: what lies beyond is an outlier."""


def evidence_of(
    model: Path,
    calibration: PreparedSamples,
    evaluation: PreparedSamples | None,
    one_scale: tuple[str, ...],
    progress: Progress,
) -> dict[int, Evidence]:
    """Return what was seen of every operation, by its index. Raises what `run_worker` raises."""
    payload = {
        "model": str(model),
        "calibration": [str(path) for path in calibration.paths],
        "evaluation": [str(path) for path in evaluation.paths] if evaluation else None,
        "one_scale": list(one_scale),
    }
    value = run_worker(WORKER, payload, progress=progress).value
    return {told["index"]: Evidence(**told) for told in value}


def gather(payload: dict[str, Any], report: Any) -> list[dict[str, Any]]:
    """The worker's side: see `evidence_of`."""
    from ai_edge_litert.tools import flatbuffer_utils

    from edgeship.quantize.finish import constants_of
    from edgeship.quantize.observe import observe

    path = Path(payload["model"])
    content = path.read_bytes()
    constants = constants_of(flatbuffer_utils.read_model_from_bytearray(bytearray(content)))

    def seen(role: str) -> Observation | None:
        if payload[role] is None:
            return None
        report(f"looking at the {role} samples")
        return observe(
            content, [Path(p) for p in payload[role]], constants, lambda a, b: report("samples", a, b)
        )

    usual, met = seen("calibration"), seen("evaluation")
    assert usual is not None
    file = read_tflite(path)
    graph = file.main
    layers = {layer.operator.index: layer for layer in layers_of(graph)}
    found = []
    for op in graph.operators:
        told: dict[str, Any] = {"index": op.index}
        tensor = usual.tensors.get(op.outputs[0]) if op.outputs else None
        if tensor is not None and tensor.high > tensor.low:
            told["outlier"] = _outlier(tensor.low, tensor.high, tensor.histogram)
            told |= _against(tensor, met.tensors.get(op.outputs[0]) if met else None)
        if op.op == "CONCATENATION":
            told["parts"] = _parts(usual, op.inputs)
        if op.index in layers:
            layer = layers[op.index]
            told |= _channels(np.asarray(constant(file, layer.weight)), layer.axis)
            told["per_tensor"] = op.op in payload["one_scale"]
        found.append(told)
    return found


def _outlier(low: float, high: float, histogram: np.ndarray[Any, Any]) -> float:
    """Return the largest magnitude over the USUAL one of a histogram over [low, high]."""
    if not histogram.any():
        return 1.0
    edges = np.linspace(low, high, len(histogram) + 1)
    sizes = np.maximum(np.abs(edges[:-1]), np.abs(edges[1:]))
    order = np.argsort(sizes)
    reached = np.cumsum(histogram[order]) / histogram.sum()
    usual = float(sizes[order][int(np.searchsorted(reached, USUAL))])
    return max(abs(low), abs(high)) / max(usual, 1e-12)


def _against(usual: Any, met: Any) -> dict[str, float]:
    """Return how evaluation samples lie in the range that calibration samples gave a tensor."""
    if met is None or not met.high > met.low:
        return {}
    bottom, top = (
        (usual.low, usual.high) if usual.is_boundary else narrowed(usual.low, usual.high, usual.histogram)
    )
    beyond = max(abs(met.low), abs(met.high)) / max(abs(usual.low), abs(usual.high), 1e-12)
    if not met.histogram.any():
        return {"beyond": beyond}
    edges = np.linspace(met.low, met.high, len(met.histogram) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    step = (top - bottom) / 255
    outside = (centres < bottom - step) | (centres > top + step)
    chance = CHANCE / max(float(usual.histogram.sum()), 1.0)
    share = float(met.histogram[outside].sum() / met.histogram.sum())
    return {"beyond": beyond, "clipped": max(0.0, share - chance)}


def _parts(seen: Observation, inputs: tuple[int, ...]) -> float:
    sizes = [max(abs(t.low), abs(t.high)) for i in inputs if (t := seen.tensors.get(i)) is not None]
    sizes = [size for size in sizes if size > 0]
    return max(sizes) / min(sizes) if len(sizes) > 1 else 1.0


def _channels(weight: np.ndarray[Any, Any], axis: int) -> dict[str, float]:
    sizes = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    alive = sizes[sizes > DEAD * sizes.max(initial=0.0)]
    ratio = float(alive.max() / np.median(alive)) if alive.size else 1.0
    return {"channels": ratio, "dead": int(sizes.size - alive.size), "of_channels": int(sizes.size)}
