"""Which of its two forms a part of edgeship.yaml has: the settings of the only input, or of each input by its name."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

ONE, SEVERAL = "one", "by input"


def form_of(value: Any, settings: Container[str], inner: Container[str]) -> str:
    """Return the form of what was written: SEVERAL where all keys are names of the user's own with settings below.

    `settings` are the keys of the single form, `inner` those that stand below one of them: a key over such ones is a
    misspelt setting, and no input.
    """
    if not isinstance(value, Mapping) or not value:
        return ONE
    for key, part in value.items():
        if key in settings or not (part is None or isinstance(part, Mapping)):
            return ONE
        if part and all(name in inner for name in part):
            return ONE
    return SEVERAL


def filled(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by input, with those of an input that has none."""
    return {name: {} if part is None else part for name, part in value.items()}
