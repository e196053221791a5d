"""Where training runs: a GPU where TensorFlow sees one, else the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping


def training_environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what `run_worker` puts into the environment of a worker that trains.

    Workers see no GPU as a rule. This one sees those that CUDA_VISIBLE_DEVICES of our own environment names, else the
    first, and takes its memory as it needs it, so that a second worker finds room. On the CPU it has the kernels of
    oneDNN: a training step takes about a third less time, and its last digits differ between processors.
    """
    return {
        "CUDA_VISIBLE_DEVICES": own.get("CUDA_VISIBLE_DEVICES", "0"),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_ENABLE_ONEDNN_OPTS": own.get("TF_ENABLE_ONEDNN_OPTS", "1"),
    }
