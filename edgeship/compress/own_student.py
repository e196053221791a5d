"""A student of the user's own: a Keras model, or a function that builds one, taught by the float model
(`student,model=small.keras`).

It is trained by Keras, with its batch normalisation and dropout, before it is converted as any model is. What comes of
it takes the place of the float model in the chain.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted
from edgeship.compress.training import Plan, train
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.flat import parse
from edgeship.values import TensorSpec

CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
EXAMPLE = "--method student,model=small.keras   or   student,model=package.module:build"


class KerasStudent:
    """A Keras model with the interface of a trainable graph; it learns in training mode."""

    def __init__(self, model: Any, teacher: TrainableGraph) -> None:
        self.model, self.wanted = model, teacher
        self.variables = dict(enumerate(_plain(v) for v in model.trainable_variables))

    def __call__(
        self, inputs: Sequence[Any], *, weight: Any = None, activation: Any = None
    ) -> tuple[Any, ...]:
        return self._run(inputs, training=False)

    def learning(
        self, inputs: Sequence[Any], *, weight: Any = None, activation: Any = None
    ) -> tuple[Any, ...]:
        """Return the outputs as while training: statistics of the batch, dropout."""
        return self._run(inputs, training=True)

    def values(self) -> dict[int, Any]:
        """Return all weights, statistics of batch normalisation among them, by their place."""
        return dict(enumerate(self.model.get_weights()))

    def _run(self, inputs: Sequence[Any], *, training: bool) -> tuple[Any, ...]:
        made = self.model(inputs[0] if len(inputs) == 1 else list(inputs), training=training)
        return (
            tuple(made.values())
            if isinstance(made, dict)
            else tuple(made)
            if isinstance(made, list | tuple)
            else (made,)
        )


def _plain(variable: Any) -> Any:
    """Return TensorFlow's own variable of a Keras 3 one."""
    return getattr(variable, "value", variable) if hasattr(variable, "path") else variable


class Untouched(Constraints):
    """Holds to nothing, and hands weights back as they are: Keras keeps more of them than are trained."""

    def weights(self, values: Any) -> dict[int, Any]:
        return dict(values)


def apply(work: Work) -> Outcome:
    """Teach the user's student and convert it. Raises InputError `student-missing`, `student-unlike`,
    `student-unusable`, and what opening and converting a model raise."""
    model = loaded(work)
    teacher = TrainableGraph(work.original)
    student = KerasStudent(model, teacher)
    check_alike(model, teacher, work)
    trained = train(student, Untouched(), teacher, work, Plan.of(work.step))
    model.set_weights([trained.values[place] for place in range(len(trained.values))])
    with tempfile.TemporaryDirectory(prefix="edgeship-student-") as folder:
        legacy = type(model).__module__.startswith("tf_keras")
        path = Path(folder) / ("student.h5" if legacy else "student.keras")
        model.save(path if not legacy else str(path))
        made = to_float_tflite(open_model(path), Path(folder), progress=Silent())
        content = made.path.read_bytes()
    graph = TrainableGraph(content)
    return Outcome(content=content, figures=dict(trained.figures) | counted(graph, graph.values()))


def loaded(work: Work) -> Any:
    """Return the Keras model that the step names."""
    reference = str(work.step.setting("model"))
    root = Path(work.folder or ".")
    if not reference:
        raise InputError("student-missing", "nothing says which student", hint=EXAMPLE)
    if CALLABLE.fullmatch(reference) and not (root / reference).exists():
        return _built(reference, root)
    source = open_model(root / reference)
    if source.kind not in ("keras", "h5"):
        raise InputError(
            "student-unusable",
            f"a student is a Keras model that can be trained, and {reference} is none",
            hint=EXAMPLE,
        )
    if source.kind == "h5":
        import tf_keras as keras
    else:
        import keras
    return keras.models.load_model(str(source.path), compile=False)


def _built(reference: str, root: Path) -> Any:
    module, _, name = reference.partition(":")
    sys.path[:0] = [str(root), "."]
    try:
        model = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever a function of the user's own raises
        raise InputError(
            "student-unusable",
            f"{reference} built no model: {type(error).__name__}: {error}",
            hint="def build(): return keras.Sequential([...])",
        ) from error
    if not hasattr(model, "trainable_variables") or not hasattr(model, "save"):
        raise InputError(
            "student-unusable",
            f"{reference} gives a {type(model).__name__}, no Keras model",
            hint="def build(): return keras.Sequential([...])",
        )
    return model


def check_alike(model: Any, teacher: TrainableGraph, work: Work) -> None:
    """Raise InputError `student-unlike` unless the student takes and gives what the float model does."""
    signature = parse(Path("model.tflite"), work.original, "").signature
    sides = (("inputs", model.inputs, signature.inputs), ("outputs", model.outputs, signature.outputs))
    for side, held, wanted in sides:
        mine = [_sizes(tensor.shape) for tensor in held]
        theirs = [_sizes(spec.shape) for spec in wanted]
        if mine != theirs:
            raise InputError(
                "student-unlike",
                f"the student's {side} are {_said(mine)}, the model's {_said(theirs)}",
                context={"student": str(work.step.setting("model")), "model": _names(wanted)},
                hint="give the student the same inputs and outputs, in the same order",
            )


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(int(size) if size is not None else -1 for size in list(shape)[1:])


def _said(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
