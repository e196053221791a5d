"""Task metrics: a number from outputs `[n, ...]` (float32, real units) and labels. A row of METRICS each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.errors import InputError
from edgeship.registry import Registry
from edgeship.score.compare import has_classes

Array = NDArray[Any]


class Unfit(Exception):
    """A metric that cannot be computed from these outputs and labels; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """A metric: `compute(outputs, labels)` returns its value or raises Unfit."""

    name: str
    compute: Callable[[Array, Array], float]
    higher_is_better: bool


def _top(k: int) -> Callable[[Array, Array], float]:
    def compute(outputs: Array, labels: Array) -> float:
        scores, classes = _scores(outputs), _classes(labels)
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
    """Area under the ROC curve, 0..1; with more than two classes the mean over one-versus-rest."""
    from sklearn.metrics import roc_auc_score

    classes = _classes(labels)
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    present = np.unique(classes)
    if len(present) < 2:
        raise Unfit(f"auc needs labels of two classes or more; all are class {present[0]}")
    if flat.shape[1] == 1:
        if len(present) > 2:
            raise Unfit(f"auc of one output needs two classes, the labels have {len(present)}")
        return float(roc_auc_score(classes == present[1], flat[:, 0]))
    if classes.max() >= flat.shape[1]:
        raise Unfit(f"label {classes.max()} is beyond the model's {flat.shape[1]} outputs")
    if flat.shape[1] == 2:
        return float(roc_auc_score(classes == 1, flat[:, 1] - flat[:, 0]))
    return float(np.mean([roc_auc_score(classes == c, flat[:, c]) for c in present]))


METRICS: Registry[MetricRule] = Registry(
    "metric",
    {
        rule.name: rule
        for rule in (
            MetricRule(name="top1", compute=_top(1), higher_is_better=True),
            MetricRule(name="top5", compute=_top(5), higher_is_better=True),
            MetricRule(name="mse", compute=_mse, higher_is_better=False),
            MetricRule(name="mae", compute=_mae, higher_is_better=False),
            MetricRule(name="auc", compute=_auc, higher_is_better=True),
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


def automatic(outputs: Array, labels: Array) -> str:
    """Return the metric `auto` stands for: top1 for class labels and class scores, mse otherwise."""
    is_class = np.issubdtype(labels.dtype, np.integer) and labels.ndim == 1
    return "top1" if is_class and has_classes(outputs) else "mse"


def _scores(outputs: Array) -> Array:
    if not has_classes(outputs):
        raise Unfit(f"the model's output {list(outputs.shape[1:])} is no list of class scores")
    return outputs.reshape(len(outputs), -1)


def _classes(labels: Array) -> Array:
    if labels.ndim != 1:
        raise Unfit(f"labels of shape {list(labels.shape)} are no class indices")
    if not np.issubdtype(labels.dtype, np.integer) and not np.array_equal(labels, np.rint(labels)):
        raise Unfit("labels are not whole numbers, so they are no class indices")
    return labels.astype(np.int64)


def _difference(outputs: Array, labels: Array) -> NDArray[np.float64]:
    if outputs.size != labels.size:
        raise Unfit(f"outputs {list(outputs.shape)} and targets {list(labels.shape)} differ in shape")
    values = outputs.reshape(len(outputs), -1).astype(np.float64)
    return values - labels.reshape(len(labels), -1).astype(np.float64)
