"""Options of built-in operations as plain values: names in snake_case, enumerations as their words."""

from __future__ import annotations

import re
from typing import Any

from edgeship.tflite.schema import enum_names

ENUM_OF_FIELD = {
    "fused_activation_function": "ActivationFunctionType",
    "padding": "Padding",
    "mode": "MirrorPadMode",
    "kernel_type": "LSTMKernelType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "in_data_type": "TensorType",
    "out_data_type": "TensorType",
    "out_type": "TensorType",
    "output_type": "TensorType",
    "idx_out_type": "TensorType",
    "quantized_bias_type": "TensorType",
}
"""Option fields that hold an enumeration, by their snake_case name."""
SHORT_NAME = {"fused_activation_function": "fused_activation"}


def option_values(schema: Any, name: str, table: Any) -> dict[str, Any]:
    """Return the fields of the options table `name` (e.g. Conv2DOptions) that stands at `table`.

    Numbers, words and tuples of them; nested tables appear as the name of their type. Raises whatever the
    generated classes raise where the table leads out of the file.
    """
    values: dict[str, Any] = {}
    for field, value in vars(getattr(schema, f"{name}T").InitFromBuf(table.Bytes, table.Pos)).items():
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])|(?<=[A-Z])([A-Z])(?=[a-z])", r"_\g<0>", field).lower()
        enumeration = ENUM_OF_FIELD.get(snake)
        if enumeration and isinstance(value, int):
            names = enum_names(getattr(schema, enumeration))
            value = names.get(value, str(value))
            value = value.lower() if enumeration == "TensorType" else value
        elif hasattr(value, "tolist"):
            value = tuple(value.tolist())
        elif isinstance(value, list):
            value = tuple(
                v if isinstance(v, int | float | bool | str) else str(type(v).__name__) for v in value
            )
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif value is None:
            continue
        elif not isinstance(value, int | float | bool | str):
            value = type(value).__name__
        values[SHORT_NAME.get(snake, snake)] = value
    return values
