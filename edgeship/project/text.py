"""`edgeship.yaml` as text: every key with its meaning and its default, filled in where a value is known.

The text is made from `edgeship.project.schema`, so no default and no explanation stands in two places.
"""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgeship.project.schema import ProjectFile

WIDTH = 100
HEAD = """\
## edgeship.yaml: what edgeship does with this model. Paths are relative to this file's folder. Every
## option of the command line can stand here; where both do, the command line wins.
## A line with one '#' is a setting at its default (empty: none): remove the '#' and change it.
"""


def init_text(
    model: Path | None, *, targets: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> str:
    """Return a commented edgeship.yaml with `model`, `targets` and `values` (nested keys) filled in."""
    given: dict[str, Any] = dict(values or {})
    if model is not None:
        given["model"] = str(model)
    if targets:
        given["targets"] = list(targets)
    return HEAD + "".join(_section(ProjectFile, given, depth=0))


def default_text(field: FieldInfo) -> str:
    """Return a key's default as it is written in YAML; `nothing` where it has none."""
    default = field.get_default()
    return "nothing" if default is None else _flow(default)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a key that holds further keys, also where it may be left out; a list of them is no such."""
    if typing.get_origin(field.annotation) is tuple:
        return None
    inner = typing.get_args(field.annotation)
    for candidate in (
        field.annotation,
        *inner,
        *(part for one in inner for part in typing.get_args(one)[:1]),
    ):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _section(model: type[BaseModel], given: Mapping[str, Any], *, depth: int) -> list[str]:
    """Return the lines for every key of a model; those not in `given` are comments with their defaults."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        below = section_of(field)
        if depth == 0:
            lines.append("\n")
        lines += _explanation(below, field, depth, given=name in given)
        if below is None:
            lines.append(_setting(name, field, given, depth))
        else:
            lines.append(f"{'  ' * depth}{name}:\n")
            lines += _section(below, given.get(name) or {}, depth=depth + 1)
    return lines


def _explanation(below: type[BaseModel] | None, field: FieldInfo, depth: int, *, given: bool) -> list[str]:
    text = field.description or (below.__doc__ if below else "") or ""
    if below is None and given and not field.is_required():
        text += f" (default: {default_text(field)})"
    return _comment(" ".join(text.split()), depth)


def _comment(text: str, depth: int) -> list[str]:
    lead = "  " * depth + "## "
    return [line + "\n" for line in textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=lead)]


def _setting(name: str, field: FieldInfo, given: Mapping[str, Any], depth: int) -> str:
    if name in given:
        return f"{'  ' * depth}{name}: {_flow(given[name])}\n"
    default = field.get_default()
    shown = "" if default is None or field.is_required() else f" {_flow(default)}"
    return f"{'  ' * depth}# {name}:{shown}\n"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()
