"""A row of the recipes -> the settings ai-edge-quantizer is given. Pure data in, plain JSON out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeship.quantize.recipes import MIN_MAX, Row

EVERYTHING = "*"
BOUNDARY = ("INPUT", "OUTPUT")
NO_QUANTIZE = "no_quantize"


def settings(row: Row, *, per_channel: bool, per_channel_dense: bool, io: str) -> list[dict[str, Any]]:
    """Return ai-edge-quantizer's recipe for a row: a list of entries of which a later one wins.

    `per_channel` gives each output channel of a weight its own scale; `per_channel_dense` says whether
    FULLY_CONNECTED may have that too; `io` is the wanted type of input and output tensors. Empty for a recipe
    that changes nothing.
    """
    if row.algorithm is None:
        return []
    others = replace(row, algorithm=MIN_MAX, weight_bits=8) if row.only else row
    entries = [_entry(EVERYTHING, others, per_channel)]
    entries += [_entry(operation, row, per_channel) for operation in row.only]
    if per_channel and not per_channel_dense and row.weight_bits < 16:
        entries.append(_entry("FULLY_CONNECTED", row, False))
    if row.kind == "static" and io == "float32":
        entries += [{"regex": ".*", "operation": op, "algorithm_key": NO_QUANTIZE} for op in BOUNDARY]
    elif row.kind == "static" and io == "uint8":
        entries += [_unsigned(op) for op in BOUNDARY]
    return entries


def _entry(operation: str, row: Row, per_channel: bool) -> dict[str, Any]:
    is_cast = row.weight_bits == 16
    config: dict[str, Any] = {
        "weight_tensor_config": {
            "num_bits": row.weight_bits,
            "symmetric": True,  # what the runtime's kernels take
            "granularity": "CHANNELWISE" if per_channel and not is_cast else "TENSORWISE",
            "dtype": "FLOAT" if is_cast else "INT",
        },
        "compute_precision": row.compute,
        "explicit_dequantize": row.compute == "FLOAT",
    }
    if row.activation_bits is not None:
        config["activation_tensor_config"] = {
            "num_bits": row.activation_bits,
            "symmetric": row.activation_bits == 16,  # the kernels want zero point 0 for int16
            "granularity": "TENSORWISE",
            "dtype": "INT",
        }
    return {"regex": ".*", "operation": operation, "algorithm_key": row.algorithm, "op_config": config}


def _unsigned(operation: str) -> dict[str, Any]:
    """Return the entry that gives the model's boundary uint8, converted to and from int8 by a QUANTIZE beside
    it.
    """
    return {
        "regex": ".*",
        "operation": operation,
        "algorithm_key": MIN_MAX,
        "op_config": {
            "activation_tensor_config": {
                "num_bits": 8,
                "symmetric": False,
                "granularity": "TENSORWISE",
                "dtype": "UINT",
            },
            "weight_tensor_config": {
                "num_bits": 8,
                "symmetric": True,
                "granularity": "TENSORWISE",
                "dtype": "INT",
            },
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
        },
    }
