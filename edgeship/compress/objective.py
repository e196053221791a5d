"""What training makes small: how unlike the model's outputs are to the teacher's, and to labels where they count.

The kind of each output is read from the graph, never from a name: probabilities (SOFTMAX at the end, or labels that
are classes), shares of their own (LOGISTIC), or numbers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeship.errors import InputError
from edgeship.tflite.file import Subgraph

Kind = Literal["classes", "logits", "shares", "numbers"]
LEAST = 1e-7
"""A probability below which none is told apart: 1/256 is one step of an int8 output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of the model, and how answers to it are compared."""

    kind: Kind
    scale: NDArray[np.float32] | None = None
    """Of numbers: spread of each place or column over the teacher's answers, by which errors are measured."""
    labelled: bool = False
    """Whether labels are of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A loss of (outputs, the teacher's outputs, labels)."""

    outputs: tuple[Output, ...]
    temperature: float = 4.0
    """Softens both answers before they are compared (Hinton et al., 2015)."""
    labels: float = 0.0
    """Share (0..1) of the loss that is of labels; the rest is of the teacher."""
    own: Callable[..., Any] | None = None
    """The user's `loss(outputs, teacher, labels)` in place of all of this."""

    def loss(self, outputs: Sequence[Any], teacher: Sequence[Any], labels: Any) -> Any:
        """Return the loss, a scalar tensor. `labels` is None where there are none."""
        import tensorflow as tf

        if self.own is not None:
            return tf.reduce_mean(self.own(list(outputs), list(teacher), labels))
        total: Any = tf.constant(0.0)
        for told, mine, theirs in zip(self.outputs, outputs, teacher, strict=True):
            if not mine.dtype.is_floating:
                continue  # an index (ARG_MAX) has no gradient; what it is made of counts elsewhere
            part = self._unlike(told, mine, theirs)
            if told.labelled and labels is not None and self.labels > 0:
                part = (1 - self.labels) * part + self.labels * self._wrong(told, mine, labels)
            total += part
        return total

    def _unlike(self, told: Output, mine: Any, theirs: Any) -> Any:
        import tensorflow as tf

        if told.kind in ("classes", "logits"):
            one, other = (_logits(told, value) / self.temperature for value in (mine, theirs))
            soft = tf.nn.softmax(other)
            unlike = tf.reduce_sum(soft * (tf.nn.log_softmax(other) - tf.nn.log_softmax(one)), axis=-1)
            return self.temperature**2 * tf.reduce_mean(unlike)
        if told.kind == "shares":
            share = tf.clip_by_value(mine, LEAST, 1 - LEAST)
            wanted = tf.clip_by_value(theirs, LEAST, 1 - LEAST)
            entropy = wanted * tf.math.log(wanted / share)
            return tf.reduce_mean(entropy + (1 - wanted) * tf.math.log((1 - wanted) / (1 - share)))
        return tf.reduce_mean(tf.square((mine - theirs) / told.scale))

    def _wrong(self, told: Output, mine: Any, labels: Any) -> Any:
        import tensorflow as tf

        if told.kind in ("classes", "logits"):
            logits = _logits(told, mine)
            if labels.shape.rank == logits.shape.rank and labels.shape[-1] == logits.shape[-1]:
                return tf.reduce_mean(
                    tf.nn.softmax_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
                )
            classes = tf.cast(tf.reshape(labels, tf.shape(logits)[:-1]), tf.int32)
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits))
        wanted = tf.reshape(tf.cast(labels, tf.float32), tf.shape(mine))
        if told.kind == "shares":
            share = tf.clip_by_value(mine, LEAST, 1 - LEAST)
            return -tf.reduce_mean(wanted * tf.math.log(share) + (1 - wanted) * tf.math.log(1 - share))
        return tf.reduce_mean(tf.square((mine - wanted) / told.scale))


def _logits(told: Output, value: Any) -> Any:
    """Return logits: of probabilities their logarithm, which differs from the logits by a constant."""
    import tensorflow as tf

    return tf.math.log(tf.maximum(value, LEAST)) if told.kind == "classes" else value


def kinds_of(
    graph: Subgraph, outputs: Sequence[int], answers: Sequence[Any], labels: Any
) -> tuple[Output, ...]:
    """Return what each of `outputs` (tensors) is, from what makes it in the graph, the teacher's `answers` (arrays over
    some samples) and labels (None: none).

    Labels are of the only output, or of the only one that fits their shape.
    """
    makers = {i: op.op for op in graph.operators for i in op.outputs}
    sources = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.op in ("RESHAPE", "SQUEEZE")}
    fits = [k for k, held in enumerate(answers) if labels is not None and _fits(held, labels)]
    found = []
    for k, (index, held) in enumerate(zip(outputs, answers, strict=True)):
        while index in sources:
            index = sources[index]
        labelled = fits == [k]
        kind: Kind = "numbers"
        if makers.get(index) == "SOFTMAX":
            kind = "classes"
        elif makers.get(index) == "LOGISTIC":
            kind = "shares"
        elif labelled and _are_classes(held, labels):
            kind = "logits"
        found.append(Output(kind=kind, labelled=labelled, scale=_spread(held) if kind == "numbers" else None))
    return tuple(found)


def _fits(held: Any, labels: Any) -> bool:
    """Return whether labels can be of an output: targets of its shape, or class indices beside its last axis."""
    if labels.shape[1:] == held.shape[1:] or (held[0].size == 1 and labels.ndim == 1):
        return True
    return _are_classes(held, labels)


def _are_classes(held: Any, labels: Any) -> bool:
    if held.ndim < 2 or held.shape[-1] < 2 or not np.issubdtype(labels.dtype, np.integer):
        return False
    places = tuple(size for size in held.shape[1:-1] if size > 1)
    if labels.shape == held.shape:  # one-hot
        return bool((labels.sum(axis=-1) == 1).all())
    return tuple(size for size in labels.shape[1:] if size > 1) == places


def _spread(held: Any) -> NDArray[np.float32]:
    """Return by what an error of each column (last axis) of an output is measured: its spread over the answers.

    A detector's boxes run to 300 and its scores to 1: each counts by its own size. A column that never changes counts
    by the median of the others.
    """
    columns = (
        np.asarray(held, np.float64).reshape(-1, held.shape[-1]) if held.ndim > 1 else held.reshape(-1, 1)
    )
    spread = np.asarray(columns, np.float64).std(axis=0)
    usual = float(np.median(spread[spread > 1e-6])) if (spread > 1e-6).any() else 1.0
    return np.where(spread > 1e-2 * usual, spread, usual).astype(np.float32)


def own_loss(reference: str, folder: str | None) -> Callable[..., Any]:
    """Return the user's `module:callable`. Raises InputError `loss-unusable`."""
    module, _, name = reference.partition(":")
    for place in (folder, "."):
        if place is not None and place not in sys.path:
            sys.path.insert(0, place)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of the user's own raises
        raise InputError(
            "loss-unusable",
            f"the loss {reference} cannot be had: {type(error).__name__}: {error}",
            hint="loss=package.module:callable, of a module in the folder of edgeship.yaml or the current one",
        ) from error
    if not callable(found):
        raise InputError(
            "loss-unusable", f"{reference} is no function", hint="def loss(outputs, teacher, labels): ..."
        )
    return found  # type: ignore[no-any-return]
