"""`governor.watts=3` as it is typed: for `tune`, and for `--set` of `deploy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeship.errors import InputError

if TYPE_CHECKING:
    from edgeship.deploy.change import Change

RELEASES = ("", "null", "~")
"""What is typed after `=` for: what the release says."""


def change_from(typed: Sequence[str], *, reset: bool = False) -> Change:
    """Return the change that was typed. Raises InputError `unknown-setting`, `wrong-setting`, `bad-usage` for one that
    is named twice."""
    from edgeship.deploy.change import Change
    from edgeship.project import plain
    from edgeship.project.governing import SECTION, one_setting

    rules = plain.rules()["parts"][SECTION]["keys"]
    settings, lift = {}, []
    for text in typed:
        name, equals, written = (part.strip() for part in text.partition("="))
        section, _, key = name.partition(".")
        key = key or "mode"
        known = equals and section == SECTION and key in rules
        if known and written.lower() in RELEASES:
            value = None
        elif known and written.lower() == "none" and (rules[key].get("empty") or "items" in rules[key]):
            lift.append(key)
            continue
        else:
            key, value = one_setting(text)
        if key in settings:
            raise InputError("bad-usage", f"governor.{key} is set twice", hint="edgeship tune --help")
        settings[key] = value
    if twice := sorted({key for key in lift if key in settings or lift.count(key) > 1}):
        raise InputError("bad-usage", f"governor.{twice[0]} is set twice", hint="edgeship tune --help")
    return Change(settings=settings, lift=tuple(lift), reset=reset)


def deployed_settings(typed: Sequence[str], goal: str) -> dict[str, Any]:
    """Return what `--set` adds to the options of a deployment. Raises InputError where nothing will be switched."""
    if not typed:
        return {}
    if goal != "activate":
        raise InputError(
            "bad-usage",
            f"--set holds from the switch on, and --goal {goal} switches nothing",
            hint="edgeship tune --host HOST changes settings of what serves",
        )
    change = change_from(typed)
    return {"settings": change.settings, "lifted": change.lift}
