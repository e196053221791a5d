"""Reductions over axes, and which value is the largest."""

from __future__ import annotations

from typing import Any

from edgeship.compress.operations.call import Call, Function, axis_of


def _reduced(name: str) -> Function:
    def compute(call: Call) -> Any:
        rank = len(call.shape())
        axes = sorted({axis_of(axis, rank) for axis in call.numbers(1)}) if rank else []
        return getattr(call.tf, name)(
            call.x(), axis=axes, keepdims=bool(call.options.get("keep_dims", False))
        )

    return compute


def _place(name: str) -> Function:
    def compute(call: Call) -> Any:
        axis = axis_of(call.numbers(1)[0], len(call.shape()))
        return getattr(call.tf, name)(call.x(), axis=axis, output_type=call.tf.as_dtype(call.dtypes[0]))

    return compute


def _top_k(call: Call) -> Any:
    values, places = call.tf.math.top_k(call.x(), call.numbers(1)[0])
    return [values, call.tf.cast(places, call.dtypes[1])]


TABLE: dict[str, Function] = {
    "MEAN": _reduced("reduce_mean"),
    "SUM": _reduced("reduce_sum"),
    "REDUCE_MAX": _reduced("reduce_max"),
    "REDUCE_MIN": _reduced("reduce_min"),
    "REDUCE_PROD": _reduced("reduce_prod"),
    "REDUCE_ANY": _reduced("reduce_any"),
    "REDUCE_ALL": _reduced("reduce_all"),
    "ARG_MAX": _place("argmax"),
    "ARG_MIN": _place("argmin"),
    "TOPK_V2": _top_k,
}
