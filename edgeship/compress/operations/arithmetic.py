"""Arithmetic, value by value: two inputs that are broadcast, or one."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, aligned


def _pair(name: str) -> Function:
    def compute(call: Call) -> Any:
        left, right = aligned(call, 0, 1)
        return getattr(call.tf.math, name)(left, right)

    return compute


def _single(name: str) -> Function:
    return lambda call: getattr(call.tf.math, name)(call.x())


TABLE: dict[str, Function] = {
    "ADD": _pair("add"),
    "SUB": _pair("subtract"),
    "MUL": _pair("multiply"),
    "DIV": _pair("divide"),
    "MAXIMUM": _pair("maximum"),
    "MINIMUM": _pair("minimum"),
    "POW": _pair("pow"),
    "SQUARED_DIFFERENCE": _pair("squared_difference"),
    "EXP": _single("exp"),
    "LOG": _single("log"),
    "SQRT": _single("sqrt"),
    "RSQRT": _single("rsqrt"),
    "SQUARE": _single("square"),
    "ABS": _single("abs"),
    "NEG": _single("negative"),
    "SIN": _single("sin"),
    "COS": _single("cos"),
}
