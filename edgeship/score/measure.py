"""Artifacts -> scorecards: metric and agreement beside the float model, latency and memory, each from
workers.

Outputs of all models come from one worker; if it dies, each model gets its own, so a crash costs one figure
and not the run. Latency and memory are measured one model at a time, each in a fresh process, so that they do
not disturb one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress, Silent
from edgeship.score.metrics import METRICS, Unfit, automatic, check_metric, is_own
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import (
    Agreement,
    Artifact,
    Dataset,
    Figure,
    FloatModel,
    Goals,
    Latency,
    Metric,
    Scorecard,
    Unavailable,
)

OUTPUTS = "edgeship.score.worker:outputs"
LATENCY = "edgeship.score.worker:latency"
OWN_METRIC = "edgeship.score.worker:own_metric"
FLOAT = "float"
"""Name of the float model among the models that are run."""


@dataclass(frozen=True, slots=True)
class _Ran:
    """Where the outputs of the models are, or why there are none."""

    folder: Path
    counts: dict[str, int]
    failed: dict[str, str]

    def path(self, name: str, output: int = 0) -> Path:
        return self.folder / f"{name}.{output}.npy"


def score(
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    evaluation: Dataset | None,
    prepared_npy: Path | None,
    goals: Goals,
    *,
    progress: Progress | None = None,
    limits: WorkerLimits | None = None,
) -> tuple[Scorecard, ...]:
    """Return one scorecard per artifact, in order.

    `prepared_npy` holds float32 samples in model units: the evaluation set's, or where there is none any
    others (the calibration samples), for agreement alone. What could not be had is Unavailable with its
    reason: a metric without labels, a model that failed to run. Raises InputError for a metric that is not
    known or of the user's own that fails.
    """
    show = progress or Silent()
    bounds = limits or WorkerLimits()
    name = check_metric(goals.metric)
    with tempfile.TemporaryDirectory(prefix="edgeship-score-") as folder:
        ran = _run_all(artifacts, float_model, prepared_npy, Path(folder), show, bounds)
        metrics = _metrics(name, artifacts, ran, evaluation, show, bounds)
        agreements = [_agreement(artifact, ran) for artifact in artifacts]
    cards = []
    for artifact, metric, agreement in zip(artifacts, metrics, agreements, strict=True):
        latency, memory = _latency(artifact, prepared_npy, show, bounds)
        cards.append(
            Scorecard(
                artifact_sha256=artifact.sha256,
                evaluation_sha256=evaluation.info.sha256 if evaluation else None,
                metric=metric,
                agreement=agreement,
                latency_ms=latency,
                peak_rss_mb=memory,
            )
        )
    return tuple(cards)


def _run_all(
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    samples: Path | None,
    folder: Path,
    progress: Progress,
    limits: WorkerLimits,
) -> _Ran:
    """Return the outputs of the float model and of every artifact."""
    models = [(FLOAT, float_model.path), *((a.sha256, a.path) for a in artifacts)]
    if samples is None:
        return _Ran(folder, {}, dict.fromkeys((name for name, _ in models), "no samples were given"))
    said = {FLOAT: "the float model", **{a.sha256: a.recipe for a in artifacts}}
    jobs = [
        {"name": name, "said": said[name], "path": str(path), "out": str(folder / name)}
        for name, path in dict(models).items()
    ]
    payload = {"samples": str(samples), "models": jobs}
    try:
        value = run_worker(OUTPUTS, payload, limits=limits, progress=progress).value
        return _Ran(folder, value["outputs"], value["failed"])
    except EdgeshipError:
        progress.note("a model took the worker down: running each model by itself")
    counts: dict[str, int] = {}
    failed: dict[str, str] = {}
    for job in jobs:
        try:
            value = run_worker(OUTPUTS, {**payload, "models": [job]}, limits=limits, progress=progress).value
            counts |= value["outputs"]
            failed |= value["failed"]
        except EdgeshipError as error:
            failed[job["name"]] = error.message
    return _Ran(folder, counts, failed)


def _metrics(
    name: str,
    artifacts: Sequence[Artifact],
    ran: _Ran,
    evaluation: Dataset | None,
    progress: Progress,
    limits: WorkerLimits,
) -> list[Metric]:
    """Return the metric of every artifact beside the float model's."""
    import numpy as np

    higher = METRICS[name].higher_is_better if name in METRICS else name != "mse"
    if evaluation is None or evaluation.y_path is None:
        why = "no evaluation set was given" if evaluation is None else "the evaluation set has no labels"
        none = Unavailable(reason=why)
        return [_metric("accuracy" if name == "auto" else name, none, none, higher) for _ in artifacts]
    labels = np.load(evaluation.y_path)
    if name == "auto":
        name = automatic(np.load(ran.path(FLOAT), mmap_mode="r"), labels) if FLOAT in ran.counts else "top1"
        higher = METRICS[name].higher_is_better
    values: dict[str, Figure] = {model: Unavailable(reason=why) for model, why in ran.failed.items()}
    if is_own(name):
        outputs = {model: str(ran.path(model)) for model in ran.counts}
        payload = {"metric": name, "labels": str(evaluation.y_path), "outputs": outputs}
        value = _own_metric(name, payload, limits, progress)
        values |= value["values"]
        higher = bool(value["higher_is_better"])
    else:
        values |= {model: _value(name, np.load(ran.path(model)), labels) for model in ran.counts}
    return [_metric(name, values[a.sha256], values[FLOAT], higher) for a in artifacts]


