"""What training holds the weights to: functions of the weights, one after the other (`Constraints`).

A constraint sees every weight on its way into the graph and every activation on its way out of an operation. What
earlier steps of a chain made is held on by reading it off the file: zeros are a mask, shared values a codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Values = Callable[[], Mapping[int, Floats]]


class Constraint(Protocol):
    """One function of the weights, and of the activations."""

    def variables(self) -> Sequence[Any]:
        """Return what it lets training change besides the weights."""

    def weight(self, index: int, value: Any) -> Any:
        """Return what the operation reads in place of the weight `value` (tensor `index`)."""

    def activation(self, index: int, value: Any) -> Any:
        """Return what is read in place of the activation `value` (tensor `index`)."""

    def at(self, share: float, values: Values) -> None:
        """Go on to `share` (0..1) of the training; `values()` are the weights as they are now."""

    def kept(self) -> Any:
        """Return what `restore` takes, to come back to this moment."""

    def restore(self, kept: Any) -> None:
        """Come back to the moment of `kept`."""


class Free:
    """Holds to nothing: what most constraints are in most respects."""

    def variables(self) -> Sequence[Any]:
        return ()

    def weight(self, index: int, value: Any) -> Any:
        return value

    def activation(self, index: int, value: Any) -> Any:
        return value

    def at(self, share: float, values: Values) -> None:
        """Nothing depends on how far training is."""

    def kept(self) -> Any:
        return [variable.numpy() for variable in self.variables()]

    def restore(self, kept: Any) -> None:
        for variable, value in zip(self.variables(), kept, strict=True):
            variable.assign(value)


class Constraints(Free):
    """Several constraints, one after the other."""

    def __init__(self, *several: Constraint) -> None:
        self.several = several

    def variables(self) -> Sequence[Any]:
        return [variable for one in self.several for variable in one.variables()]

    def weight(self, index: int, value: Any) -> Any:
        for one in self.several:
            value = one.weight(index, value)
        return value

    def activation(self, index: int, value: Any) -> Any:
        for one in self.several:
            value = one.activation(index, value)
        return value

    def at(self, share: float, values: Values) -> None:
        for one in self.several:
            one.at(share, values)

    def kept(self) -> Any:
        return [one.kept() for one in self.several]

    def restore(self, kept: Any) -> None:
        for one, part in zip(self.several, kept, strict=True):
            one.restore(part)

    def weights(self, values: Mapping[int, Floats]) -> dict[int, Floats]:
        """Return what the graph reads of the weights `values`: what the file shall hold."""
        import tensorflow as tf

        return {index: np.asarray(self.weight(index, tf.constant(v))) for index, v in values.items()}


class Mask(Free):
    """Zeros that stay zeros."""

    def __init__(self, masks: Mapping[int, Floats]) -> None:
        import tensorflow as tf

        self.masks = {index: tf.Variable(mask, trainable=False) for index, mask in masks.items()}

    def weight(self, index: int, value: Any) -> Any:
        return value * self.masks[index] if index in self.masks else value

    def kept(self) -> Any:
        return {index: mask.numpy() for index, mask in self.masks.items()}

    def restore(self, kept: Any) -> None:
        for index, mask in kept.items():
            self.masks[index].assign(mask)
