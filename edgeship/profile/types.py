"""The types of a target profile's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, Field


def _matching(pattern: str, wanted: str) -> AfterValidator:
    """Return a validator that wants text of a form, and says which in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {wanted}, found '{value}'")
        return value

    return AfterValidator(check)


def _requirement(value: str) -> str:
    try:
        Requirement(value)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"expected what pip installs, such as numpy<2, found '{value}': {reason}") from None
    return value


NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
Name = Annotated[str, _matching(NAME, "lower-case letters, digits and single dashes")]
Version = Annotated[str, _matching(r"[0-9]+(\.[0-9]+)+([.a-z0-9-]*)", "a version such as 2.31, in quotes")]
PythonVersion = Annotated[str, _matching(r"3\.[0-9]{1,2}", "a Python version such as '3.11', in quotes")]
PipRequirement = Annotated[str, AfterValidator(_requirement)]
UNIT_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
UnitWord = Annotated[
    str,
    _matching(
        UNIT_WORD, "one name of letters, digits, dots, dashes and underscores, for a systemd unit holds it"
    ),
]
Positive = Annotated[int, Field(ge=1)]
device_node = _matching(r"/dev/[A-Za-z0-9_./-]+", "a device node such as /dev/vcio")
"""Validator of text that a systemd unit's DeviceAllow= holds."""

Architecture = Literal["x86_64", "aarch64", "armv7l", "cortex-m"]
EngineName = Literal["litert", "tflite_runtime", "tflm"]
DelegateName = Literal["xnnpack", "edgetpu", "ethosu", "gpu", "none"]
DELEGATES: Mapping[str, tuple[str, ...]] = {
    "litert": ("xnnpack", "gpu", "none"),
    "tflite_runtime": ("xnnpack", "edgetpu", "ethosu", "none"),
    "tflm": ("none",),
}
"""Engine -> the delegates it can be given, as the runtime on the device knows them."""
