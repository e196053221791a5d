"""A layer around a layer, as tensorflow-model-optimization writes it to files: the names, and what all have in common.
Worker side.

What it trained is in a few numbers: the weights, for clustering the centroids, for quantization the ranges. These
classes read just that, under its class names and in its order of variables, and compute what its own do when nothing
is trained. Loading needs nothing installed, and goes where its own loading does not (docs/adr/0016-tfmot.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PRUNED = ("PruneLowMagnitude",)
CLUSTERED = ("ClusterWeights", "ClusterWeightsRNN")
QUANTIZED = ("QuantizeWrapper", "QuantizeWrapperV2")
ANNOTATED = ("QuantizeAnnotate",)
WRAPPERS = (*PRUNED, *CLUSTERED, *QUANTIZED, *ANNOTATED)
PASSED = "QuantizeLayer"
FINE = 16
"""Bits of a weight that is converted: its range is to be told, and its value kept. (The converter folds batch
normalization into the rounded weight.)"""

_Base: Any = object
"""`wrappers` puts Keras's own Wrapper or Layer behind these classes, where a worker has it."""


class Wrapper(_Base):  # type: ignore[misc]
    """A layer that shows the weights of the one in it."""

    def __init__(self, layer: Any, told: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(layer, **more)
        self.told = dict(told or {})
        if not hasattr(self, "_batch_input_shape") and hasattr(layer, "_batch_input_shape"):
            self._batch_input_shape = layer._batch_input_shape

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        import tf_keras

        inner = config["layer"]
        layer = tf_keras.layers.deserialize(inner, use_legacy_format="module" not in inner)
        known = ("name", "trainable", "dtype", "batch_input_shape")
        own = {key: config[key] for key in known if key in config}
        return cls(layer, {key: value for key, value in config.items() if key not in ("layer", *own)}, **own)

    def call(self, inputs: Any, training: Any = None, **more: Any) -> Any:
        return called(self.layer, inputs, training, more)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    @property
    def trainable_weights(self) -> list[Any]:
        return list(self.layer.trainable_weights)

    @property
    def non_trainable_weights(self) -> list[Any]:
        return [*self.layer.non_trainable_weights, *self._non_trainable_weights]

    def load_own_variables(self, store: Any) -> None:
        """Of a `.keras` file: what it holds beside the layer's own was for training."""


def called(layer: Any, inputs: Any, training: Any, more: Mapping[str, Any]) -> Any:
    """Return what a layer makes, told `training` where it takes it."""
    if getattr(layer, "_expects_training_arg", False):
        return layer.call(inputs, training=training, **more)
    return layer.call(inputs, **more)


@contextmanager
def standing_in(layer: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Put other values at attributes of a layer, within the block, past Keras's tracking: variables stay its own."""
    before = {name: getattr(layer, name) for name in values}
    try:
        for name, value in values.items():
            object.__setattr__(layer, name, value)
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(layer, name, value)


def rounded(x: Any, ends: Any) -> Any:
    """Return an activation on 256 numbers of a range; its low end moves to where zero is one of them.

    How many bits were trained for is the recipe's affair: of this node only the range is kept.
    """
    import tensorflow as tf

    return tf.quantization.fake_quant_with_min_max_vars(x, *ends)


def weight_rounded(x: Any, ends: Any, bits: int) -> Any:
    """Return a weight on 2^bits - 1 numbers around zero, of one range or of one a channel along the last axis."""
    import tensorflow as tf

    each = "_per_channel" if len(ends[0].shape) else ""
    fake = getattr(tf.quantization, f"fake_quant_with_min_max_vars{each}")
    return fake(x, *ends, num_bits=bits, narrow_range=True)


def load_rest(layer: Any, held: set[int]) -> None:
    """Have a layer load from a `.keras` file only the variables that its wrapper did not: the others are not in its
    own place there."""

    def load(store: Any) -> None:
        rest = [v for v in (*layer._trainable_weights, *layer._non_trainable_weights) if id(v) not in held]
        first = len(store) - len(rest) if len(store) > len(rest) else 0
        for i, variable in enumerate(rest):
            variable.assign(store[str(first + i)])

    layer.load_own_variables = load
