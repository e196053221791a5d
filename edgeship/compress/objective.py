"""What training makes small: how unlike the model's outputs are to the teacher's, and to labels where they count.

The kind of each output is read from the graph, never from a name: probabilities (SOFTMAX at the end, or labels that
are classes), shares of their own (LOGISTIC), or numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.own import callable_of, words_of
from edgeship.errors import InputError
from edgeship.tflite.file import Operator, Subgraph

Kind = Literal["classes", "logits", "shares", "odds", "numbers"]
MOVING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION")
"""Operations that move values and change none."""
OWN_HINT = "def loss(outputs, teacher, labels): ...   in a module beside edgeship.yaml: loss=module:loss"
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
            return tf.reduce_mean(tf.cast(self.own(list(outputs), list(teacher), labels), tf.float32))
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
        if told.kind == "odds":
            mine, theirs = tf.sigmoid(mine), tf.sigmoid(theirs)
        if told.kind in ("shares", "odds"):
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
            there = (classes >= 0) & (classes < logits.shape[-1])  # others say that nobody knows
            wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(there, classes, 0), logits)
            return tf.reduce_mean(tf.where(there, wrong, 0.0))
        wanted = tf.reshape(tf.cast(labels, tf.float32), tf.shape(mine))
        if told.kind in ("shares", "odds"):
            share = tf.sigmoid(mine) if told.kind == "odds" else mine
            share = tf.clip_by_value(share, LEAST, 1 - LEAST)
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
    makers = {i: op for op in graph.operators for i in op.outputs}
    fits = [k for k, held in enumerate(answers) if labels is not None and _fits(held, labels)]
    found = []
    for k, (index, held) in enumerate(zip(outputs, answers, strict=True)):
        labelled = fits == [k]
        kind = _kind_in(graph, makers, index) or (_kind_by(held, labels) if labelled else "numbers")
        scale = spread_of(held) if kind == "numbers" else None
        found.append(Output(kind=kind, labelled=labelled, scale=scale))
    return tuple(found)


def _kind_in(graph: Subgraph, makers: Mapping[int, Operator], index: int) -> Kind | None:
    """Return what a tensor is by the operations that make it; None where they do not say."""
    op = makers.get(index)
    if op is None:
        return None
    if op.op in ("SOFTMAX", "LOGISTIC"):
        return "classes" if op.op == "SOFTMAX" else "shares"
    if op.op not in MOVING:
        return None
    sources = op.inputs if op.op == "CONCATENATION" else op.inputs[:1]
    kinds = {_kind_in(graph, makers, source) for source in sources}
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    lasts = {graph.tensors[i].shape[-1:] for i in (index, *sources) if graph.tensors[i].shape}
    if kind == "classes" and (len(lasts) > 1 or op.op == "TRANSPOSE"):
        return None  # the classes of a place no longer stand beside each other
    return kind


def _kind_by(held: Any, labels: Any) -> Kind:
    """Return what an output is by the labels of it."""
    if _are_classes(held, labels):
        return "logits"
    answers = ((labels == 0) | (labels == 1)).all() and labels.size == held.size
    return "odds" if answers and (held.min() < -0.5 or held.max() > 1.5) else "numbers"


def _fits(held: Any, labels: Any) -> bool:
    """Return whether labels can be of an output: targets of its shape, or class indices beside its last axis."""
    return _sizes(labels.shape) == _sizes(held.shape) or _are_classes(held, labels)


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of a sample that are not 1."""
    return tuple(size for size in shape[1:] if size > 1)


def _are_classes(held: Any, labels: Any) -> bool:
    """Return whether labels are classes of the last axis: one-hot, or indices, some of which (-1, 255) say "none"."""
    if held.ndim < 2 or held.shape[-1] < 2:
        return False
    if labels.shape == held.shape:
        one = np.isclose(labels.sum(axis=-1), 1) & ((labels == 0) | (labels == 1)).all(axis=-1)
        return bool(one.all())
    places = math.prod(held.shape[1:-1])
    if math.prod(labels.shape[1:]) != places or not (labels == np.rint(labels)).all():
        return False
    told = (labels >= 0) & (labels < held.shape[-1])
    return bool(told.any() and (told | (labels == -1) | (labels == 255)).all())


