"""Task metrics: a number from outputs `[n, ...]` (float32, real units) and labels. A row of METRICS each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.errors import InputError
from edgeship.registry import Registry
from edgeship.score.labels import are_two, classes_beside, is_one_hot
from edgeship.values import DropUnit

Array = NDArray[Any]


class Unfit(Exception):
    """A metric that cannot be computed from these outputs and labels; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """A metric: `compute(outputs, labels)` returns its value or raises Unfit."""

    name: str
    compute: Callable[[Array, Array], float]
    higher_is_better: bool
    drop_unit: DropUnit


def _top(k: int) -> Callable[[Array, Array], float]:
    """Return the share of places, percent, whose class is among the k highest scores."""

    def compute(outputs: Array, labels: Array) -> float:
        scores, classes = _scores(outputs, labels)
        if k > scores.shape[1]:
            raise Unfit(f"top{k} needs {k} classes or more, the model has {scores.shape[1]}")
        if k == 1:  # argmax, as the runtime and everybody's own check do it: the first of equal entries
            return 100.0 * float(np.mean(scores.argmax(axis=1) == classes))
        # A stable sort of negated scores keeps the first of equal entries, as argmax does.
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return 100.0 * float(np.mean((best == classes[:, None]).any(axis=1)))

    return compute


def _mse(outputs: Array, labels: Array) -> float:
    difference = _difference(outputs, labels)
    return float(np.mean(difference * difference))


def _mae(outputs: Array, labels: Array) -> float:
    return float(np.mean(np.abs(_difference(outputs, labels))))


def _auc(outputs: Array, labels: Array) -> float:
    """Area under the ROC curve, percent (50: no better than chance).

    With more than two classes the mean over one-versus-rest; with several labels a sample (a number of 0 or 1 for
    each output) the mean over the outputs.
    """
    from sklearn.metrics import roc_auc_score

    if outputs.size == labels.size and not is_one_hot(outputs.shape, labels):
        if is_single(outputs):
            return _auc_of_one(outputs, labels)
        columns = labels.reshape(-1, outputs.shape[-1])
        if not np.isin(columns, (0, 1)).all():
            raise Unfit("auc of several labels a sample needs them to be 0 or 1")
        scores = outputs.reshape(columns.shape).astype(np.float64)
        told = [c for c in range(columns.shape[1]) if len(np.unique(columns[:, c])) == 2]
        if not told:
            raise Unfit("auc needs both 0 and 1 among the labels of an output")
        return 100.0 * float(np.mean([roc_auc_score(columns[:, c], scores[:, c]) for c in told]))
    scores, classes = _scores(outputs, labels)
    present = np.unique(classes)
    if len(present) < 2:
        raise Unfit(f"auc needs labels of two classes or more; all are class {present[0]}")
    if scores.shape[1] == 2:
        return 100.0 * float(roc_auc_score(classes == 1, scores[:, 1] - scores[:, 0]))
    return 100.0 * float(np.mean([roc_auc_score(classes == c, scores[:, c]) for c in present]))


def _auc_of_one(outputs: Array, labels: Array) -> float:
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) != 2:
        raise Unfit(f"auc of one output needs labels of two classes, these hold {len(present)} values")
    return 100.0 * float(
        roc_auc_score(labels.reshape(-1) == present[1], outputs.reshape(-1).astype(np.float64))
    )


def _of_one_output(outputs: Array, labels: Array) -> float:
    raise Unfit(
        "mean average precision is of all outputs together, beside boxes: see edgeship.score.detection"
    )


METRICS: Registry[MetricRule] = Registry(
    "metric",
    {
        rule.name: rule
        for rule in (
            MetricRule(name="top1", compute=_top(1), higher_is_better=True, drop_unit="points"),
            MetricRule(name="top5", compute=_top(5), higher_is_better=True, drop_unit="points"),
            MetricRule(name="mse", compute=_mse, higher_is_better=False, drop_unit="%"),
            MetricRule(name="mae", compute=_mae, higher_is_better=False, drop_unit="%"),
            MetricRule(name="auc", compute=_auc, higher_is_better=True, drop_unit="points"),
            MetricRule(name="map", compute=_of_one_output, higher_is_better=True, drop_unit="points"),
            MetricRule(name="map50", compute=_of_one_output, higher_is_better=True, drop_unit="points"),
        )
    },
    aliases={"accuracy": "top1"},
)


def is_own(name: str) -> bool:
    """Return whether a metric's name means the user's own `package.module:callable`."""
    return ":" in name


def check_metric(name: str) -> str:
    """Return the canonical name of a metric, `auto` and a user's own as they are. Raises InputError."""
    if name == "auto":
        return name
    if is_own(name):
        module, _, function = name.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
            raise InputError(
                "metric-own-form",
                f"'{name}' is not of the form package.module:callable",
                context={"key": "metric"},
                hint=f"known metrics: {', '.join(METRICS)}",
            )
        return name
    return METRICS.resolve(name)


def automatic(outputs: Array, labels: Array) -> tuple[str, str]:
    """Return the metric that `auto` stands for beside these labels, and why it is that one."""
    if is_one_hot(outputs.shape, labels):
        return "top1", "labels are one-hot rows"
    if classes_beside(outputs.shape, labels) is not None:
        places = "" if labels.size == len(labels) else ", one for each place of the output"
        return "top1", f"labels are classes{places}"
    if are_two(outputs.shape, labels):
        return "auc", "labels are of two classes beside a single output, whose threshold is not known"
    return "mse", "labels name no single class"


def cut_of(outputs: Array) -> float:
    """Return where the float model's single output parts two classes: 0.5 where all lies in 0..1, else 0 (logits)."""
    return 0.5 if outputs.size and outputs.min() >= 0.0 and outputs.max() <= 1.0 else 0.0


def is_single(outputs: Array) -> bool:
    """Return whether every place has one number."""
    return outputs.ndim == 1 or outputs.shape[-1] == 1


def two_classes(outputs: Array, cut: float) -> Array:
    """Return the scores `[n, ..., 2]` of two classes from a single output: the second one's is above `cut`."""
    values = outputs[..., 0] if outputs.ndim > 1 else outputs
    return np.stack([cut - values, values - cut], axis=-1)


def _scores(outputs: Array, labels: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return scores `[places, classes]` and the class of each place."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        raise Unfit(
            f"the model's output {list(outputs.shape[1:])} is no list of class scores; "
            "of a single number only labels 0 and 1 can be told"
        )
    classes = classes_beside(outputs.shape, labels)
    if classes is None:
        raise Unfit(_no_classes(outputs, labels))
    count = outputs.shape[-1]
    outside = classes[(classes < 0) | (classes >= count)]
    if outside.size:
        raise Unfit(f"label {outside[0]} is beyond the model's {count} outputs")
    return outputs.reshape(-1, count), classes


def _no_classes(outputs: Array, labels: Array) -> str:
    if labels.size == outputs.size:
        return "labels of the output's own shape are no one-hot rows, so they name no single class"
    if labels.size * outputs.shape[-1] == outputs.size:
        return "labels are not whole numbers, so they are no class indices"
    return f"labels of shape {list(labels.shape)} are no class indices beside outputs {list(outputs.shape)}"


def _difference(outputs: Array, labels: Array) -> NDArray[np.float64]:
    if outputs.size != labels.size:
        raise Unfit(f"outputs {list(outputs.shape)} and targets {list(labels.shape)} differ in shape")
    values = outputs.reshape(len(outputs), -1).astype(np.float64)
    return values - labels.reshape(len(labels), -1).astype(np.float64)
