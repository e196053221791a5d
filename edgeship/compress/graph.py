"""The trainable graph: a float `.tflite` as a TensorFlow function whose weights are variables.

Lives in worker processes: TensorFlow is loaded when a graph is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeship.compress.constants import other_constants, trained_constants
from edgeship.compress.front import Front
from edgeship.compress.operations import OF_SHAPES, OPERATIONS, OWN_ACTIVATION
from edgeship.compress.operations.activations import fused
from edgeship.compress.operations.call import Call, Unfit
from edgeship.compress.parts import Parts, counted, parted, refused
from edgeship.tflite.file import Operator, Subgraph, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import Layer, constant, layers_of

Array = NDArray[Any]
Value = Any
"""A tf.Tensor."""
Hook = Callable[[int, Value], Value]
"""(tensor index, value) -> value."""

KEEPS = "keeps what one sample leaves for the next, in front of the layers"


class TrainableGraph:
    """The main graph of a float `.tflite`, to be called with any number of samples and to be differentiated."""

    file: TfliteFile
    layers: tuple[Layer, ...]
    """The operations with weights."""
    variables: dict[int, Any]
    """tf.Variable by tensor index, shaped as the file says; what several operations share is there once."""
    activations: tuple[int, ...]
    """Float tensors that are no constants, inputs first, then in the order they are computed."""
    inputs: tuple[int, ...]
    """Tensors that a call is given, in the order of the main graph's inputs."""
    outputs: tuple[int, ...]
    """Tensors that a call returns, in the order of the main graph's outputs."""

    before: tuple[Operator, ...]
    """Operations in front of all layers that are computed by LiteRT as they are, for one that is not known here."""
    behind: tuple[Operator, ...]
    """Operations behind all layers that are left out, for one that is not known here: what they need are outputs."""

    def __init__(self, content: bytes) -> None:
        """Make the graph of a file. Raises InputError `not-trainable` where between its layers stands an operation
        that is not known, or one in a form that is not."""
        import tensorflow as tf

        self._tf = tf
        self._called = tf.autograph.experimental.do_not_convert(
            self._run
        )  # there is nothing to convert in it
        self.file = parse(Path("model.tflite"), content, "")
        graph = self.file.main
        self.layers = layers_of(graph)
        trained = trained_constants(graph, self.layers)
        self.variables = {
            index: tf.Variable(constant(self.file, index), name=f"tensor_{index}") for index in trained
        }
        self.inputs = graph.inputs
        self._constants = other_constants(self.file, set(trained))
        self._parts = self._parted()
        self._front = self._front_of(self._parts) if self._parts.fed else None
        self.before, self.behind = self._parts.before, self._parts.behind
        self.outputs = self._parts.outputs
        read = {i for op in self._parts.within for i in op.inputs}
        self.variables = {index: held for index, held in self.variables.items() if index in read}
        self.activations = self._activations()

    def __call__(
        self,
        inputs: Sequence[Value] | Value,
        *,
        weight: Hook | None = None,
        activation: Hook | None = None,
    ) -> tuple[Value, ...]:
        """Return the outputs for samples, in the order of `outputs`.

        A tensor that the file gives the shape [1, h, w, c] is [n, h, w, c] here; one of any other shape s is
        [n, *s], where n counts samples. Every variable goes through `weight` when it is read (once a call), and the
        inputs and every result of an operation, floats only, through `activation`.
        """
        return self._called(inputs, weight, activation)  # type: ignore[no-any-return]

    def values(self) -> dict[int, Array]:
        """Return what the variables hold, by tensor index, for `with_weights`."""
        return {index: variable.numpy() for index, variable in self.variables.items()}

    def assign(self, values: Mapping[int, Array]) -> None:
        """Give variables other values, by tensor index."""
        for index, value in values.items():
            self.variables[index].assign(value)

    @property
    def trained_graph(self) -> Subgraph:
        """The main graph as it ends here: with `outputs`, without the operations behind."""
        kept = (*self.before, *self._parts.within)
        operators = tuple(sorted(kept, key=lambda op: op.index))
        return replace(self.file.main, outputs=self.outputs, operators=operators)

    def sample_bytes(self) -> int:
        """Return the memory that the activations of one sample take, which a training step keeps until their gradients
        are there. Hooks keep more. A step may go through its batch in parts: no operation joins samples, so that the
        gradients of the parts add up to that of the whole."""
        return sum(4 * math.prod(self._sizes[index]) for index in self.activations)

    def name(self, index: int) -> str:
        """Return the name of a tensor."""
        return self.file.main.tensors[index].name

    def notes(self) -> tuple[str, ...]:
        """Return what is not trained and why, a sentence each."""
        notes = []
        if self._front is not None:
            notes.append(f"held as they are in front of the trained layers: {counted(self.before)}")
        if self.behind:
            notes.append(f"left out behind the trained layers: {counted(self.behind)}")
        return tuple(notes)

    def _run(
        self, inputs: Sequence[Value] | Value, weight: Hook | None, activation: Hook | None
    ) -> tuple[Value, ...]:
        tf = self._tf
        values, batch = self._started(inputs, weight, activation)
        for op in self._parts.within:
            if not all(i in self._constants for i in op.outputs):
                self._compute(op, values, batch, activation)
        return tuple(_natural(tf, self._value(index, values), batch) for index in self.outputs)

    def _started(
        self, inputs: Sequence[Value] | Value, weight: Hook | None, activation: Hook | None
    ) -> tuple[dict[int, Value], Value]:
        """Return (what is there before the first operation: inputs, what is computed in front, variables; the number
        of samples), lifted."""
        tf, tensors = self._tf, self.file.main.tensors
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(given) != len(self.inputs):
            raise ValueError(f"{len(given)} inputs were given, the model has {len(self.inputs)}")
        lifted = [
            _lifted(tf, _typed(tf, x, tensors[index].dtype), tensors[index].shape)
            for index, x in zip(self.inputs, given, strict=True)
        ]
        batch = tf.shape(lifted[0])[0] if lifted else tf.constant(1)
        starting = dict(zip(self.inputs, lifted, strict=True))
        if self._front is not None:
            kinds = [tf.as_dtype(tensors[i].dtype) for i in self._parts.fed]
            computed = tf.nest.flatten(tf.numpy_function(self._front, lifted, kinds, stateful=False))
            for index, value, shape in zip(self._parts.fed, computed, self._front.shapes, strict=True):
                starting[index] = tf.ensure_shape(value, [None, *shape])
        values = {index: self._through(activation, index, value) for index, value in starting.items()}
        for index, variable in self.variables.items():
            read = tf.convert_to_tensor(variable)
            values[index] = (read if weight is None else weight(index, read))[None]
        return values, batch

    def _compute(self, op: Operator, values: dict[int, Value], batch: Value, activation: Hook | None) -> None:
        """Compute an operation and put its outputs among the values."""
        tensors = self.file.main.tensors
        row = OPERATIONS[op.op]
        call = Call(
            tf=self._tf,
            operator=op,
            values=tuple(None if i < 0 else self._value(i, values) for i in op.inputs),
            constants=tuple(self._constants.get(i) for i in op.inputs),
            dtypes=tuple(tensors[i].dtype for i in op.outputs),
            batch=batch,
        )
        made = row(call)
        for index, value in zip(op.outputs, made if isinstance(made, list | tuple) else [made], strict=True):
            if op.op not in OWN_ACTIVATION:
                value = fused(self._tf, str(op.options.get("fused_activation", "NONE")), value)
            told = tensors[index]
            if not told.is_dynamic and told.shape and tuple(value.shape[1:]) != told.shape:
                raise Unfit(f"makes {list(value.shape[1:])}, where the file says {list(told.shape)}")
            values[index] = self._through(activation, index, value)

    def _value(self, index: int, values: Mapping[int, Value]) -> Value:
        """Return a value of this call, or a constant, lifted."""
        return values[index] if index in values else self._tf.constant(self._constants[index][None])

    def _through(self, activation: Hook | None, index: int, value: Value) -> Value:
        """Return a lifted value after the hook, which sees it as callers see tensors."""
        if activation is None or value.dtype != self._tf.float32 or index not in self.activations:
            return value
        shape = list(value.shape[1:])
        seen = self._tf.reshape(value, [-1, *shape[1:]]) if shape[:1] == [1] else value
        return self._tf.reshape(activation(index, seen), [-1, *shape])

    def _activations(self) -> tuple[int, ...]:
        read = {i for op in self._parts.within for i in op.inputs}
        given = (i for i in self.inputs if self._front is None or i in read)
        made = (i for op in self._parts.within for i in op.outputs)
        return tuple(
            index
            for index in dict.fromkeys((*given, *self._parts.fed, *made))
            if self.file.main.tensors[index].dtype == "float32" and index not in self._constants
        )

    def _front_of(self, parts: Parts) -> Front:
        keeping = {op.index: KEEPS for op in parts.before if op.op == "ASSIGN_VARIABLE"}
        if keeping:
            raise refused(self.file.main, keeping)
        try:
            return Front(self.file.content, parts)
        except ValueError as reason:
            why = f"cannot be computed in front of the layers: {reason}"
            unknown = {op.index: why for op in parts.before if op.custom or op.op not in OPERATIONS}
            raise refused(self.file.main, unknown) from None

    def _parted(self) -> Parts:
        """Return the parts of the model, found by trying what can be computed until nothing more is unfit."""
        graph = self.file.main
        unfit = {op.index: "is not known" for op in graph.operators if op.custom or op.op not in OPERATIONS}
        while True:
            parts, stuck = parted(graph, self.layers, unfit)
            if stuck or (unfit and not self.layers):
                raise refused(graph, {i: why for i, why in unfit.items() if i in stuck or not self.layers})
            more = self._tried(parts)
            if not more:
                return parts
            unfit |= more

    def _tried(self, parts: Parts) -> dict[int, str]:
        """Return why operations within `parts` cannot be computed, by their index, as far as it shows without samples;
        what does not depend on samples or variables is computed here, once for all, and is a constant from now on."""
        tf, tensors = self._tf, self.file.main.tensors
        unfit: dict[int, str] = {}
        shapes = {i: tensors[i].shape for i in self.inputs}
        shapes |= zip(parts.fed, self._front_of(parts).shapes, strict=True) if parts.fed else {}
        places = list(shapes)
        specs = [tf.TensorSpec([None, *shapes[i]], tf.as_dtype(tensors[i].dtype)) for i in places]

        def trace(*given: Value) -> Value:
            values = dict(zip(places, given, strict=True))
            values |= {index: tf.convert_to_tensor(v)[None] for index, v in self.variables.items()}
            for op in parts.within:
                if any(i >= 0 and i not in values and i not in self._constants for i in op.inputs):
                    continue  # it waits for one that cannot be computed
                try:
                    if not self._fold(op, values):
                        self._compute(op, values, tf.constant(1), None)
                except (Unfit, ValueError, TypeError, tf.errors.OpError) as reason:
                    unfit[op.index] = str(reason).partition("\n")[0]
            self._sizes = {index: tuple(value.shape[1:]) for index, value in values.items()}
            return tf.constant(0)

        tf.function(trace, autograph=False).get_concrete_function(*specs)
        return unfit

    def _fold(self, op: Operator, values: Mapping[int, Value]) -> bool:
        """Compute an operation now where its result is always the same; return whether it is."""
        if op.op not in OF_SHAPES and any(i >= 0 and i not in self._constants for i in op.inputs):
            return False
        made = dict(values)
        with self._tf.init_scope():
            self._compute(op, made, self._tf.constant(1), None)
            self._constants |= {index: made[index].numpy()[0] for index in op.outputs}
        return True


