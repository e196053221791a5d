"""A profile as text for people: every value after `extends:`, with the file and line it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from edgeship.profile.loader import LoadedProfile
from edgeship.profile.schema import TargetProfile
from edgeship.strictyaml import KeyPath

COLUMN = 72
"""Where the origins begin, when the value leaves room."""

LONG = 100
"""A list that is longer than this is written one entry a line."""


def as_text(loaded: LoadedProfile) -> str:
    """Return the whole profile as YAML (it reads back as the same values), each line with its origin."""
    lines: list[str] = []
    values = loaded.profile.model_dump(mode="json")
    for key in TargetProfile.model_fields:
        lines += _lines(loaded, (key,), values[key], indent=0)
    return "\n".join(lines) + "\n"


def _lines(loaded: LoadedProfile, path: KeyPath, value: Any, *, indent: int) -> list[str]:
    lead = "  " * indent + f"{path[-1]}:"
    if isinstance(value, Mapping) and value:
        return [lead] + [
            line
            for key, item in value.items()
            for line in _lines(loaded, (*path, key), item, indent=indent + 1)
        ]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        lead_lines = [_with_origin(loaded, path, lead)]
        return lead_lines + [
            _with_origin(loaded, (*path, index), "  " * (indent + 1) + f"- {_flow(_without_empty(item))}")
            for index, item in enumerate(value)
        ]
    if isinstance(value, list) and len(_flow(value)) > LONG:
        return [_with_origin(loaded, path, lead)] + [
            f"{'  ' * (indent + 1)}- {_flow(item)}" for item in value
        ]
    return [_with_origin(loaded, path, f"{lead} {_flow(value)}")]


def _with_origin(loaded: LoadedProfile, path: KeyPath, line: str) -> str:
    """Return a line with the place its value was written; nothing where the value is the schema's own."""
    written = path in loaded.document.marks
    return f"{line:<{COLUMN}} # {loaded.origin(path)}" if written else line


def _without_empty(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if value not in (None, [], {})}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()