def _own_metric(
    name: str, payload: dict[str, Any], limits: WorkerLimits, progress: Progress
) -> dict[str, Any]:
    """Return what the worker says of the user's metric; a metric that takes its process down is to blame itself."""
    try:
        return dict(run_worker(OWN_METRIC, payload, limits=limits, progress=progress).value)
    except InputError:
        raise
    except EdgeshipError as error:
        raise InputError(
            "metric-own-failed",
            f"{name} did not come back: {error.message.removeprefix(OWN_METRIC).strip()}",
            context=error.context,
            hint="call it alone on small arrays: callable(outputs, labels) returns one number",
        ) from None


def _value(name: str, outputs: Any, labels: Any) -> Figure:
    """Return a built-in metric, or why it cannot be computed."""
    import numpy as np

    if not np.isfinite(outputs).all():
        return Unavailable(reason="the model answers with NaN or infinity")
    try:
        return METRICS[name].compute(outputs, labels)
    except Unfit as why:
        return Unavailable(reason=str(why))


def _metric(name: str, value: Figure, float_value: Figure, higher: bool) -> Metric:
    drop: Figure
    if isinstance(value, Unavailable):
        drop = value
    elif isinstance(float_value, Unavailable):
        drop = Unavailable(reason=f"float model: {float_value.reason}")
    else:
        drop = float_value - value if higher else value - float_value
    return Metric(name=name, value=value, float_value=float_value, drop=drop, higher_is_better=higher)


def _agreement(artifact: Artifact, ran: _Ran) -> Agreement:
    """Return how near an artifact's outputs are to the float model's; argmax from the first output, others
    from all.
    """
    import numpy as np

    from edgeship.score import compare

    for name, who in ((artifact.sha256, ""), (FLOAT, "float model: ")):
        if name not in ran.counts:
            why = Unavailable(reason=who + ran.failed.get(name, "it was not run"))
            return Agreement(argmax=why, cosine=why, max_abs=why)
    pairs = [
        (np.load(ran.path(artifact.sha256, k)), np.load(ran.path(FLOAT, k))) for k in range(ran.counts[FLOAT])
    ]
    if any(one.shape != other.shape for one, other in pairs):
        why = Unavailable(reason="outputs differ in shape from the float model's")
        return Agreement(argmax=why, cosine=why, max_abs=why)
    if not all(np.isfinite(one).all() and np.isfinite(other).all() for one, other in pairs):
        why = Unavailable(reason="outputs hold NaN or infinity")
        return Agreement(argmax=why, cosine=why, max_abs=why)
    argmax: Figure = Unavailable(reason="the first output is no list of class scores")
    if compare.has_classes(pairs[0][0]):
        argmax = compare.argmax_share(*pairs[0])
    return Agreement(
        argmax=argmax,
        cosine=float(min(compare.cosines(one, other).min() for one, other in pairs)),
        max_abs=max(compare.max_abs(one, other) for one, other in pairs),
    )


def _latency(
    artifact: Artifact, samples: Path | None, progress: Progress, limits: WorkerLimits
) -> tuple[Latency, Figure]:
    """Return latency (milliseconds) and peak memory (MiB) of one artifact alone in a fresh process."""
    payload = {
        "name": artifact.recipe,
        "path": str(artifact.path),
        "samples": str(samples) if samples else None,
    }
    try:
        value = run_worker(LATENCY, payload, limits=limits, progress=progress).value
    except InputError:
        raise
    except EdgeshipError as error:
        why = Unavailable(reason=error.message)
        return Latency(cold=why, p50=why, p95=why), why
    memory = value["peak_rss_mb"]
    return (
        Latency(cold=value["cold"], p50=value["p50"], p95=value["p95"]),
        Unavailable(reason="/proc/self/status cannot be read here") if memory is None else float(memory),
    )
