"""The types of the settings in `edgeship.yaml`, and what every section of it is."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from edgeship.project import checks
from edgeship.project.shapes import closed_shapes
from edgeship.strictyaml import Strict

RATIO = r"([0-9]+(?:\.[0-9]+)?)/([0-9]+(?:\.[0-9]+)?)"


def _ratio(value: Any) -> Any:
    """Turn text such as 1/255 or 1/127.5 into a number; leave the rest to the strict check."""
    if isinstance(value, str) and (parts := re.fullmatch(RATIO, value)) and float(parts[2]):
        return float(parts[1]) / float(parts[2])
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value}")
    return value


def in_short(value: Any) -> Any:
    """Return the section that `governor: off` or `governor: auto` is short for; the rest is left to the check."""
    return {"mode": value} if value in ("auto", "off") else value


def metric_name(value: str) -> str:
    known = ("auto", "top1", "top5", "mse", "mae", "auc", "map", "map50")
    if value not in known and not re.fullmatch(r"[\w.]+:[\w.]+", value):
        raise ValueError(f"expected {', '.join(known)} or package.module:callable, found '{value}'")
    return value


Number = Annotated[float, AfterValidator(_finite)]
Ratio = Annotated[
    Number,
    BeforeValidator(_ratio),
    WithJsonSchema({"type": ["number", "string"], "pattern": f"^{RATIO}$"}),
]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AppName = Annotated[str, AfterValidator(checks.app)]
HostText = Annotated[str, AfterValidator(checks.host)]
Dataset = str
Texts = tuple[str, ...]
Closed = tuple[tuple[str, tuple[int, ...]], ...]
"""(input, sizes); the name is empty for the only input."""
InputShapes = Annotated[
    Closed,
    BeforeValidator(closed_shapes),
    WithJsonSchema({
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": ["integer", "string"]}},
            {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 1}}},
        ]
    }),
]  # fmt: skip
Labels = Annotated[
    Annotated[str, Tag("file")] | Annotated[Texts, Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "file"),
]


class Section(Strict):
    """A part of the file. One with all settings commented out (`goals:` and nothing) has its defaults."""

    @model_validator(mode="before")
    @classmethod
    def _empty_parts_have_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        empty = {
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Strict) and name in data and data[name] is None
        }
        return {key: value for key, value in data.items() if key not in empty}
