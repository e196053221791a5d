"""Artifacts -> scorecards: metric and agreement beside the float model, latency and memory, each from
workers.

Outputs of all models come from one worker; if it dies, each model gets its own, so a crash costs one figure
and not the run. Latency and memory are measured one model at a time, each in a fresh process, so that they do
not disturb one another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress, Silent
from edgeship.score.metrics import check_metric
from edgeship.score.runs import CAME_QUANTIZED, FLOAT, Ran, run_all
from edgeship.score.task import Task, task_of
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import (
    Agreement,
    Artifact,
    Dataset,
    Figure,
    FloatModel,
    Goals,
    Latency,
    OutputPart,
    PreparedSamples,
    Scorecard,
    Unavailable,
)

LATENCY = "edgeship.score.worker:latency"


def score(
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    evaluation: Dataset | None,
    prepared: PreparedSamples | None,
    goals: Goals,
    *,
    progress: Progress | None = None,
    limits: WorkerLimits | None = None,
) -> tuple[Scorecard, ...]:
    """Return one scorecard per artifact, in order.

    `prepared` holds samples in model units: the evaluation set's, or where there is none any
    others (the calibration samples), for agreement alone. What could not be had is Unavailable with its
    reason: a metric without labels, a model that failed to run, a drop of a model that came quantized. Raises
    InputError for a metric that is not known or of the user's own that fails.
    """
    show = progress or Silent()
    bounds = limits or WorkerLimits()
    check_metric(goals.metric)
    with tempfile.TemporaryDirectory(prefix="edgeship-score-") as folder:
        ran = run_all(artifacts, float_model, prepared, Path(folder), show, bounds)
        task = task_of(goals, artifacts, float_model, ran, evaluation, show, bounds)
        agreements = [_agreement(artifact, float_model, ran, task) for artifact in artifacts]
    cards = []
    for artifact, metric, (agreement, ties) in zip(artifacts, task.metrics, agreements, strict=True):
        latency, memory = _latency(artifact, prepared, show, bounds)
        cards.append(
            Scorecard(
                artifact_sha256=artifact.sha256,
                evaluation_sha256=evaluation.info.sha256 if evaluation else None,
                metric=metric,
                agreement=agreement,
                latency_ms=latency,
                peak_rss_mb=memory,
                near_ties=ties,
            )
        )
    return tuple(cards)


def _agreement(artifact: Artifact, float_model: FloatModel, ran: Ran, task: Task) -> tuple[Agreement, float]:
    """Return how near an artifact's outputs are to the float model's, and the share of samples that are near ties;
    both of classes from the output that labels are for, the others from all.
    """
    import numpy as np

    from edgeship.score import compare

    for name, who in ((artifact.sha256, ""), (FLOAT, "float model: ")):
        if name not in ran.counts:
            said = ran.failed.get(name, "it was not run")
            why = Unavailable(reason=said if said == CAME_QUANTIZED else who + said)
            return Agreement(argmax=why, cosine=why, max_abs=why), 0.0
    pairs = [
        (np.load(ran.path(artifact.sha256, k)), np.load(ran.path(FLOAT, k))) for k in range(ran.counts[FLOAT])
    ]
    if any(one.shape != other.shape for one, other in pairs):
        why = Unavailable(reason="outputs differ in shape from the float model's")
        return Agreement(argmax=why, cosine=why, max_abs=why), 0.0
    if not all(np.isfinite(one).all() and np.isfinite(other).all() for one, other in pairs):
        why = Unavailable(reason="outputs hold NaN or infinity")
        return Agreement(argmax=why, cosine=why, max_abs=why), 0.0
    lists = [(one, other) for one, other in pairs if one[0].size > 1]
    cosine: Figure = Unavailable(reason="of outputs that are one number, a cosine would be their sign alone")
    if lists:
        cosine = float(min(compare.cosines(one, other).min() for one, other in lists))
    argmax, ties = _argmax(pairs, task, float_model)
    agreement = Agreement(
        argmax=argmax,
        cosine=cosine,
        max_abs=max(compare.max_abs(one, other) for one, other in pairs),
        parts=_parts(pairs, float_model),
    )
    return agreement, ties


def _parts(pairs: Sequence[tuple[Any, Any]], float_model: FloatModel) -> tuple[OutputPart, ...]:
    """Return the parts of all outputs whose places can be compared one by one."""
    from edgeship.score.parts import parts_of
    from edgeship.score.task import named_outputs
    from edgeship.tflite.reader import read_tflite
    from edgeship.tflite.tails import gives_probabilities, is_ranked

    graph = read_tflite(float_model.path).main
    names = named_outputs(float_model, len(pairs))
    told = []
    for name, index, (one, other) in zip(names, graph.outputs, pairs, strict=False):
        if graph.tensors[index].dtype.startswith("float") and not is_ranked(graph, index):
            told.append((name, one, other, gives_probabilities(graph, index)))
    return parts_of(told)


def _argmax(pairs: Sequence[tuple[Any, Any]], task: Task, float_model: FloatModel) -> tuple[Figure, float]:
    """Return the share of samples (or places) that both models put into the same class, and that of near ties."""
    from edgeship.score import compare
    from edgeship.tflite.reader import read_tflite
    from edgeship.tflite.tails import gives_probabilities

    if task.output is None and len(pairs) > 1:
        why = "the model has several outputs, and no labels tell which holds classes"
        return Unavailable(reason=why), 0.0
    one, other = pairs[task.output or 0]
    if task.cut is not None:
        return float(((one > task.cut) == (other > task.cut)).mean()), 0.0
    if task.places or compare.has_classes(one):
        one, other = (values.reshape(-1, values.shape[-1]) for values in (one, other))
        graph = read_tflite(float_model.path).main
        shares = gives_probabilities(graph, graph.outputs[task.output or 0])
        return compare.argmax_share(one, other), compare.near_ties(one, other, shares=shares)
    return Unavailable(reason="the output is no list of class scores"), 0.0


def _latency(
    artifact: Artifact, samples: PreparedSamples | None, progress: Progress, limits: WorkerLimits
) -> tuple[Latency, Figure]:
    """Return latency (milliseconds) and peak memory (MiB) of one artifact alone in a fresh process."""
    payload = {
        "name": artifact.name,
        "path": str(artifact.path),
        "samples": [str(path) for path in samples.paths] if samples else None,
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
