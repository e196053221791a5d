"""A student of the user's own: a Keras model, or a function that builds one, taught by the float model
(`student,model=small.keras`).

It is trained by Keras, with its batch normalisation and dropout, before it is converted as any model is. What comes of
it takes the place of the float model in the chain.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.compress.constraints import Constraints
from edgeship.compress.graph import TrainableGraph
from edgeship.compress.held import counted
from edgeship.compress.own import callable_of, is_callable, place_of, words_of
from edgeship.compress.training import Plan, train
from edgeship.compress.work import Outcome, Work
from edgeship.errors import InputError
from edgeship.model.convert import to_float_tflite
from edgeship.model.keras_ends import declared_outputs, input_name, named_outputs, packed_inputs
from edgeship.model.source import open_model
from edgeship.progress import Silent
from edgeship.tflite.flat import parse
from edgeship.tflite.normalise import in_order
from edgeship.values import ModelSource

EXAMPLE = "--method student,model=small.keras   or   student,model=package.module:build"
BUILD = "def build(): return keras.Sequential([...])"


class KerasStudent:
    """A Keras model with the interface of a trainable graph; it learns in training mode."""

    def __init__(self, model: Any, ends: Ends) -> None:
        self.model, self.ends = model, ends
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
        """Return the outputs in the order of `ends`, for inputs in that order."""
        import tensorflow as tf

        by_name = dict(zip(self.ends.inputs, inputs, strict=True))
        tensors = [tf.cast(by_name[input_name(told)], told.dtype) for told in self.model.inputs]
        made = named_outputs(self.model, self.model(packed_inputs(self.model, tensors), training=training))
        outputs = (made[name] for name in self.ends.outputs)
        return tuple(tf.cast(o, tf.float32) if o.dtype.is_floating else o for o in outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Names of what a student takes and gives, in the order of the model that teaches it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


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
    import tensorflow as tf

    tf.keras.utils.set_random_seed(work.step.seed)  # a function draws its first weights
    model = loaded(work)
    teacher = TrainableGraph(work.original)
    ends = matched(model, work)
    student = KerasStudent(model, ends)
    check_ends(student, teacher, work)
    trained = train(student, Untouched(), teacher, work, Plan.of(work.step))
    model.set_weights([trained.values[place] for place in range(len(trained.values))])
    with tempfile.TemporaryDirectory(prefix="edgeship-student-") as folder:
        legacy = type(model).__module__.startswith("tf_keras")
        path = Path(folder) / ("student.h5" if legacy else "student.keras")
        model.save(path if not legacy else str(path))
        made = to_float_tflite(open_model(path), Path(folder), progress=Silent())
        content = in_order(made.path.read_bytes(), list(ends.inputs), list(ends.outputs))
    graph = TrainableGraph(content)
    return Outcome(content=content, figures=dict(trained.figures) | counted(graph, graph.values()))


def loaded(work: Work) -> Any:
    """Return the Keras model that the step names."""
    reference = str(work.step.setting("model"))
    if not reference:
        raise InputError("student-missing", "nothing says which student", hint=EXAMPLE)
    if is_callable(reference, work.folder):
        model = _built(reference, work.folder)
    else:
        source = open_model(place_of(reference, work.folder))
        if source.kind not in ("keras", "h5"):
            raise _unusable(f"a student is a Keras model that can be trained, and {reference} is none")
        model = _read(source)
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise _unusable(
            f"the inputs of {reference} are not known before it is called",
            "begin it with keras.Input(...), in a Sequential or a functional model",
        )
    if not model.trainable_variables:
        raise _unusable(f"nothing of {reference} can be trained", "layer.trainable = True")
    return model


def _read(source: ModelSource) -> Any:
    """Return a Keras model of a file, by the generation of Keras that can read it."""
    names = ("tf_keras", "keras") if source.kind == "h5" else ("keras", "tf_keras")
    errors = []
    for name in names:
        try:
            return importlib.import_module(name).models.load_model(str(source.path), compile=False)
        except Exception as error:  # readers raise anything
            errors.append(f"{name}: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}")
    raise _unusable(f"{source.path.name} cannot be read as a whole model: {'; '.join(errors)}")


def _built(reference: str, folder: str | None) -> Any:
    build = callable_of(reference, folder, "student-unusable", BUILD)
    try:
        model = build()
    except Exception as error:  # whatever a function of the user's own raises
        raise _unusable(f"{reference} built no model: {words_of(error)}", BUILD) from error
    if not hasattr(model, "trainable_variables") or not hasattr(model, "save"):
        raise _unusable(f"{reference} gives {type(model).__name__}, no Keras model", BUILD)
    return model


def _unusable(why: str, hint: str = EXAMPLE) -> InputError:
    return InputError("student-unusable", why, hint=hint)


def matched(model: Any, work: Work) -> Ends:
    """Return the student's ends in the order of the float model's: matched by name where all names are the same, else
    by place. Raises InputError `student-unlike` unless it takes and gives what the float model does."""
    signature = parse(Path("model.tflite"), work.original, "").signature
    taken = {input_name(tensor): tensor for tensor in model.inputs}
    shapes = tuple(
        {name: _sizes(tensor.shape) for name, tensor in side.items()}
        for side in (taken, declared_outputs(model))
    )
    found = []
    sides = zip(("inputs", "outputs"), shapes, (signature.inputs, signature.outputs), strict=True)
    for side, held, wanted in sides:
        names = [spec.name for spec in wanted]
        order = tuple(names) if set(names) == set(held) else tuple(held)
        mine = [held[name] for name in order]
        theirs = [_sizes(spec.shape) for spec in wanted]
        if mine != theirs:
            raise InputError(
                "student-unlike",
                f"the student's {side} are {_said(mine)}, the model's {_said(theirs)}",
                context={
                    "student": f"{work.step.setting('model')}: {_named(order, mine)}",
                    "model": _named(names, theirs),
                },
                hint=f"give the student the same {side}: in the same order, or all of the same names",
            )
        found.append(order)
    return Ends(inputs=found[0], outputs=found[1])


def check_ends(student: KerasStudent, teacher: TrainableGraph, work: Work) -> None:
    """Raise InputError `student-unlike` where the model gives probabilities and the student does not: it would be
    taught them, and everything that reads them later would read something else."""
    (inputs, _), *_ = work.samples.some(4).batches(4)
    block = [np.asarray(i, np.float32) if i.dtype.kind == "f" else i for i in inputs]
    for number, (mine, theirs) in enumerate(zip(student(block), teacher(block), strict=True)):
        if _are_probabilities(np.asarray(theirs)) and not _are_probabilities(np.asarray(mine)):
            raise InputError(
                "student-unlike",
                f"output {number} of the model is probabilities, that of the student is none",
                context={"student": str(work.step.setting("model"))},
                hint='end the student as the model ends: activation="softmax"',
            )


def _are_probabilities(value: Any) -> bool:
    return bool(value.ndim > 1 and (value >= 0).all() and np.allclose(value.sum(axis=-1), 1, atol=1e-3))


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(int(size) if size is not None else -1 for size in list(shape)[1:])


def _said(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


def _named(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
