"""LEAKY_RELU of two operations that every accelerator and runtime has: `spell_leaky`."""

from __future__ import annotations

import numpy as np

from edgeship.tflite.draft import Draft


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
