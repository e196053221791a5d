"""Outputs of all models on the same samples: `run_all(...)`, from one worker, or from one each where that one died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeship.errors import EdgeshipError
from edgeship.progress import Progress
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import Artifact, FloatModel, PreparedSamples

OUTPUTS = "edgeship.score.worker:outputs"
FLOAT = "float"
"""Name of the float model among the models that are run."""
CAME_QUANTIZED = "the model came quantized; its float original is not known"


@dataclass(frozen=True, slots=True)
class Ran:
    """Where the outputs of the models are, or why there are none."""

    folder: Path
    counts: dict[str, int]
    failed: dict[str, str]

    def path(self, name: str, output: int = 0) -> Path:
        """Return the file of a model's output, `[n, ...]` float32."""
        return self.folder / f"{name}.{output}.npy"

    @property
    def reference(self) -> str | None:
        """The model whose outputs tell what outputs look like: the float one where it ran, else the first."""
        return FLOAT if FLOAT in self.counts else next(iter(self.counts), None)


def run_all(
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    samples: PreparedSamples | None,
    folder: Path,
    progress: Progress,
    limits: WorkerLimits,
) -> Ran:
    """Return the outputs of the float model (where there is one) and of every artifact."""
    models = [(FLOAT, float_model.path), *((a.sha256, a.joined or a.path) for a in artifacts)]
    if samples is None:
        return Ran(folder, {}, dict.fromkeys((name for name, _ in models), "no samples were given"))
    said = {FLOAT: "the float model", **{a.sha256: a.name for a in artifacts}}
    jobs = [
        {"name": name, "said": said[name], "path": str(path), "out": str(folder / name)}
        for name, path in dict(models).items()
        if name != FLOAT or float_model.is_float
    ]
    none = {} if float_model.is_float else {FLOAT: CAME_QUANTIZED}
    payload = {"samples": [str(path) for path in samples.paths], "models": jobs}
    try:
        value = run_worker(OUTPUTS, payload, limits=limits, progress=progress).value
        return Ran(folder, value["outputs"], value["failed"] | none)
    except EdgeshipError:
        progress.note("a model took the worker down: running each model by itself")
    counts: dict[str, int] = {}
    failed: dict[str, str] = dict(none)
    for job in jobs:
        try:
            value = run_worker(OUTPUTS, {**payload, "models": [job]}, limits=limits, progress=progress).value
            counts |= value["outputs"]
            failed |= value["failed"]
        except EdgeshipError as error:
            failed[job["name"]] = error.message
    return Ran(folder, counts, failed)
