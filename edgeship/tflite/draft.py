"""A `.tflite` while its main graph is being changed: `Draft`, the object form with the questions that changes ask.

A change names the operation it is about (`may`), so that what turns out not to be equal can be left out the next time.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.tflite.buffers import drop_unused
from edgeship.tflite.pure import PURE
from edgeship.tflite.refit import packed, pruned, unpacked
from edgeship.tflite.repeats import operator_code
from edgeship.tflite.schema import enum_names

Array = NDArray[Any]


class Draft:
    """One file taken apart. Operations are the schema's objects, tensors are told by their index.

    `skipped`: sites that `may` refuses; `only`: where given, all that it does not refuse.
    """

    def __init__(
        self, content: bytes, *, skipped: Collection[str] = (), only: Collection[str] | None = None
    ) -> None:
        self.content = content
        self.model, self.schema = unpacked(content)
        self.graph = self.model.subgraphs[0]
        self.done: list[str] = []
        """Sites that were changed, in order."""
        self._skipped, self._only = skipped, only
        self._names = enum_names(self.schema.BuiltinOperator)
        self._kinds = {number: name.lower() for number, name in enum_names(self.schema.TensorType).items()}
        for code in self.model.operatorCodes:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        for op in self.graph.operators:
            op.inputs = [] if op.inputs is None else [int(i) for i in op.inputs]
            op.outputs = [] if op.outputs is None else [int(i) for i in op.outputs]
        self._links: tuple[dict[int, Any], dict[int, list[Any]]] | None = None
        self._unread = {id(op) for op in self.graph.operators if self._idle(op)}

    def may(self, op: Any) -> bool:
        """Return whether what was found at an operation is to be changed, and note it."""
        if self.refuses(op):
            return False
        self.done.append(self.site(op))
        return True

    def refuses(self, op: Any) -> bool:
        """Return whether an operation is to be left as it is."""
        site = self.site(op)
        return site in self._skipped or (self._only is not None and site not in self._only)

    def site(self, op: Any) -> str:
        """Return what an operation is known by while others come and go: the name of what it makes."""
        return self._label(op.outputs[0]) if op.outputs else ""

    # What there is

    @property
    def operators(self) -> tuple[Any, ...]:
        """The operations as they are now; a rule may change the graph while it goes over them."""
        return tuple(self.graph.operators)

    def there(self, op: Any) -> bool:
        """Return whether an operation is (still) in the graph."""
        return any(op is one for one in self.graph.operators)

    def name(self, op: Any) -> str:
        """Return the built-in name of an operation, CUSTOM for one that has none."""
        return self._names.get(self.model.operatorCodes[op.opcodeIndex].builtinCode, "")

    def version(self, op: Any) -> int:
        """Return the version of an operation."""
        return int(self.model.operatorCodes[op.opcodeIndex].version)

    @property
    def shown(self) -> set[int]:
        """Tensors that are outputs of the model."""
        return {int(i) for i in self.graph.outputs}

    @property
    def given(self) -> set[int]:
        """Tensors that are inputs of the model."""
        return {int(i) for i in self.graph.inputs}

    def maker(self, index: int) -> Any:
        """Return the operation that makes a tensor, None of constants and inputs."""
        return self._linked()[0].get(index)

    def readers(self, index: int) -> Sequence[Any]:
        """Return the operations that read a tensor, each as often as it does."""
        return self._linked()[1].get(index, ())

    def alone(self, index: int) -> bool:
        """Return whether one operation reads a tensor, once, and nobody else sees it."""
        return len(self.readers(index)) == 1 and index not in self.shown

    def shape(self, index: int) -> tuple[int, ...] | None:
        """Return the shape of a tensor, None where it is open or not told."""
        tensor = self.graph.tensors[index]
        sizes = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
        signature = tensor.shapeSignature
        if signature is not None and any(int(size) < 0 for size in signature):
            return None
        return sizes if sizes or self.is_constant(index) else None

    def is_float(self, index: int) -> bool:
        """Return whether a tensor is of float32."""
        return bool(self.graph.tensors[index].type == self.schema.TensorType.FLOAT32)

    def is_constant(self, index: int) -> bool:
        """Return whether the file holds a tensor's value."""
        if index < 0:
            return False
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        return data is not None and len(data) > 0 and not tensor.isVariable and tensor.sparsity is None

    def constant(self, index: int) -> Array | None:
        """Return the value of a constant of a type that NumPy has, read-only, else None."""
        return self.value_of(self.graph.tensors[index]) if self.is_constant(index) else None

    def kind(self, tensor: Any) -> str:
        """Return the type of a tensor of any graph, as NumPy calls it."""
        return self._kinds.get(tensor.type, "")

    def value_of(self, tensor: Any) -> Array | None:
        """Return the value of a tensor of any graph, None where the file holds none or NumPy lacks the type."""
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.isVariable or tensor.sparsity is not None:
            return None
        try:
            kind = np.dtype(self.kind(tensor))
        except TypeError:
            return None
        sizes = [] if tensor.shape is None else [int(size) for size in tensor.shape]
        raw = np.asarray(data, np.uint8)
        if raw.size != kind.itemsize * int(np.prod(sizes, dtype=np.int64)):
            return None
        return np.frombuffer(raw.tobytes(), kind).reshape(sizes)

    def floats(self, index: int) -> Array | None:
        """Return the value of a constant of float32, else None."""
        return self.constant(index) if index >= 0 and self.is_float(index) else None

    def integers(self, index: int) -> Array | None:
        """Return the value of a constant of int32 or int64, else None."""
        value = self.constant(index) if index >= 0 else None
        return value if value is not None and value.dtype in (np.int32, np.int64) else None

    def has_range(self, index: int) -> bool:
        """Return whether training left the range of a tensor in the file."""
        told = self.graph.tensors[index].quantization
        return told is not None and told.max is not None and len(told.max) > 0

    # What can be done

    def put(self, base: int, what: str, value: Array) -> int:
        """Return the index of a new constant, named after the tensor `base`."""
        tensor = self.schema.TensorT()
        tensor.type = getattr(self.schema.TensorType, str(value.dtype).upper())
        index = self._added(tensor, base, what)
        self.store(index, value)
        return index

    def made(self, like: int, what: str) -> int:
        """Return the index of a new tensor of the type and shape of another, that an operation is to make."""
        tensor = copy.deepcopy(self.graph.tensors[like])
        tensor.buffer, tensor.quantization = 0, None
        return self._added(tensor, like, what)

    def store(self, index: int, value: Array) -> None:
        """Give a constant another value (and shape), in a buffer of its own."""
        buffer, tensor = self.schema.BufferT(), self.graph.tensors[index]
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1
        tensor.shape, tensor.shapeSignature = list(value.shape), None

    def become(self, op: Any, name: str, inputs: Sequence[int], options: str = "", **fields: Any) -> None:
        """Turn an operation into another one (version 1) that makes the same; `options` is its table, if it has one."""
        op.opcodeIndex = operator_code(self.model, self.schema, getattr(self.schema.BuiltinOperator, name))
        op.builtinOptions, op.builtinOptionsType = None, self.schema.BuiltinOptions.NONE
        if options:
            op.builtinOptions = getattr(self.schema, f"{options}T")()
            op.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            for field, value in fields.items():
                setattr(op.builtinOptions, field, value)
        self.read(op, inputs)

    def before(self, op: Any) -> Any:
        """Return a new operation, in front of another; what it is, `become` says."""
        new = self.schema.OperatorT()
        new.inputs, new.outputs = [], []
        place = next(n for n, one in enumerate(self.graph.operators) if one is op)
        self.graph.operators = [*self.graph.operators[:place], new, *self.graph.operators[place:]]
        return new

    def read(self, op: Any, inputs: Sequence[int]) -> None:
        """Let an operation read other tensors."""
        op.inputs, self._links = list(inputs), None

    def make(self, op: Any, outputs: Sequence[int]) -> None:
        """Let an operation make other tensors."""
        op.outputs, self._links = list(outputs), None

    def redirect(self, old: int, new: int) -> None:
        """Let everyone who reads a tensor read another."""
        for op in self.graph.operators:
            op.inputs = [new if i == old else i for i in op.inputs]
        self._links = None

    def can_pass(self, op: Any, source: int) -> bool:
        """Return whether `bypass` can be done."""
        target = op.outputs[0]
        if target not in self.shown:
            return True
        maker = self.maker(source)
        hidden = source not in self.shown and source not in self.given
        return hidden and maker is not None and self.name(maker) in PURE

    def bypass(self, op: Any, source: int) -> None:
        """Leave out an operation that makes what `source` holds. An output of the model stays under its name: then what
        makes the source makes it instead."""
        target = op.outputs[0]
        if target in self.shown:
            maker = self.maker(source)
            self.drop(op)
            self.make(maker, [target if i == source else i for i in maker.outputs])
            self.redirect(source, target)
        else:
            self.drop(op)
            self.redirect(target, source)

    def drop(self, *gone: Any) -> None:
        """Take operations out of the graph."""
        ids = {id(op) for op in gone}
        self.graph.operators = [op for op in self.graph.operators if id(op) not in ids]
        self._links = None

    def instead(self, op: Any, others: Sequence[Any]) -> None:
        """Put operations in the place of one."""
        place = next(n for n, one in enumerate(self.graph.operators) if one is op)
        self.graph.operators = [*self.graph.operators[:place], *others, *self.graph.operators[place + 1 :]]
        self._links = None

    def idle(self) -> Iterator[Any]:
        """Yield the operations that compute what nobody reads, and do nothing else, last ones first."""
        for op in reversed(self.operators):
            if self._idle(op):
                yield op

    def packed(self) -> bytes:
        """Return the changed file, without the operations that became idle by the changes and without tensors,
        operator codes and constants that nobody refers to; the very same bytes where nothing was changed."""
        if not self.done:
            return self.content
        for op in self.idle():
            if id(op) not in self._unread:
                self.drop(op)
        pruned(self.model)
        drop_unused(self.model)
        return packed(self.model, self.schema, self.content)

    def _idle(self, op: Any) -> bool:
        return self.name(op) in PURE and not any(i in self.shown or self.readers(i) for i in op.outputs)

    def _linked(self) -> tuple[dict[int, Any], dict[int, list[Any]]]:
        if self._links is None:
            makers = {i: op for op in self.graph.operators for i in op.outputs}
            readers: dict[int, list[Any]] = {}
            for op in self.graph.operators:
                for i in op.inputs:
                    readers.setdefault(i, []).append(op)
            self._links = makers, readers
        return self._links

    def _label(self, index: int) -> str:
        name = self.graph.tensors[index].name
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or index)

    def _added(self, tensor: Any, base: int, what: str) -> int:
        names = {self._label(index) for index in range(len(self.graph.tensors))}
        wanted = name = f"{self._label(base)}/{what}"
        number = 0
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        tensor.name = name.encode()
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1
