"""Work for methods that need no training, as tests of them give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.equalise import pairs_of
from edgeship.compress.methods import step_of
from edgeship.compress.samples import Samples
from edgeship.compress.work import Work
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import constant, with_weights
from edgeship.values import Step

Array = np.ndarray[Any, Any]


def samples_for(content: bytes, count: int, seed: int = 5) -> Samples:
    """Return random samples for every input of a model, those of integers below 8."""
    graph, random = parse(Path("m.tflite"), content, "").main, np.random.default_rng(seed)
    inputs = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        value = random.random((count, *tensor.shape[1:])) * (1 if tensor.dtype == "float32" else 8)
        inputs.append(value.astype(tensor.dtype))
    return Samples(tuple(inputs), None, np.arange(count))


def work_for(content: bytes, label: str, samples: Samples | None, **more: Any) -> Work:
    """Return the work of one step on a model that nothing was done to."""
    told: dict[str, Any] = {
        "content": content,
        "step": step_of(label),
        "before": (),
        "original": content,
        "recipe": "static_wi4_ai8" if label.endswith("int4") else "static_wi8_ai8",
        "train": samples,
        "held_out": None,
        "calibration": None,
    }
    return Work(**(told | more))


def step(label: str) -> Step:
    return step_of(label)


def unlike(content: bytes, seed: int = 3) -> bytes:
    """Return the same function with channels of very unlike size: the first of each pair times s, the second by s."""
    file = parse(Path("m.tflite"), content, "")
    factors = np.random.default_rng(seed)
    values: dict[int, Array] = {}

    def value(index: int) -> Array:
        return values.setdefault(index, constant(file, index).copy())

    for pair in pairs_of(file):
        if pair.cut or pair.second.operator.op != "CONV_2D" or pair.first.operator.op != "CONV_2D":
            continue
        if file.main.tensors[pair.second.weight].shape[3] != pair.channels:
            continue
        s = np.exp(factors.uniform(-3, 3, pair.channels)).astype(np.float32)
        value(pair.first.weight)[...] *= s[:, None, None, None]
        if pair.first.bias is not None:
            value(pair.first.bias)[...] *= s
        value(pair.second.weight)[...] /= s
    return with_weights(content, values)
