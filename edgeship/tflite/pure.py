"""Operations that do nothing but compute their outputs from their inputs: `PURE`.

What is not in it keeps a state, draws numbers, calls other graphs or is somebody's own, and is never left out, merged
or computed ahead.
"""

from __future__ import annotations

LAYERS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "CONV_3D", "CONV_3D_TRANSPOSE",
    "BATCH_MATMUL", "EMBEDDING_LOOKUP",
)  # fmt: skip
ELEMENTWISE = (
    "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG", "RELU",
    "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "TANH",
)  # fmt: skip
"""Of one float tensor, value by value."""
PAIRS = (
    "ADD",
    "SUB",
    "MUL",
    "DIV",
    "MAXIMUM",
    "MINIMUM",
    "POW",
    "SQUARED_DIFFERENCE",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "ATAN2",
)
"""Of two tensors that broadcast, value by value."""
LOGIC = (
    "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT",
    "SELECT", "SELECT_V2", "WHERE",
)  # fmt: skip
REDUCTIONS = (
    "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL", "CUMSUM", "ARG_MAX",
    "ARG_MIN", "TOPK_V2",
)  # fmt: skip
MOVES = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "SLICE",
    "STRIDED_SLICE", "GATHER", "GATHER_ND", "PAD", "PADV2", "MIRROR_PAD", "TILE", "BROADCAST_TO", "REVERSE_V2",
    "REVERSE_SEQUENCE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SCATTER_ND",
)  # fmt: skip
OTHERS = (
    "PRELU", "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", "AVERAGE_POOL_2D",
    "MAX_POOL_2D", "L2_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "CAST", "QUANTIZE", "DEQUANTIZE",
    "ADD_N", "SHAPE", "RANK", "RANGE", "FILL", "ZEROS_LIKE", "ONE_HOT", "BROADCAST_ARGS", "MATRIX_DIAG",
    "MATRIX_SET_DIAG", "SPARSE_TO_DENSE",
)  # fmt: skip
PURE = frozenset({*LAYERS, *ELEMENTWISE, *PAIRS, *LOGIC, *REDUCTIONS, *MOVES, *OTHERS})