def _typed(tf: Any, value: Value, dtype: str) -> Value:
    """Return what a caller gave in the type of the input: images may be bytes where the model takes floats."""
    value, wanted = tf.convert_to_tensor(value), tf.as_dtype(dtype)
    if value.dtype.is_floating and not wanted.is_floating:
        raise ValueError(f"an input holds {value.dtype.name}, the model takes {dtype}")
    return tf.cast(value, wanted)


def _lifted(tf: Any, value: Value, shape: tuple[int, ...]) -> Value:
    """Return what a caller gave as `[n, *shape]`."""
    if value.shape.rank == len(shape) + 1:
        return tf.ensure_shape(value, [None, *shape])
    if value.shape.rank == len(shape) and shape:
        return tf.reshape(value, [-1, *shape])
    raise ValueError(f"an input has the shape {list(value.shape)}, the model takes {list(shape)}")


def _natural(tf: Any, value: Value, batch: Value) -> Value:
    """Return a lifted value as callers see tensors: without the first axis of the file where that is 1."""
    if value.shape[0] == 1:
        value = tf.broadcast_to(value, tf.concat([batch[None], value.shape[1:]], 0))
    shape = list(value.shape[1:])
    return tf.reshape(value, [-1, *shape[1:]]) if shape[:1] == [1] else value
