"""The trainable graph: a float `.tflite` as a TensorFlow function whose weights are variables.

Lives in worker processes: TensorFlow is loaded when a graph is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.operations import OPERATIONS
from edgeship.compress.operations.activations import fused
from edgeship.compress.operations.call import Call, Unfit
from edgeship.compress.trained import trained_constants
from edgeship.errors import InputError
from edgeship.tflite.file import Operator, TfliteFile
from edgeship.tflite.flat import parse
from edgeship.tflite.weights import Layer, constant, layers_of

Array = NDArray[Any]
Value = Any
"""A tf.Tensor."""
Hook = Callable[[int, Value], Value]
"""(tensor index, value) -> value."""


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

    def __init__(self, content: bytes) -> None:
        """Make the graph of a file. Raises InputError `not-trainable` where the file holds an operation that is not
        known, or one in a form that is not."""
        import tensorflow as tf

        self._tf = tf
        self.file = parse(Path("model.tflite"), content, "")
        graph = self.file.main
        self.layers = layers_of(graph)
        self.variables = {
            index: tf.Variable(constant(self.file, index), name=f"tensor_{index}")
            for index in trained_constants(graph, self.layers)
        }
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._constants = _constants(self.file, set(self.variables))
        self._refuse(self._tried())
        made = (index for op in graph.operators for index in op.outputs)
        self.activations = tuple(
            index
            for index in dict.fromkeys((*self.inputs, *made))
            if graph.tensors[index].dtype == "float32" and index not in self._constants
        )

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
        return self._run(inputs, weight, activation, None)

    def values(self) -> dict[int, Array]:
        """Return what the variables hold, by tensor index, for `with_weights`."""
        return {index: variable.numpy() for index, variable in self.variables.items()}

    def assign(self, values: Mapping[int, Array]) -> None:
        """Give variables other values, by tensor index."""
        for index, value in values.items():
            self.variables[index].assign(value)

    def name(self, index: int) -> str:
        """Return the name of a tensor."""
        return self.file.main.tensors[index].name

    def _run(
        self,
        inputs: Sequence[Value] | Value,
        weight: Hook | None,
        activation: Hook | None,
        unfit: dict[int, str] | None,
    ) -> tuple[Value, ...]:
        """Run the operations in order; where `unfit` is given, note why some cannot run, and go on without them."""
        tf, tensors = self._tf, self.file.main.tensors
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(given) != len(self.inputs):
            raise ValueError(f"{len(given)} inputs were given, the model has {len(self.inputs)}")
        lifted = [
            _lifted(tf, tf.convert_to_tensor(x), tensors[index].shape)
            for index, x in zip(self.inputs, given, strict=True)
        ]
        batch = tf.shape(lifted[0])[0] if lifted else tf.constant(1)
        values: dict[int, Value] = {}
        for index, x in zip(self.inputs, lifted, strict=True):
            values[index] = self._through(activation, index, x)
        for index, variable in self.variables.items():
            read = tf.convert_to_tensor(variable)
            values[index] = (read if weight is None else weight(index, read))[None]
        for op in self.file.main.operators:
            if unfit is not None and any(i >= 0 and not self._is_there(i, values) for i in op.inputs):
                continue  # it waits for one that cannot run
            try:
                self._computed(op, values, batch, activation)
            except (Unfit, ValueError, tf.errors.OpError) as reason:
                if unfit is None:
                    raise
                unfit[op.index] = str(reason).splitlines()[0]
        return tuple(
            _natural(tf, self._value(index, values), batch)
            for index in self.outputs
            if unfit is None or self._is_there(index, values)
        )

    def _computed(
        self, op: Operator, values: dict[int, Value], batch: Value, activation: Hook | None
    ) -> None:
        """Compute an operation and put its outputs among the values."""
        tensors = self.file.main.tensors
        row = None if op.custom else OPERATIONS.get(op.op)
        if row is None:
            raise Unfit("is not known")
        call = Call(
            tf=self._tf,
            operator=op,
            values=tuple(None if i < 0 else self._value(i, values) for i in op.inputs),
            constants=tuple(self._constants.get(i) for i in op.inputs),
            shapes=tuple(tensors[i].shape for i in op.outputs),
            dtypes=tuple(tensors[i].dtype for i in op.outputs),
            batch=batch,
        )
        made = row(call)
        for index, value in zip(op.outputs, made if isinstance(made, list | tuple) else [made], strict=True):
            value = fused(self._tf, str(op.options.get("fused_activation", "NONE")), value)
            told = tensors[index]
            if not told.is_dynamic and told.shape and tuple(value.shape[1:]) != told.shape:
                raise Unfit(f"makes {list(value.shape[1:])}, where the file says {list(told.shape)}")
            values[index] = self._through(activation, index, value)

    def _is_there(self, index: int, values: Mapping[int, Value]) -> bool:
        return index in values or index in self._constants

    def _value(self, index: int, values: Mapping[int, Value]) -> Value:
        """Return a value of this call, or a constant, lifted."""
        return values[index] if index in values else self._tf.constant(self._constants[index][None])

    def _through(self, activation: Hook | None, index: int, value: Value) -> Value:
        """Return a lifted value after the hook, which sees it as callers see tensors."""
        if activation is None or value.dtype != self._tf.float32:
            return value
        shape = list(value.shape[1:])
        seen = self._tf.reshape(value, [-1, *shape[1:]]) if shape[:1] == [1] else value
        return self._tf.reshape(activation(index, seen), [-1, *shape])

    def _tried(self) -> dict[int, str]:
        """Return why operations cannot run, by their index, as far as that is told without running them."""
        tf = self._tf
        unfit: dict[int, str] = {}
        tensors = self.file.main.tensors
        specs = [tf.TensorSpec([None, *tensors[i].shape], tf.as_dtype(tensors[i].dtype)) for i in self.inputs]
        tf.function(lambda *given: self._run(given, None, None, unfit)).get_concrete_function(*specs)
        return unfit

    def _refuse(self, unfit: Mapping[int, str]) -> None:
        if not unfit:
            return
        counted: dict[str, int] = {}
        for index, why in unfit.items():
            op = self.file.main.operators[index]
            counted[f"{op.op} {why}"] = counted.get(f"{op.op} {why}", 0) + 1
        raise InputError(
            "not-trainable",
            "the model holds operations through which it cannot be trained",
            context={
                "operations": "; ".join(
                    f"{text} ({count} times)" if count > 1 else text for text, count in counted.items()
                )
            },
            hint="methods that do not train work: edgeship compress --help lists them",
        )


def _constants(file: TfliteFile, trained: set[int]) -> dict[int, Array]:
    """Return the constants of the main graph that are not trained, by tensor index."""
    found = {}
    for tensor in file.main.tensors:
        if not tensor.has_data or tensor.index in trained or tensor.is_sparse:
            continue
        try:
            kind = np.dtype(tensor.dtype)
        except TypeError:
            continue
        data = np.frombuffer(file.tensor_bytes(tensor.index), kind, count=tensor.elements)
        found[tensor.index] = data.reshape(tensor.shape)
    return found


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
        value = tf.repeat(value, batch, axis=0)
    shape = list(value.shape[1:])
    return tf.reshape(value, [-1, *shape[1:]]) if shape[:1] == [1] else value
