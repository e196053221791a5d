"""What a function of an operation is given: `Call`; and why it cannot be computed here: `Unfit`.

Every value is *lifted*: `[n, *shape]`, where `shape` is what the file says and `n` counts samples (1 for what does not
depend on them). An operation works on each sample alone, as a runtime does that is called once a sample, so that
no number in a file (the target of a RESHAPE, the ends of a slice) can take the batch for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeship.tflite.file import Operator

Array = NDArray[Any]
Value = Any
"""A tf.Tensor; TensorFlow has no types."""
Function = Callable[["Call"], Any]
"""Of a Call: the lifted output, or a list of them."""


class Unfit(Exception):
    """Why an operation cannot be computed in the trainable graph, in words that go on after its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation and the values that it is given."""

    tf: Any
    """The module tensorflow."""
    operator: Operator
    values: tuple[Value | None, ...]
    """Lifted, one an input; None: left out."""
    constants: tuple[Array | None, ...]
    """What an input always is, as the file says it; None: it depends on samples or is trained."""
    dtypes: tuple[str, ...]
    """Of the outputs."""
    batch: Value
    """n, as a scalar tensor."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The operation's own settings."""
        return self.operator.options

    @property
    def count(self) -> int:
        """How many inputs are named, those left out too."""
        return len(self.values)

    def x(self, position: int = 0) -> Value:
        """Return an input, lifted."""
        value = self.values[position] if position < len(self.values) else None
        if value is None:
            raise Unfit(f"lacks its input {position}")
        return value

    def given(self, position: int) -> bool:
        """Return whether an optional input is there."""
        return position < len(self.values) and self.values[position] is not None

    def weight(self, position: int) -> Value:
        """Return an input that is the same for all samples, not lifted. Raises Unfit where it depends on them."""
        if not self.is_same(position):
            raise Unfit(f"computes its input {position}, which is constant as a rule")
        value = self.x(position)
        return self.tf.reshape(value, sizes(value))  # not value[0]: its gradient would be copied

    def is_same(self, position: int) -> bool:
        """Return whether an input is the same for all samples."""
        return bool(self.x(position).shape[0] == 1)

    def fixed(self, position: int) -> Array:
        """Return an input that says how to compute (axes, sizes, paddings). Raises Unfit where it is computed."""
        value = self.constants[position] if position < len(self.constants) else None
        if value is None:
            raise Unfit(f"computes its input {position}, which is constant as a rule")
        return value

    def numbers(self, position: int) -> list[int]:
        """Return `fixed` as whole numbers."""
        return [int(n) for n in self.fixed(position).reshape(-1)]

    def together(self, values: Sequence[Value]) -> list[Value]:
        """Return lifted values with as many samples each: those that are the same for all are repeated."""
        if all(value.shape[0] == 1 for value in values):
            return list(values)
        return [self.repeated(value) if value.shape[0] == 1 else value for value in values]

    def repeated(self, value: Value) -> Value:
        """Return a value that is the same for all samples, `batch` times."""
        return self.tf.broadcast_to(value, self.tf.concat([self.batch[None], sizes(value)], 0))

    def shape(self, position: int = 0) -> list[int]:
        """Return the shape of an input, of one sample."""
        return sizes(self.x(position))


def sizes(value: Value) -> list[int]:
    """Return the shape of one sample of a lifted value. Raises Unfit where it is not known beforehand."""
    found = value.shape[1:]
    if found.rank is None or None in list(found):
        raise Unfit("works on sizes that are not known beforehand")
    return [int(size) for size in found]


def shaped(call: Call, value: Value, shape: Sequence[int]) -> Value:
    """Return a lifted value whose samples have another shape with as many elements."""
    return call.tf.reshape(value, [-1, *shape])


def flat(call: Call, value: Value) -> Value:
    """Return a lifted value `[n, b, ...]` as `[n * b, ...]`: what kernels that have a batch of their own take."""
    return call.tf.reshape(value, [-1, *sizes(value)[1:]])


def lifted_again(call: Call, value: Value, rows: int) -> Value:
    """Return what `flat` made of `rows` rows a sample, lifted."""
    return call.tf.reshape(value, [-1, rows, *list(value.shape[1:])])


def axis_of(axis: int, rank: int) -> int:
    """Return an axis of a sample, counted from the end where it is negative, as an axis of the lifted value."""
    if not -rank <= axis < max(rank, 1):
        raise Unfit(f"names axis {axis} of {rank}")
    return (axis + rank if axis < 0 else axis) + 1


def aligned(call: Call, *positions: int) -> list[Value]:
    """Return inputs with as many axes each, so that they are broadcast sample by sample."""
    values = [call.x(position) for position in positions]
    rank = max(value.shape.rank for value in values)
    return [
        value
        if value.shape.rank == rank
        else call.tf.reshape(value, [-1, *[1] * (rank - value.shape.rank), *sizes(value)])
        for value in values
    ]
