"""Rules for plain values, without pydantic: what is surely right in the parts of `edgeship.yaml` that devices are
asked with.

`plain.json` holds the rules and the defaults. It is written from the schema (`python -m edgeship.project`), so nothing
stands in two places. A value that no rule here lets through is not wrong: the schema decides, and says what is.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeship.project import checks

FILE = Path(__file__).with_name("plain.json")
KINDS: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}


class Unsure(Exception):
    """A value that only the schema can judge."""


@functools.cache
def rules() -> dict[str, Any]:
    """Return `parts`: key -> rule or nested keys, for what is read here; `keys`: every key at the top of the file."""
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document


def read(value: Mapping[str, Any]) -> SimpleNamespace:
    """Return the parts of a document that have rules, with attributes as the schema's model has them.

    The other parts are left unread. Raises Unsure.
    """
    known = rules()
    if any(key not in known["keys"] for key in value):
        raise Unsure
    given = {key: item for key, item in value.items() if key in known["parts"]}
    return _section(given, {"unsure": False, "keys": known["parts"]})


def is_read(path: tuple[str | int, ...]) -> bool:
    """Return whether a key of the file stands in one of the parts that `read` reads."""
    return path[0] in rules()["parts"]


def _section(value: Any, part: Mapping[str, Any]) -> SimpleNamespace:
    """Return a section with its defaults; one that the schema checks as a whole is left to it."""
    given = {} if value is None else value  # a section with all settings commented out has its defaults
    keys: Mapping[str, Any] = part["keys"]
    if not isinstance(given, Mapping) or any(key not in keys for key in given) or (given and part["unsure"]):
        raise Unsure
    return SimpleNamespace(**{key: _key(given, key, below) for key, below in keys.items()})


def _key(given: Mapping[str, Any], key: str, rule: Mapping[str, Any]) -> Any:
    """Return what a section says of one key, or its default."""
    if "keys" in rule:
        return _section(given.get(key), rule)
    if key in given:
        return leaf(given[key], rule)
    if rule.get("required"):
        raise Unsure
    default = rule["default"]
    return tuple(default) if isinstance(default, list) else default


def leaf(value: Any, rule: Mapping[str, Any]) -> Any:
    """Return a value as the schema would. Raises Unsure for what a rule does not let through."""
    if value is None and rule.get("empty"):
        return None
    if "items" in rule:
        if not isinstance(value, tuple):
            raise Unsure
        return _checked(tuple(leaf(item, rule["items"]) for item in value), rule)
    if "keys" in rule:
        if value is None:
            raise Unsure
        return _section(value, {"unsure": False, "keys": rule["keys"]})
    kind = rule.get("kind")
    if (
        kind not in KINDS
        or not isinstance(value, KINDS[kind])
        or (kind != "bool" and isinstance(value, bool))
    ):
        raise Unsure
    if kind == "float":
        value = float(value)
    if not _within(value, rule):
        raise Unsure
    return _checked(value, rule)


def _checked(value: Any, rule: Mapping[str, Any]) -> Any:
    """Return a value that the function of its rule, where it has one, lets through."""
    if check := rule.get("check"):
        try:
            getattr(checks, check)(value)
        except ValueError:
            raise Unsure from None
    return value


def _within(value: Any, rule: Mapping[str, Any]) -> bool:
    """Return whether a value keeps to the limits of its rule."""
    if "one_of" in rule:
        return value in rule["one_of"]
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return (
        ("ge" not in rule or value >= rule["ge"])
        and ("gt" not in rule or value > rule["gt"])
        and ("le" not in rule or value <= rule["le"])
    )
