"""The task metric of every artifact beside the float model's: which metric, of which output, and what it dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeship.progress import Progress
from edgeship.score.metrics import METRICS, Unfit, check_metric, is_own
from edgeship.score.own import call_own, direction_line
from edgeship.score.runs import CAME_QUANTIZED, FLOAT, Ran
from edgeship.toolchain import WorkerLimits
from edgeship.values import Artifact, Dataset, DropUnit, Figure, FloatModel, Goals, Metric, Unavailable

NUMBERS = ("mse", "mae")
"""Metrics that take labels as numbers, whatever they look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The metrics in the order of the artifacts, and what labels told of the outputs."""

    metrics: tuple[Metric, ...]
    output: int | None = None
    """The output that labels are for; None: nothing tells."""
    places: bool = False
    """Whether its last axis holds the scores of classes, also where a sample has several such lists."""
    cut: float | None = None
    """Where its single number parts two classes; None: it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How drops are counted."""

    name: str
    higher: bool | None
    unit: DropUnit
    about: str


def task_of(
    goals: Goals,
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    ran: Ran,
    evaluation: Dataset | None,
    progress: Progress,
    limits: WorkerLimits,
) -> Task:
    """Return the metric of every artifact beside the float model's. Raises InputError of the user's own metric."""
    name = check_metric(goals.metric)
    if evaluation is None or evaluation.y_path is None:
        why = "no evaluation set was given" if evaluation is None else "the evaluation set has no labels"
        return _without(name, artifacts, why)
    if ran.reference is None:
        return _measured(name, artifacts, ran, {}, _way(name, ""))
    import numpy as np

    labels = np.load(evaluation.y_path)
    if is_detection(name, labels):
        return _detected("map" if name == "auto" else name, artifacts, float_model, ran, evaluation, labels)
    count = ran.counts[ran.reference]
    if is_own(name) and goals.output is None and count > 1:
        return _all_outputs(goals, artifacts, float_model, ran, evaluation, progress, limits)
    picked = _output(name, goals, float_model, ran, labels)
    if isinstance(picked, Unavailable):
        return _without(name, artifacts, picked.reason)
    output, about = picked
    if is_own(name):
        paths = {model: str(ran.path(model, output)) for model, count in ran.counts.items() if count > output}
        said = call_own(goals, {"labels": str(evaluation.y_path), "outputs": paths}, limits, progress)
        way = _Way(name=name, higher=said["higher_is_better"], unit="%", about=about)
        return _measured(name, artifacts, ran, dict(said["values"]), way, output)
    return _built_in(name, artifacts, ran, labels, output, about)


def is_detection(name: str, labels: Any) -> bool:
    """Return whether a metric is of boxes: asked for by name, or because the labels are boxes."""
    from edgeship.score.detection import DETECTION, are_boxes

    return name in DETECTION or (name == "auto" and are_boxes(labels))


def _detected(
    name: str,
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    ran: Ran,
    evaluation: Dataset,
    labels: Any,
) -> Task:
    """Return the mean average precision of every model, from all of its outputs."""
    import numpy as np

    from edgeship.score.detection import detect

    assert ran.reference is not None
    models = {
        model: [np.load(ran.path(model, k), mmap_mode="r") for k in range(count)]
        for model, count in ran.counts.items()
    }
    shape = float_model.signature.inputs[0].shape
    size = (shape[1], shape[2]) if len(shape) == 4 else (1, 1)
    classes = (
        len(evaluation.info.classes) or int(labels[..., 0].max(initial=0)) + 1 if labels.ndim == 3 else 0
    )
    try:
        found = detect(name, models, ran.reference, labels, classes=classes, size=size)
    except Unfit as why:
        return _without(name, artifacts, str(why))
    return _measured(name, artifacts, ran, found.values, _way(name, found.about))


def _all_outputs(
    goals: Goals,
    artifacts: Sequence[Artifact],
    float_model: FloatModel,
    ran: Ran,
    evaluation: Dataset,
    progress: Progress,
    limits: WorkerLimits,
) -> Task:
    """Return the user's own metric of a model with several outputs: it gets all of them, by name."""
    assert ran.reference is not None
    names = named_outputs(float_model, ran.counts[ran.reference])
    paths = {
        model: {said: str(ran.path(model, k)) for k, said in enumerate(names)}
        for model, count in ran.counts.items()
        if count == len(names)
    }
    said = call_own(goals, {"labels": str(evaluation.y_path), "outputs": paths}, limits, progress)
    about = f"of all {len(names)} outputs"
    way = _Way(name=goals.metric, higher=said["higher_is_better"], unit="%", about=about)
    return _measured(goals.metric, artifacts, ran, dict(said["values"]), way)


def named_outputs(float_model: FloatModel, count: int) -> tuple[str, ...]:
    """Return the names of a model's outputs, by their place where the file tells none."""
    specs = float_model.signature.outputs
    return tuple(specs[k].name if k < len(specs) else f"output {k}" for k in range(count))


