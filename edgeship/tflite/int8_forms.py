"""Operations with an int8 kernel that ai-edge-quantizer knows none for, by how the kernel treats scales.

Source: TensorFlow Lite's 8-bit quantization specification. Quantizing gives them that form, and `check` counts on it.
"""

from __future__ import annotations

FREE = frozenset({"LEAKY_RELU", "PRELU", "ELU", "RELU6"})
"""The kernel rescales: input and output have scales of their own."""
SAME = frozenset({
    "REDUCE_MAX", "SQUEEZE", "EXPAND_DIMS", "TILE", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND",
    "REVERSE_V2",
})  # fmt: skip
"""Values pass through: the output has the input's scale, and a QUANTIZE behind it changes that."""
FIXED = {"L2_NORMALIZATION": (1 / 128, 0)}
"""The kernel answers with this scale and zero point, whatever comes in."""
FORMS = FREE | SAME | frozenset(FIXED)
