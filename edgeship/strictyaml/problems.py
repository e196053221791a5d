"""What is wrong with a document: each problem with file, line, key path, value seen and value wanted."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeship.errors import InputError
from edgeship.registry import did_you_mean
from edgeship.strictyaml.reader import Document, KeyPath, Mark, dotted

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of everything read from YAML: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a document."""

    mark: Mark
    path: KeyPath
    text: str
    missing: bool = False
    """Whether a required key is absent (a base that others extend may lack it)."""

    def __str__(self) -> str:
        where = f"{dotted(self.path)}: " if self.path else ""
        line = f" (line {self.mark.line})" if self.mark.line else ""
        return f"{self.mark.file}: {where}{self.text}{line}"


WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing",
}
"""What pydantic's complaint about a type means in YAML."""

LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
    "too_short": ("min_length", "a list of {} or more"),
    "too_long": ("max_length", "a list of {} at most"),
    "string_too_short": ("min_length", "at least {} characters"),
    "string_too_long": ("max_length", "at most {} characters"),
}
"""pydantic's complaint about a limit -> the key of the limit in its context, and how to say it."""


def validate(model: type[M], document: Document, *, kind: str, hint: str) -> M:
    """Return the document as a `model`. Raises InputError `invalid-<kind>` that lists every problem."""
    problems = problems_in(model, document)
    if problems:
        raise refuse(problems, kind=kind, hint=hint)
    return model.model_validate(document.value)


def problems_in(model: type[BaseModel], document: Document) -> tuple[Problem, ...]:
    """Return everything that keeps the document from being a `model`, in the order of the lines."""
    try:
        model.model_validate(document.value)
    except ValidationError as error:
        found: dict[str, Problem] = {}
        for detail in error.errors(include_url=False):
            if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
                continue  # pydantic does not count entries that are wrong themselves, and has said so already
            missing = detail["type"] == "missing"
            path = _path(detail["loc"], document.value, missing=missing)
            problem = Problem(
                mark=_mark(document, path, missing=missing),
                path=path,
                text=_text(model, path, dict(detail)),
                missing=missing,
            )
            found.setdefault(str(problem), problem)
        return tuple(sorted(found.values(), key=lambda p: (p.mark.file, p.mark.line)))
    return ()


def _mark(document: Document, path: KeyPath, *, missing: bool) -> Mark:
    """Return where a problem stands; what is missing is missing in the document's own file, not in a base."""
    mark = document.mark(path)
    return Mark(file=document.file, line=0) if missing and mark.file != document.file else mark


def refuse(problems: Sequence[Problem], *, kind: str, hint: str) -> InputError:
    """Return the error that shows `problems`, one a line."""
    if len(problems) == 1:
        message = str(problems[0])
    else:
        files = ", ".join(sorted({p.mark.file for p in problems}))
        message = "\n  ".join([f"{len(problems)} problems in {files}", *map(str, problems)])
    return InputError(f"invalid-{kind}", message, hint=hint)


def _path(location: Sequence[str | int], value: Any, *, missing: bool) -> KeyPath:
    """Return pydantic's location as a path in the document: without the names of alternatives it tried.

    Only what is missing ends in a key that the document does not have."""
    path: list[str | int] = []
    here = value
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = (isinstance(here, Mapping) and part in here) or (
            isinstance(here, tuple) and isinstance(part, int) and part < len(here)
        )
        if inside:
            here = here[part]
            path.append(part)
        elif last and missing and isinstance(here, Mapping):
            path.append(part)
    return tuple(path)


def _text(model: type[BaseModel], path: KeyPath, detail: dict[str, Any]) -> str:
    """Return one of pydantic's complaints in plain words."""
    kind, seen, context = detail["type"], detail.get("input"), detail.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown_key(model, path)
    if kind == "missing":
        return "this key is required"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"])
        choices = expected.replace(" or ", ", ").replace("'", "").split(", ")
        near = did_you_mean(seen, choices) if isinstance(seen, str) else None
        return f"expected {expected}, found {_seen(seen)}" + (f"; did you mean '{near}'?" if near else "")
    if wanted := WANTED.get(kind):
        return f"expected {wanted}, found {_seen(seen)}" + _about_quotes(kind, seen)
    if kind in LIMITS:
        key, phrase = LIMITS[kind]
        limit = context.get(key)
        shown = f"{limit:g}" if isinstance(limit, float) else limit
        return f"expected {phrase.format(shown)}, found {_seen(seen)}"
    return f"{detail['msg']}, found {_seen(seen)}"


def _about_quotes(kind: str, seen: Any) -> str:
    """Return what to do where quotes make the difference between text and a number."""
    if kind == "string_type" and isinstance(seen, int | float) and not isinstance(seen, bool):
        return "; put it in quotes"
    if kind in ("int_type", "float_type") and isinstance(seen, str) and re.fullmatch(r"[-+]?[0-9.]+", seen):
        return "; remove the quotes"
    return ""


def _seen(value: Any) -> str:
    """Return a value as a person would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, Mapping):
        return "keys and values"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return f"the number {value}"


def _unknown_key(model: type[BaseModel], path: KeyPath) -> str:
    key = str(path[-1])
    fields = _fields_at(model, path[:-1])
    if near := did_you_mean(key, fields):
        return f"unknown key '{key}'; did you mean '{near}'?"
    home = next((name for name in model.model_fields if key in _fields_at(model, (name,))), None)
    if home and len(path) <= 2:
        return f"unknown key '{key}' here; it belongs under '{home}'"
    return f"unknown key '{key}'; known: {', '.join(fields)}"


def _fields_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that may stand at a path of a model; empty where there are none."""
    here: type[BaseModel] | None = model
    by_name = False
    for part in path:
        if isinstance(part, str) and here is not None:
            field = here.model_fields.get(part)
            if field is None and by_name:  # a name of the user's own, whose value is of the same model
                by_name = False
                continue
            here = _model_in(field.annotation) if field else None
            by_name = field is not None and _maps_names(field.annotation)
    return list(here.model_fields) if here else []


def _maps_names(annotation: Any) -> bool:
    """Return whether an annotation takes names of the user's own as keys."""
    return typing.get_origin(annotation) is dict or any(map(_maps_names, typing.get_args(annotation)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as `tuple[Sensor, ...]` or `Compiler | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((m for m in inner if m is not None), None)
