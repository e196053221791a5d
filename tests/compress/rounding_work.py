"""Work for methods that need no training, as tests of them give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.methods import step_of
from edgeship.compress.samples import Samples
from edgeship.compress.work import Work
from edgeship.tflite.flat import parse


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
