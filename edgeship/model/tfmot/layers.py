"""The custom objects by which tf_keras loads what tensorflow-model-optimization wrapped: `wrappers()`. Worker."""

from __future__ import annotations

from typing import Any

from edgeship.model.tfmot.clustered import Clustered
from edgeship.model.tfmot.quantized import Passed, QuantizeAwareActivation, Quantized
from edgeship.model.tfmot.wrapper import ANNOTATED, CLUSTERED, PASSED, PRUNED, QUANTIZED, WRAPPERS, Wrapper


def wrappers() -> dict[str, Any]:
    """Return the classes by the names that files have for them: custom objects for tf_keras."""
    import tf_keras

    bases: dict[str, type] = dict.fromkeys((*PRUNED, *ANNOTATED), Wrapper)
    bases |= dict.fromkeys(CLUSTERED, Clustered) | dict.fromkeys(QUANTIZED, Quantized)
    # `.keras` files name places after classes, each of which so needs its own name.
    made: dict[str, Any] = {
        name: type(name, (base, tf_keras.layers.Wrapper), {}) for name, base in bases.items()
    }
    made[PASSED] = type(PASSED, (Passed, tf_keras.layers.Layer), {})
    return made | {"QuantizeAwareActivation": QuantizeAwareActivation}


def settle(model: Any) -> dict[str, int]:
    """Put clustered weights of a loaded model on their centroids; return wrapper -> how many of it there were."""
    counts: dict[str, int] = {}
    for layer in model._flatten_layers():
        kind = type(layer).__name__
        if kind in WRAPPERS:
            counts[kind] = counts.get(kind, 0) + 1
            if kind in CLUSTERED:
                layer.settle()
    return counts


def mark(model: Any) -> None:
    """Have the weights of a loaded model tell the size of their steps to what is converted of it."""
    for layer in model._flatten_layers():
        if type(layer).__name__ in (*CLUSTERED, *QUANTIZED):
            layer.mark()
