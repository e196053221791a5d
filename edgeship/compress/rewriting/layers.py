"""Products and sums with constants, and activations, taken into the layers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.compress.rewriting.idle import NONE, fused
from edgeship.tflite.draft import Draft
from edgeship.tflite.weights import PLACES, Place

Array = NDArray[Any]
ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
FUSES = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Activation -> its number where it is fused."""
TAKES = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", *ARITHMETIC})
"""Operations that activations are fused to."""
VALID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """scale * x + shift, each one value or one a channel, that an operation with a constant computes of `source`."""

    source: int
    scale: Array
    shift: Array

    @property
    def shifts(self) -> bool:
        return bool((self.shift != 0).any())


def affine_of(draft: Draft, op: Any) -> Affine | None:
    """Return what ADD, SUB, MUL or DIV with a constant does to channels (the last axis), None where it is more."""
    name = draft.name(op)
    if name not in ARITHMETIC:
        return None
    made = draft.shape(op.outputs[0])
    for place in (1, 0):
        value, source = draft.floats(op.inputs[place]), op.inputs[1 - place]
        if value is None or draft.is_constant(source) or not draft.is_float(source):
            continue
        if made is None or draft.shape(source) != made or value.size not in (1, made[-1]):
            return None
        if value.size > 1 and value.shape[-1] != made[-1]:
            return None
        c = value.reshape(-1).astype(np.float64)
        one, zero = np.ones(1), np.zeros(1)
        if name == "MUL":
            return Affine(source=source, scale=c, shift=zero)
        if name == "ADD":
            return Affine(source=source, scale=one, shift=c)
        if name == "SUB":
            sign = 1.0 if place == 1 else -1.0
            return Affine(source=source, scale=sign * one, shift=-sign * c)
        return Affine(source=source, scale=1.0 / c, shift=zero) if place == 1 and (c != 0).all() else None
    return None


def layer_place(draft: Draft, op: Any) -> Place | None:
    """Return where an operation has weights that can be changed for it alone, None where it has none."""
    place = PLACES.get(draft.name(op))
    if place is None or len(op.inputs) <= place.weight:
        return None
    weight = op.inputs[place.weight]
    bias = op.inputs[place.bias] if len(op.inputs) > place.bias else -1
    own = len(draft.readers(weight)) == 1 and draft.floats(weight) is not None
    known = bias < 0 or draft.floats(bias) is not None
    plain = not getattr(op.builtinOptions, "weightsFormat", 0)
    return place if own and known and plain and not draft.has_range(weight) else None


def fold_into_layers(draft: Draft) -> None:
    """Take products and sums with one constant a channel, behind a layer or in front of it, into weights and bias."""
    for op in draft.operators:
        if draft.there(op):
            affine = affine_of(draft, op)
            ways = (_behind, _in_front, _shifted_first, _merged)
            if affine is not None:
                any(way(draft, op, affine) for way in ways)


def _behind(draft: Draft, op: Any, affine: Affine) -> bool:
    """Take an operation into the layer whose result it reads; return whether that was possible."""
    layer = draft.maker(affine.source)
    if layer is None or not draft.alone(affine.source) or fused(layer) != NONE:
        return False
    place, act = layer_place(draft, layer), fused(op)
    transposed = draft.name(layer) == "TRANSPOSE_CONV"
    if place is None or (transposed and (act != NONE or (affine.shifts and len(layer.inputs) <= place.bias))):
        return False
    if not draft.may(op):
        return False
    weight = draft.floats(layer.inputs[place.weight])
    assert weight is not None
    across = [1] * weight.ndim
    across[place.channels] = -1
    bias = _bias(draft, layer, place, weight.shape[place.channels])
    _write(draft, layer, place, weight * affine.scale.reshape(across), bias * affine.scale + affine.shift)
    if act != NONE:
        layer.builtinOptions.fusedActivationFunction = act
    target = op.outputs
    draft.drop(op)
    draft.make(layer, target)
    return True


def _in_front(draft: Draft, op: Any, affine: Affine) -> bool:
    """Take an operation into the layer that reads its result, also one that reads it flattened; return whether that was
    possible."""
    made = op.outputs[0]
    if not draft.alone(made) or fused(op) != NONE:
        return False
    read, layer = made, draft.readers(made)[0]
    if draft.name(layer) == "RESHAPE" and layer.inputs[0] == made and draft.alone(layer.outputs[0]):
        read = layer.outputs[0]
        layer = draft.readers(read)[0]
    name, place, shape = draft.name(layer), layer_place(draft, layer), draft.shape(made)
    if place is None or shape is None or layer.inputs[2 if name == "TRANSPOSE_CONV" else 0] != read:
        return False
    weight = draft.floats(layer.inputs[place.weight])
    assert weight is not None
    if read != made and name != "FULLY_CONNECTED":
        return False
    if affine.shifts and not _sees_no_edge(layer, name, weight):
        return False
    spread = [_spread(part, name, weight, shape[-1]) for part in (affine.scale, affine.shift)]
    if any(part is None for part in spread) or not draft.may(op):
        return False
    summed = tuple(a for a in range(weight.ndim) if a != place.channels)
    bias = _bias(draft, layer, place, weight.shape[place.channels]) + (weight * spread[1]).sum(axis=summed)
    _write(draft, layer, place, weight * spread[0], bias)
    draft.drop(op)
    draft.redirect(made, affine.source)
    return True


