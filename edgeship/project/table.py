"""The rules of `plain.json`, taken from the schema of `edgeship.yaml`."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from edgeship.project import checks
from edgeship.project.schema import ProjectFile
from edgeship.project.text import section_of

PARTS = ("app", "model", "targets", "hosts", "service", "governor", "device", "deploy")
"""What verbs that touch devices read."""
LIMITS = ("ge", "gt", "le")


def text() -> str:
    """Return `plain.json`: one rule a line."""
    keys = json.dumps(list(ProjectFile.model_fields))
    parts = {name: _key(ProjectFile.model_fields[name]) for name in PARTS}
    return f'{{"keys": {keys},\n"parts": {_lines(parts)}}}\n'


def _lines(keys: dict[str, Any]) -> str:
    rows = [
        f'{json.dumps(name)}: {{"unsure": {json.dumps("unsure" in rule)}, "keys": {_lines(rule["keys"])}}}'
        if "keys" in rule
        else f"{json.dumps(name)}: {json.dumps(rule)}"
        for name, rule in keys.items()
    ]
    return "{\n" + ",\n".join(rows) + "}"


def _key(field: FieldInfo) -> dict[str, Any]:
    """Return the rule of a key, or the keys of a section; without `kind`, only the default is surely right."""
    default = field.get_default()
    section = section_of(field)
    if section is not None and isinstance(default, BaseModel):
        rule = {"keys": {name: _key(below) for name, below in section.model_fields.items()}}
        own = set(section.__pydantic_decorators__.model_validators) - {"_empty_parts_have_defaults"}
        return {"unsure": True, **rule} if own else rule
    rule = _rule(field.annotation, field.metadata)
    if field.is_required():
        return {**rule, "required": True}
    return {**rule, "default": list(default) if isinstance(default, tuple) else default}


def _rule(annotation: Any, metadata: Iterable[Any]) -> dict[str, Any]:
    """Return what `plain` checks of a value of this type; empty for what it does not understand."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _rule(arguments[0], (*arguments[1:], *metadata))
    rule: dict[str, Any] = {}
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        inner = next(a for a in arguments if a is not type(None))
        rule = {**_rule(inner, ()), "empty": True}
    elif origin is Literal:
        rule = {"kind": "str", "one_of": list(arguments)}
    elif origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        rule = {"items": _rule(arguments[0], ())}
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        rule = {"keys": {name: _key(below) for name, below in annotation.model_fields.items()}}
    elif annotation in (str, int, float, bool):
        rule = {"kind": annotation.__name__}
    for entry in _flat(metadata):
        said = {name: getattr(entry, name) for name in LIMITS if getattr(entry, name, None) is not None}
        if isinstance(entry, AfterValidator):
            name = getattr(entry.func, "__name__", "")
            if getattr(checks, name, None) is not entry.func:
                return {}
            said = {"check": name}
        elif (
            not said and getattr(entry, "allow_inf_nan", None) is not False
        ):  # `plain` wants finite numbers anyway
            return {}
        rule |= said
    return rule


def _flat(metadata: Iterable[Any]) -> list[Any]:
    """Return the single statements of a field's metadata."""
    return [
        one for entry in metadata for one in (entry.metadata if isinstance(entry, FieldInfo) else [entry])
    ]
