"""Layers whose weights are the nearest of a few centroids. Worker side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeship.model.tfmot.wrapper import FINE, Wrapper, called, load_rest, standing_in, weight_rounded

KERNELS: Mapping[str, str] = {
    "Dense": "kernel", "Embedding": "embeddings", "LocallyConnected1D": "kernel", "LocallyConnected2D": "kernel",
    "Conv1D": "kernel", "Conv2D": "kernel", "Conv3D": "kernel", "Conv1DTranspose": "kernel",
    "Conv2DTranspose": "kernel", "Conv3DTranspose": "kernel", "SeparableConv1D": "pointwise_kernel",
    "SeparableConv2D": "pointwise_kernel",
}  # fmt: skip
"""Layer -> the weight of it that is clustered (tfmot's ClusteringRegistry)."""
MARKED = ("Conv2D", "SeparableConv2D", "Conv2DTranspose", "Dense")
"""Layers that keep a fake quantization of their weight; of the first two, a channel at a time as converters want it."""
CELL = ("kernel", "recurrent_kernel")
"""Weights of a recurrent cell that are clustered."""


class Clustered(Wrapper):
    """Weights of which each is the nearest of a few centroids: `settle` puts them there."""

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        count, channels = self.told["number_of_clusters"], self.told.get("cluster_per_channel")
        self.places: list[tuple[Any, str, Any]] = []
        self.originals: list[Any] = []
        self.cluster_centroids: dict[str, Any] = {}
        for owner, attribute, name in _clustered(self.layer):
            weight = getattr(owner, attribute)
            per_channel = channels and len(weight.shape) == 4
            shape = (int(weight.shape[-1]), count) if per_channel else (count,)
            # Attributes are called as tfmot calls them: SavedModels find variables by that.
            setattr(self, f"original_weight_{name}", weight)
            centroids = self.add_weight(f"cluster_centroids_{name}", shape=shape, trainable=True)
            self.cluster_centroids[name] = centroids
            self.places.append((owner, attribute, centroids))
            self.originals += [weight, centroids]

    @property
    def trainable_weights(self) -> list[Any]:
        own = getattr(self, "originals", [])
        held = {id(variable) for variable in own}
        return [*(w for w in self.layer.trainable_weights if id(w) not in held), *own]

    def load_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.originals):
            variable.assign(store[str(i)])
        held = {id(variable) for variable in self.originals}
        for owner in {id(owner): owner for owner, _, _ in self.places}.values():
            load_rest(owner, held)

    def call(self, inputs: Any, training: Any = None, **more: Any) -> Any:
        limits = getattr(self, "limits", {})
        values = {
            name: weight_rounded(getattr(self.layer, name), ends, FINE) for name, ends in limits.items()
        }
        with standing_in(self.layer, values):
            return called(self.layer, inputs, training, more)

    def mark(self) -> None:
        """Have the weights told by a fake quantization how large they are, so that integers of one tensor are steps of
        one size: as many different ones as there are centroids. Batch normalization that is folded into it scales each
        channel's steps along."""
        import tensorflow as tf

        limits = {}
        for owner, name, centroids in self.places:
            if owner is self.layer and type(owner).__name__ in MARKED:
                limit = float(np.abs(centroids.numpy()).max())
                count = int(getattr(owner, name).shape[-1]) if type(owner).__name__ in MARKED[:2] else 0
                high = np.full((count,) if count else (), limit, np.float32)
                limits[name] = (tf.constant(-high), tf.constant(high))
        object.__setattr__(self, "limits", limits)  # Keras would track it

    def settle(self) -> None:
        """Put every weight on its centroid."""
        for owner, attribute, centroids in self.places:
            weight = getattr(owner, attribute)
            values = nearest(weight.numpy(), centroids.numpy(), bool(self.told.get("preserve_sparsity")))
            weight.assign(values)


def _clustered(layer: Any) -> list[tuple[Any, str, str]]:
    """Return (whose, attribute, tfmot's name) of the weights of a layer that are clustered."""
    kind = type(layer).__name__
    if kind in KERNELS:
        return [(layer, KERNELS[kind], KERNELS[kind])]
    if kind == "Bidirectional":
        cells = [layer.forward_layer.cell, layer.backward_layer.cell]
    elif (cell := getattr(layer, "cell", None)) is not None:
        cells = list(getattr(cell, "cells", [cell]))
    else:
        return []
    return [(cell, name, f"{name}/{i}") for i, cell in enumerate(cells) for name in CELL]


def nearest(weights: Any, centroids: Any, zero: bool) -> Any:
    """Return weights on the nearest of their centroids (`[k]`, or `[channels, k]` along the last axis); `zero`: the
    smallest centroid counts as 0, as tfmot makes it before each step that keeps sparsity."""

    def on(values: Any, points: Any) -> Any:
        if zero:
            points = np.where(np.arange(len(points)) == np.argmin(np.abs(points)), np.float32(0), points)
        found = [points[np.argmin(np.abs(row[:, None] - points), axis=1)] for row in _blocks(values)]
        return np.concatenate(found).reshape(values.shape)

    if centroids.ndim == 1:
        return on(weights, centroids)
    return np.stack([on(weights[..., i], points) for i, points in enumerate(centroids)], axis=-1)


def _blocks(values: Any) -> Sequence[Any]:
    flat = values.reshape(-1)
    return np.array_split(flat, max(1, flat.size // 100_000))