def _spread(part: Array, name: str, weight: Array, channels: int) -> Array | None:
    """Return one value a channel of what a layer reads as one along the last axis of its weight, None where the two do
    not fit: a depthwise one has several outputs a channel, a dense one all pixels in a row, channels last."""
    size = weight.shape[-1]
    if size % max(channels, 1) or (size != channels and name not in ("DEPTHWISE_CONV_2D", "FULLY_CONNECTED")):
        return None
    if part.size == 1:
        return part
    times = size // channels
    return np.repeat(part, times) if name == "DEPTHWISE_CONV_2D" else np.tile(part, times)


def _sees_no_edge(layer: Any, name: str, weight: Array) -> bool:
    """Return whether every output of a layer reads as many inputs: then a shift of them is one of the bias."""
    if name == "FULLY_CONNECTED":
        return True
    window = weight.shape[1:3] if name != "TRANSPOSE_CONV" else ()
    return bool(window) and (window == (1, 1) or int(layer.builtinOptions.padding) == VALID)


def _bias(draft: Draft, layer: Any, place: Place, channels: int) -> Array:
    index = layer.inputs[place.bias] if len(layer.inputs) > place.bias else -1
    value = draft.floats(index)
    return np.zeros(channels) if value is None else value.reshape(-1).astype(np.float64)


def _write(draft: Draft, layer: Any, place: Place, weight: Array, bias: Array) -> None:
    """Give a layer another weight and bias, and a bias where it had none and needs one."""
    draft.store(layer.inputs[place.weight], weight.astype(np.float32))
    inputs = list(layer.inputs)
    index = inputs[place.bias] if len(inputs) > place.bias else -1
    value = bias.astype(np.float32)
    if index >= 0 and len(draft.readers(index)) == 1:
        draft.store(index, value)
    elif index >= 0 or value.any():
        inputs += [-1] * (place.bias + 1 - len(inputs))
        inputs[place.bias] = draft.put(layer.inputs[place.weight], "bias", value)
        draft.read(layer, inputs)


def _shifted_first(draft: Draft, op: Any, affine: Affine) -> bool:
    """Take a product into a layer that pads, though a sum is between them, which must not go into it: s * x + t is
    s * (x + t / s). So images are scaled and centred; return whether that was possible."""
    first, made = draft.maker(affine.source), op.outputs[0]
    inner = None if first is None or fused(first) != NONE else affine_of(draft, first)
    if (
        inner is None
        or inner.shifts
        or not affine.shifts
        or (inner.scale == 0).any()
        or (affine.scale != 1).any()
    ):
        return False
    if fused(op) != NONE or not draft.alone(affine.source) or not draft.alone(made):
        return False
    layer, shape = draft.readers(made)[0], draft.shape(made)
    place = layer_place(draft, layer)
    if place is None or draft.name(layer) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or layer.inputs[0] != made:
        return False
    weight = draft.floats(layer.inputs[place.weight])
    depthwise = draft.name(layer) == "DEPTHWISE_CONV_2D"
    if (
        weight is None
        or shape is None
        or not (depthwise or weight.shape[3] == shape[-1])
        or not draft.may(op)
    ):
        return False
    times = weight.shape[3] // shape[-1] if depthwise and inner.scale.size > 1 else 1
    bias = _bias(draft, layer, place, weight.shape[place.channels])
    _write(draft, layer, place, weight * np.repeat(inner.scale, times), bias)
    shift = (affine.shift / inner.scale).astype(np.float32)
    held = draft.put(made, "shift", shift)
    draft.become(op, "ADD", [inner.source, held], "AddOptions")
    draft.drop(first)
    return True


def _merged(draft: Draft, op: Any, affine: Affine) -> bool:
    """Make one of two sums, or two products, that follow one another; return whether that was possible."""
    name, source = draft.name(op), affine.source
    first = draft.maker(source)
    if name not in ("ADD", "MUL") or first is None or draft.name(first) != name:
        return False
    inner = affine_of(draft, first)
    if inner is None or fused(first) != NONE or not draft.alone(source) or not draft.may(op):
        return False
    (earlier,), (later,) = (
        [value for i in one.inputs if (value := draft.floats(i)) is not None] for one in (first, op)
    )
    both = earlier + later if name == "ADD" else earlier * later
    draft.read(op, [inner.source, draft.put(op.outputs[0], "both", both.astype(np.float32))])
    draft.drop(first)
    return True


def fuse_activations(draft: Draft) -> None:
    """Take RELU, RELU6 and RELU_N1_TO_1 into the layer or the arithmetic whose result they alone read."""
    for op in draft.operators:
        number = FUSES.get(draft.name(op))
        source = op.inputs[0] if op.inputs else -1
        maker = draft.maker(source) if number else None
        if maker is None or draft.name(maker) not in TAKES or not draft.alone(source):
            continue
        if fused(maker) != NONE or maker.builtinOptions is None or not draft.is_float(source):
            continue
        if draft.may(op):
            maker.builtinOptions.fusedActivationFunction = number
            target = op.outputs
            draft.drop(op)
            draft.make(maker, target)
