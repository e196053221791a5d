"""Settings of the governor as they stand in documents, checked without pydantic: `settings_of`, `one_setting`.

Rules and defaults are those of the schema, by way of `plain.json`. `deploy --set`, `tune` and what is written into
bundles come here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeship.errors import InputError
from edgeship.printable import one_line
from edgeship.project import plain
from edgeship.registry import did_you_mean

SECTION = "governor"
EXAMPLE = "governor.watts=3"
WANTED = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
LIMITS = (("gt", "more than {:.10g}"), ("ge", "{:.10g} or more"), ("le", "{:.10g} at most"))
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
NOTHING = ("", "null", "none", "~")


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting as JSON-able values, defaults where `given` says nothing.

    Raises as `checked_settings`.
    """
    rules = _rules()
    return {key: rule["default"] for key, rule in rules.items()} | checked_settings(given)


def checked_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in `given`, each as the schema takes it, JSON-able, and none beside.

    Raises InputError `unknown-setting` for a key that is none, `wrong-setting` for a value that cannot be.
    """
    rules = _rules()
    return {key: _setting(key, value, _rule(rules, key, f"{SECTION}.{key}")) for key, value in given.items()}


def one_setting(text: str) -> tuple[str, Any]:
    """Return (key, value) of a setting as it is typed: `governor.watts=3`, `governor.watts=` for none, `governor=off`.

    Raises InputError `wrong-setting`, `unknown-setting`.
    """
    name, equals, written = text.partition("=")
    name, written = name.strip(), written.strip()
    section, _, key = name.partition(".")
    if not equals:
        raise _bad(text, f"'{one_line(text)}' is no setting: expected KEY=VALUE", EXAMPLE)
    if section != SECTION and name in _rules():
        raise _unknown(name, f"'{one_line(name)}' needs its section in front", f"{SECTION}.{name}={written}")
    if section != SECTION:
        near = did_you_mean(section, [SECTION])
        raise _unknown(
            name,
            f"'{one_line(name)}' cannot be changed on a device: only settings of the governor can",
            f"{near}.{key}={written}" if near and key else EXAMPLE,
        )
    if not key:
        key = "mode"  # governor=off, as governor: off in edgeship.yaml
    rule = _rule(_rules(), key, name)
    return key, _setting(key, _value(written, rule), rule)


def _rules() -> dict[str, dict[str, Any]]:
    rules: dict[str, dict[str, Any]] = plain.rules()["parts"][SECTION]["keys"]
    return rules


def _rule(rules: Mapping[str, dict[str, Any]], key: str, name: str) -> dict[str, Any]:
    if key in rules:
        return rules[key]
    near = did_you_mean(str(key), rules)
    raise _unknown(
        name,
        f"the governor has no setting '{one_line(str(key))}'",
        f"did you mean {SECTION}.{near}?" if near else None,
    )


def _setting(key: str, value: Any, rule: Mapping[str, Any]) -> Any:
    """Return one value as the schema takes it. Raises InputError `wrong-setting`."""
    told = tuple(value) if isinstance(value, list) else value
    try:
        return _as_json(plain.leaf(told, rule))
    except plain.Unsure:
        raise _bad(
            f"{SECTION}.{key}",
            f"{SECTION}.{key}: expected {_wanted(key, rule)}, found {_shown(value)}",
            _near(key, value, rule),
        ) from None


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    return vars(value) if hasattr(value, "__dict__") else value


def _value(written: str, rule: Mapping[str, Any]) -> Any:
    """Return what was typed after `=`: a number, true or false, nothing, a list in YAML's flow form, or text."""
    if written.lower() in NOTHING and (rule.get("empty") or "items" in rule):
        return () if "items" in rule else None
    if "items" in rule:
        return _list(written)
    if rule.get("kind") == "bool" and written.lower() in ("true", "false"):
        return written.lower() == "true"
    if rule.get("kind") in ("int", "float") and NUMBER.fullmatch(written):
        return float(written)
    return written


def _list(written: str) -> Any:
    """Return a list typed in YAML's flow form; the text where it is none, which the check refuses."""
    from edgeship.strictyaml import parse  # for the one setting that is a list

    try:
        return parse(f"value: {written}", shown="battery", kind="project").value["value"]
    except InputError:
        return written


def _wanted(key: str, rule: Mapping[str, Any]) -> str:
    """Return in words what a setting may be."""
    if "items" in rule:
        return "a list of bands that go down, such as [{below_percent: 50, watts: 3}, {below_percent: 20, watts: 2}]"
    if "one_of" in rule:
        return " or ".join(rule["one_of"])
    limits = ", ".join(words.format(rule[limit]) for limit, words in LIMITS if limit in rule)
    kind = "the name of a variant" if key == "variant" else WANTED[rule["kind"]]
    return kind + (f", {limits}" if limits else "") + (", or nothing" if rule.get("empty") else "")


def _near(key: str, value: Any, rule: Mapping[str, Any]) -> str | None:
    near = did_you_mean(value, rule["one_of"]) if isinstance(value, str) and "one_of" in rule else None
    return f"{SECTION}.{key}={near}" if near else None


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{one_line(value)}'" if isinstance(value, str) else one_line(f"{value}")


def _bad(name: str, message: str, near: str | None) -> InputError:
    return InputError("wrong-setting", message, context={"setting": one_line(name)}, hint=_hint(near))


def _unknown(name: str, message: str, near: str | None) -> InputError:
    return InputError(
        "unknown-setting",
        message,
        context={"setting": one_line(name), "known": ", ".join(_rules())},
        hint=_hint(near),
    )


def _hint(near: str | None) -> str:
    return near or "edgeship init shows every setting under governor:, with its meaning and default"
