"""How many candidates fit side by side on this machine: `jobs_here`."""

from __future__ import annotations

import os
from pathlib import Path

WORKER_BYTES = 1_500_000_000
"""Resident memory of a worker that trains a small model with TensorFlow: 0.7 to 1.2 GB were measured."""
PER_MODEL = 24
"""Times the model's own size besides: weights, gradients, two moments of Adam, the teacher, copies under way."""
CORES = 2
"""What one training makes use of."""


def jobs_here(model_bytes: int) -> int:
    """Return how many trainings of a model of that size fit into the cores and the free memory, one at least."""
    cores = len(os.sched_getaffinity(0))
    fitting = free_bytes() // (WORKER_BYTES + PER_MODEL * model_bytes)
    return max(1, min(cores // CORES, fitting))


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory that can be had without swapping; 0 where the system does not tell."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
