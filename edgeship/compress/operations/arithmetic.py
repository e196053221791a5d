"""Arithmetic, value by value: two inputs that are broadcast, or one; comparisons, whose results have no gradient."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, Unfit, aligned, axis_of


def _pair(name: str) -> Function:
    def compute(call: Call) -> Any:
        left, right = aligned(call, 0, 1)
        return getattr(call.tf.math, name)(left, right)

    return compute


def _single(name: str) -> Function:
    return lambda call: getattr(call.tf.math, name)(call.x())


def _add_n(call: Call) -> Any:
    return call.tf.add_n(call.together([call.x(position) for position in range(call.count)]))


def _cumsum(call: Call) -> Any:
    return call.tf.cumsum(
        call.x(),
        axis_of(call.numbers(1)[0], len(call.shape())),
        exclusive=bool(call.options.get("exclusive", False)),
        reverse=bool(call.options.get("reverse", False)),
    )


def _dequantize(call: Call) -> Any:
    """Of half precision; integers are no business of a float model."""
    if call.x().dtype != call.tf.float16:
        raise Unfit(f"makes floats of {call.x().dtype.name}")
    return call.tf.cast(call.x(), call.tf.float32)


PAIRS = {
    "ADD": "add",
    "SUB": "subtract",
    "MUL": "multiply",
    "DIV": "divide",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
    "POW": "pow",
    "SQUARED_DIFFERENCE": "squared_difference",
    "FLOOR_DIV": "floordiv",
    "FLOOR_MOD": "floormod",
    "EQUAL": "equal",
    "NOT_EQUAL": "not_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
    "LOGICAL_AND": "logical_and",
    "LOGICAL_OR": "logical_or",
    "ATAN2": "atan2",
}
"""Operations of two inputs, by the name that tf.math has for them."""
SINGLES = {
    "EXP": "exp",
    "LOG": "log",
    "SQRT": "sqrt",
    "RSQRT": "rsqrt",
    "SQUARE": "square",
    "ABS": "abs",
    "NEG": "negative",
    "SIN": "sin",
    "COS": "cos",
    "FLOOR": "floor",
    "CEIL": "ceil",
    "ROUND": "round",
    "SIGN": "sign",
    "LOGICAL_NOT": "logical_not",
}
"""Operations of one input."""

TABLE: dict[str, Function] = {
    **{name: _pair(function) for name, function in PAIRS.items()},
    **{name: _single(function) for name, function in SINGLES.items()},
    "ADD_N": _add_n,
    "CUMSUM": _cumsum,
    "DEQUANTIZE": _dequantize,
    "CAST": lambda call: call.tf.cast(call.x(), call.dtypes[0]),
}
