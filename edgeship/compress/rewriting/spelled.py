"""Operations that an accelerator or runtime lacks, written as ones that every one has: `spell_leaky`, ..."""

from __future__ import annotations

import numpy as np

from edgeship.tflite.draft import Draft

RELU6 = 3
"""ActivationFunctionType that an operation has fused to it."""


def spell_leaky(draft: Draft) -> None:
    """Write LEAKY_RELU as MAXIMUM(x, a * x), as MINIMUM where a is above 1. A negative slope stays as it is."""
    for op in draft.operators:
        if draft.name(op) != "LEAKY_RELU" or not draft.is_float(op.inputs[0]):
            continue
        slope = float(op.builtinOptions.alpha)
        if not slope >= 0 or not draft.may(op):
            continue
        source, target = op.inputs[0], op.outputs[0]
        times, scaled = draft.before(op), draft.made(target, "scaled")
        held = draft.put(target, "slope", np.full([1], slope, np.float32))
        draft.become(times, "MUL", [source, held], "MulOptions")
        draft.make(times, [scaled])
        name = "MAXIMUM" if slope <= 1 else "MINIMUM"
        draft.become(op, name, [source, scaled], "MaximumMinimumOptions")


def spell_hard_swish(draft: Draft) -> None:
    """Write HARD_SWISH as x * (RELU6(x + 3) / 6), as Keras defines it (Howard et al., "Searching for MobileNetV3", ICCV
    2019)."""
    for op in draft.operators:
        if draft.name(op) != "HARD_SWISH" or not draft.is_float(op.inputs[0]) or not draft.may(op):
            continue
        source, target = op.inputs[0], op.outputs[0]
        plus, times = draft.before(op), draft.before(op)
        gate, share = draft.made(target, "gate"), draft.made(target, "share")
        three = draft.put(target, "three", np.full([1], 3, np.float32))
        sixth = draft.put(target, "sixth", np.full([1], 1 / 6, np.float32))
        draft.become(plus, "ADD", [source, three], "AddOptions", fusedActivationFunction=RELU6)
        draft.make(plus, [gate])
        draft.become(times, "MUL", [gate, sixth], "MulOptions")
        draft.make(times, [share])
        draft.become(op, "MUL", [source, share], "MulOptions")


def spell_divisions(draft: Draft) -> None:
    """Write DIV by constants as MUL with their inverses, where these are finite."""
    for op in draft.operators:
        if draft.name(op) != "DIV" or not draft.is_float(op.outputs[0]):
            continue
        divisor = draft.floats(op.inputs[1])
        if divisor is None or draft.is_constant(op.inputs[0]):
            continue
        with np.errstate(divide="ignore", over="ignore"):
            inverse = (1.0 / divisor.astype(np.float64)).astype(np.float32)
        if not np.isfinite(inverse).all() or not draft.may(op):
            continue
        fused = op.builtinOptions.fusedActivationFunction if op.builtinOptions is not None else 0
        held = draft.put(op.outputs[0], "inverse", inverse)
        draft.become(op, "MUL", [op.inputs[0], held], "MulOptions", fusedActivationFunction=fused)
