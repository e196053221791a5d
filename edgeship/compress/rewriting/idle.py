"""Operations that change nothing, and those that nobody needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeship.tflite.draft import Draft

NONE = 0
ZERO_STAYS = (NONE, 1, 2, 3)
"""Fused activations that leave 0: none, RELU, RELU_N1_TO_1, RELU6."""
LARGEST = 16 * 1024
"""Zeros that are written into the file for an operation that needs them all."""
SAME_SHAPE = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "TILE", "BROADCAST_TO", "PAD", "PADV2", "MIRROR_PAD",
     "CONCATENATION", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPLIT", "SPLIT_V", "DEPTH_TO_SPACE",
     "SPACE_TO_DEPTH"}
)  # fmt: skip
"""Operations that do nothing where they make the shape that they read (of one input, one output)."""
CAPPED = {"RELU": (1, 3), "RELU6": (3,), "RELU_N1_TO_1": (2,)}
"""Activation -> fused activations behind which it does nothing."""


def drop_neutral(draft: Draft) -> None:
    """Leave out what changes nothing: sums with 0, products with 1, moves to the same place, activations twice."""
    for op in draft.operators:
        source = neutral(draft, op)
        if source is not None and draft.can_pass(op, source) and draft.may(op):
            draft.bypass(op, source)


def neutral(draft: Draft, op: Any) -> int | None:
    """Return the input that an operation passes on as it is, None where it does not."""
    name = draft.name(op)
    if len(op.outputs) != 1 or not op.inputs:
        return None
    made = draft.shape(op.outputs[0])
    if name in ("ADD", "SUB", "MUL", "DIV"):
        return _arithmetic(draft, op, name)
    source: int = op.inputs[1] if name == "SPLIT" else op.inputs[0]
    if draft.is_constant(source):
        return None
    if name in CAPPED:
        maker = draft.maker(source)
        capped = maker is not None and (fused(maker) in CAPPED[name] or draft.name(maker) == name)
        return source if capped else None
    if made is None or draft.shape(source) != made:
        return None
    if name in SAME_SHAPE:
        single = name != "CONCATENATION" or (len(op.inputs) == 1 and fused(op) == NONE)
        return source if single and _is_fixed(draft, op, name) else None
    if name == "TRANSPOSE":
        order = draft.integers(op.inputs[1])
        return source if order is not None and order.tolist() == list(range(len(made))) else None
    if name == "STRIDED_SLICE":
        steps = draft.integers(op.inputs[3])
        options = op.builtinOptions
        plain = options is not None and not (
            options.newAxisMask or options.shrinkAxisMask or options.ellipsisMask
        )
        fixed = all(draft.integers(i) is not None for i in op.inputs[1:3])
        return source if plain and fixed and steps is not None and (steps == 1).all() else None
    return None


def _is_fixed(draft: Draft, op: Any, name: str) -> bool:
    """Return whether the shape that an operation makes is known before it runs."""
    if name in ("SPLIT", "CONCATENATION", "SQUEEZE"):
        return True
    return all(draft.is_constant(i) for i in op.inputs[1:] if i >= 0)


def _arithmetic(draft: Draft, op: Any, name: str) -> int | None:
    if fused(op) != NONE:
        return None
    x, y = (int(i) for i in op.inputs)
    wanted = 0 if name in ("ADD", "SUB") else 1
    for source, other in ((x, y), (y, x)) if name in ("ADD", "MUL") else ((x, y),):
        value, shape = draft.floats(other), draft.shape(source)
        if value is None or shape is None or draft.is_constant(source):
            continue
        if shape == draft.shape(op.outputs[0]) and (value == wanted).all():
            return source
    return None


def fused(op: Any) -> int:
    """Return the activation that is fused to an operation, 0 for none (and where it can have none)."""
    return int(getattr(op.builtinOptions, "fusedActivationFunction", NONE) or NONE)


def drop_zeros(draft: Draft) -> None:
    """Put the constant 0 in the place of products with 0, so that nobody needs what was multiplied."""
    for op in draft.operators:
        if not draft.there(op) or draft.name(op) != "MUL" or fused(op) not in ZERO_STAYS:
            continue
        factors = [value for i in op.inputs if (value := draft.floats(i)) is not None]
        target = op.outputs[0]
        shape = draft.shape(target)
        if not any((value == 0).all() for value in factors) or target in draft.shown or shape is None:
            continue
        spread = all(_broadcasts(draft, reader, target) for reader in draft.readers(target))
        if not spread and int(np.prod(shape)) > LARGEST:
            continue
        if draft.readers(target) and draft.may(op):
            draft.redirect(
                target, draft.put(target, "zero", np.zeros([1] * len(shape) if spread else shape, np.float32))
            )
            draft.drop(op)


def _broadcasts(draft: Draft, reader: Any, index: int) -> bool:
    """Return whether an operation makes the same of a tensor of one value that it spreads."""
    if draft.name(reader) not in ("ADD", "SUB", "MUL"):
        return False
    others = [i for i in reader.inputs if i != index]
    return len(others) == 1 and draft.shape(others[0]) == draft.shape(reader.outputs[0]) is not None


def drop_dead(draft: Draft) -> None:
    """Leave out operations whose results nobody reads."""
    for op in draft.idle():
        if draft.may(op):
            draft.drop(op)
