"""Inputs and outputs of a Keras model of either generation, by name, in the order that it declares. In workers only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def input_name(tensor: Any) -> str:
    """Return the name of one of `model.inputs` as the float model has it."""
    return word(str(getattr(tensor, "name", "input")).split(":")[0])


def packed_inputs(model: Any, tensors: Sequence[Any]) -> Any:
    """Return tensors in the order of `model.inputs` as the model is called with them: alone, a list, a dict."""
    import tensorflow as tf

    structure = getattr(model, "_inputs_struct", None)
    nested = structure if structure is not None else getattr(model, "_nested_inputs", None)
    flat: Any = tensors[0] if len(tensors) == 1 else list(tensors)
    return flat if nested is None else tf.nest.pack_sequence_as(nested, list(tensors))


def declared_outputs(model: Any) -> dict[str, Any]:
    """Return the symbolic outputs of a functional or sequential model by name, in the order the model declares."""
    for structure in ("_outputs_struct", "_nested_outputs"):
        if (held := getattr(model, structure, None)) is not None:
            return named_outputs(model, held)
    return named_outputs(model, list(model.outputs))


def named_outputs(model: Any, made: Any) -> dict[str, Any]:
    """Return what a model made, by name, in the order the model declares: the keys of a dict, else the names
    of its output layers."""
    import tensorflow as tf

    if isinstance(made, Mapping):
        declared = getattr(model, "_outputs_struct", None) or getattr(model, "_nested_outputs", None)
        keys = list(declared if isinstance(declared, Mapping) and set(declared) == set(made) else made)
        pairs = [(str(key), tensor) for key in keys for tensor in tf.nest.flatten(made[key])]
    else:
        flat = tf.nest.flatten(made)
        names = list(getattr(model, "output_names", None) or ())
        if len(names) != len(flat):
            names = [f"output_{index}" for index in range(len(flat))]
        pairs = list(zip(names, flat, strict=True))
    named: dict[str, Any] = {}
    for name, tensor in pairs:
        named[free_word(name, named)] = tensor
    return named


def free_word(name: str, taken: Iterable[str]) -> str:
    """Return a name as TensorFlow takes it for an argument, numbered where it is taken."""
    held, found, number = set(taken), word(name), 1
    while found in held:
        found, number = f"{word(name)}_{number}", number + 1
    return found


def word(name: str) -> str:
    """Return a name as TensorFlow takes it for an argument: letters, digits and _, no digit first."""
    return re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", name)
