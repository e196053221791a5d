"""Reductions over axes."""

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


TABLE: dict[str, Function] = {
    "MEAN": _reduced("reduce_mean"),
    "SUM": _reduced("reduce_sum"),
    "REDUCE_MAX": _reduced("reduce_max"),
    "REDUCE_MIN": _reduced("reduce_min"),
    "REDUCE_PROD": _reduced("reduce_prod"),
}