def pick_output(
    name: str, goals: Goals, names: Sequence[str], shapes: Sequence[tuple[int, ...]], labels: Any
) -> tuple[int, str] | Unavailable:
    """Return the output that labels are for and how that is known, or why it cannot be told."""
    from edgeship.score.labels import fitting

    if goals.output is not None and goals.output in names:
        return names.index(goals.output), f"of output '{goals.output}'"
    listed = ", ".join(f"'{n}' {list(s[1:])}" for n, s in zip(names, shapes, strict=True))
    if goals.output is not None:
        return Unavailable(reason=f"the model has no output '{goals.output}', it has {listed}")
    if len(shapes) == 1:
        return 0, ""
    fits = fitting(shapes, labels, numbers=name in NUMBERS)
    if len(fits) == 1:
        return fits[0], f"of output '{names[fits[0]]}', the only one that fits the labels"
    many = f"the labels fit {len(fits)} of" if fits else "the labels fit none of"
    return Unavailable(
        reason=f"{many} the model's outputs {listed}: name one in edgeship.yaml, "
        f"goals: {{accuracy: {{output: {names[fits[0]] if fits else names[0]}}}}}"
    )


def _output(
    name: str, goals: Goals, float_model: FloatModel, ran: Ran, labels: Any
) -> tuple[int, str] | Unavailable:
    import numpy as np

    assert ran.reference is not None
    count = ran.counts[ran.reference]
    shapes = [np.load(ran.path(ran.reference, k), mmap_mode="r").shape for k in range(count)]
    return pick_output(name, goals, named_outputs(float_model, count), shapes, labels)


def _built_in(
    name: str, artifacts: Sequence[Artifact], ran: Ran, labels: Any, output: int, about: str
) -> Task:
    import numpy as np

    from edgeship.score.labels import are_two, classes_beside
    from edgeship.score.metrics import automatic, cut_of, is_single

    assert ran.reference is not None
    held = np.load(ran.path(ran.reference, output), mmap_mode="r")
    said = [about] if about else []
    if name == "auto":
        name, why = automatic(held, labels)
        said.append(f"chosen because {why}")
    zeros_and_ones = labels.size == held.size and bool(np.isin(labels, (0, 1)).all())
    parted = is_single(held) and (zeros_and_ones or are_two(held.shape, labels))
    cut = cut_of(held) if parted and name in ("top1", "auc") else None
    if name == "top1" and cut is not None:
        said.append(f"class 1 above {cut:g}")
    values = {
        model: _value(name, np.load(ran.path(model, output)), labels, cut)
        for model, count in ran.counts.items()
        if count > output
    }
    task = _measured(name, artifacts, ran, values, _way(name, "; ".join(said)), output)
    places = name not in NUMBERS and classes_beside(held.shape, labels) is not None
    return Task(metrics=task.metrics, output=output, places=places, cut=cut)


def _value(name: str, outputs: Any, labels: Any, cut: float | None) -> Figure:
    """Return a built-in metric, or why it cannot be computed."""
    import numpy as np

    from edgeship.score.metrics import two_classes

    if not np.isfinite(outputs).all():
        return Unavailable(reason="the model answers with NaN or infinity")
    try:
        scores = two_classes(outputs, cut) if name == "top1" and cut is not None else outputs
        return METRICS[name].compute(scores, labels)
    except Unfit as why:
        return Unavailable(reason=str(why))


def _way(name: str, about: str) -> _Way:
    if name in METRICS:
        rule = METRICS[name]
        return _Way(name=name, higher=rule.higher_is_better, unit=rule.drop_unit, about=about)
    return _Way(name=name, higher=True, unit="points" if name == "auto" else "%", about=about)


def _without(name: str, artifacts: Sequence[Artifact], why: str) -> Task:
    """Return metrics that could not be had."""
    none = Unavailable(reason=why)
    way = _way(name, "")
    shown = "accuracy" if name == "auto" else name
    metric = Metric(
        name=shown, value=none, float_value=none, drop=none, drop_unit=way.unit,
        higher_is_better=way.higher,
    )  # fmt: skip
    return Task(metrics=tuple(metric for _ in artifacts))


def _measured(
    name: str,
    artifacts: Sequence[Artifact],
    ran: Ran,
    found: dict[str, Figure],
    way: _Way,
    output: int | None = None,
) -> Task:
    shown = "accuracy" if name == "auto" else name
    gone = Unavailable(reason="the model has not as many outputs as the float model")
    failed: dict[str, Figure] = {model: Unavailable(reason=why) for model, why in ran.failed.items()}
    values = failed | found
    metrics = tuple(
        Metric(
            name=shown,
            value=values.get(artifact.sha256, gone),
            float_value=values.get(FLOAT, gone),
            drop=drop_of(values.get(artifact.sha256, gone), values.get(FLOAT, gone), way),
            drop_unit=way.unit,
            higher_is_better=way.higher,
            about=way.about,
        )
        for artifact in artifacts
    )
    return Task(metrics=metrics, output=output)


def drop_of(value: Figure, float_value: Figure, way: _Way) -> Figure:
    """Return what was lost, in points or in percent of the float model's value; positive is worse."""
    if isinstance(value, Unavailable):
        return value
    if isinstance(float_value, Unavailable):
        why = float_value.reason
        return float_value if why == CAME_QUANTIZED else Unavailable(reason=f"float model: {why}")
    if way.higher is None:
        return Unavailable(
            reason=f"{way.name} does not say whether higher is better: {direction_line(way.name)}"
        )
    lost = float_value - value if way.higher else value - float_value
    if way.unit == "points" or lost == 0.0:
        return lost
    if float_value == 0.0:
        return Unavailable(reason=f"the float model's {way.name} is 0, of which nothing is a percentage")
    return 100.0 * lost / abs(float_value)