def spread_of(held: Any) -> NDArray[np.float32]:
    """Return by what errors of an output are measured, in a shape that divides it: the spread of each column over the
    answers.

    Columns stand along the axis whose places differ most in spread. A detector's boxes run to 300 and its scores to 1,
    in the last axis or in the one before: each counts by its own size. A column that hardly changes counts by a
    thousandth of its size, one that is always zero by the median of the others.
    """
    values = np.asarray(held, np.float64)
    values = values.reshape(len(values), *(values.shape[1:] or (1,)))
    best = _spread_along(values, values.ndim - 1)
    for axis in range(1, values.ndim - 1):
        other = _spread_along(values, axis)
        if np.log(other).std() > 2 * np.log(best).std():
            best = other
    return (best.reshape(best.shape[1:]) if held.ndim > 1 else best.reshape(1)).astype(np.float32)


def _spread_along(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    others = tuple(k for k in range(values.ndim) if k != axis)
    size = np.abs(values).max(axis=others, keepdims=True)
    spread = np.maximum(values.std(axis=others, keepdims=True), 1e-3 * size)
    usual = float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
    return np.asarray(np.where(spread > 0, spread, usual))


def unfit_labels(answers: Sequence[Any], labels: Any) -> InputError:
    """Return the error of labels that are asked for and are of no output, or of several."""
    if labels is None:
        why = "the training data has no labels"
    else:
        shapes = ", ".join(str(list(held.shape[1:])) for held in answers)
        several = sum(_fits(held, labels) for held in answers) > 1
        why = f"labels {list(labels.shape[1:])} fit {'more than one' if several else 'none'} of the outputs {shapes}"
    return InputError(
        "labels-unusable",
        f"labels are to count in training, and {why}",
        hint="leave out the setting labels=...",
    )


def own_loss(reference: str, folder: str | None) -> Callable[..., Any]:
    """Return the user's `module:callable`, compiled. Raises InputError `loss-unusable`."""
    import tensorflow as tf

    found = callable_of(reference, folder, "loss-unusable", OWN_HINT)
    return tf.function(lambda *given: found(*given), reduce_retracing=True)  # type: ignore[no-any-return]


def check_own(own: Callable[..., Any], reference: str, answers: Sequence[Any], labels: Any) -> None:
    """Call the user's loss once, with the teacher's answers to other samples in place of outputs. Raises InputError
    `loss-unusable` where that raises, or gives no number that training can make smaller."""
    import tensorflow as tf

    teacher = [tf.constant(held) for held in answers]
    outputs = [tf.constant(np.roll(held, 1, axis=0)) for held in answers]
    seen = [value for value in outputs if value.dtype.is_floating]
    try:
        with tf.GradientTape() as tape:
            tape.watch(seen)
            loss = own(outputs, teacher, None if labels is None else tf.constant(labels))
            why = _no_loss(loss, len(answers[0]))
            mean = None if why else tf.reduce_mean(loss)
        found = [] if why else [g for g in tape.gradient(mean, seen) if g is not None]
        if not why and not found:
            why = "does not depend on the outputs: it has no gradient"
        if not why and not all(np.isfinite(tf.convert_to_tensor(v)).all() for v in (mean, *found)):
            why = "or its gradient is no finite number"
    except Exception as error:  # whatever a function of the user's own raises
        shapes = ", ".join(str([None, *held.shape[1:]]) for held in answers)
        raise InputError(
            "loss-unusable",
            f"the loss {reference} failed: {words_of(error)}",
            context={
                "outputs and teacher": shapes,
                "labels": "None" if labels is None else str([None, *labels.shape[1:]]),
            },
            hint=OWN_HINT,
        ) from error
    if why:
        raise InputError("loss-unusable", f"the loss {reference} {why}", hint=OWN_HINT)


def _no_loss(loss: Any, count: int) -> str:
    """Return why a value is no loss, which is one number, or one a sample; "" where it is one."""
    import tensorflow as tf

    if not tf.is_tensor(loss):
        return f"gives a {type(loss).__name__}, no number"
    if not loss.dtype.is_floating:
        return f"gives {loss.dtype.name}, no number with a fraction"
    if loss.shape.rank and loss.shape.as_list() != [count]:
        return f"gives numbers of shape {loss.shape.as_list()}, not one, or one a sample: use tf.reduce_mean"
    return ""
