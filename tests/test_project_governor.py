"""`governor:` of edgeship.yaml, and its settings as they are typed for a device: both say the same."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.errors import InputError
from edgeship.project import load_project
from edgeship.project.devices import load_device_settings
from edgeship.project.governing import checked_settings, one_setting, settings_of
from edgeship.project.governor import GovernorSection

ROOT = Path(__file__).resolve().parents[1]
BANDS = [
    {"below_percent": 50.0, "watts": 3.0, "variant": None},
    {"below_percent": 20.0, "watts": None, "variant": "int8"},
]


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "edgeship.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def test_defaults_are_those_of_the_schema() -> None:
    assert settings_of({}) == GovernorSection().model_dump(mode="json")


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("governor.watts=3", "watts", 3.0),
        ("governor.watts=", "watts", None),
        ("governor.watts=none", "watts", None),
        ("governor.load=1", "load", 1.0),
        ("governor=off", "mode", "off"),
        ("governor.mode=auto", "mode", "auto"),
        ("governor.variant=int8+fp32", "variant", "int8+fp32"),
        ("governor.log=true", "log", True),
        ("governor.battery=", "battery", []),
        (
            "governor.battery=[{below_percent: 50, watts: 3}, {below_percent: 20, variant: int8}]",
            "battery",
            BANDS,
        ),
    ],
)
def test_a_setting_as_it_is_typed(typed: str, key: str, value: Any) -> None:
    assert one_setting(typed) == (key, value)
    assert checked_settings(json.loads(json.dumps({key: value}))) == {key: value}, "and as documents hold it"
    assert (
        GovernorSection.model_validate({key: tuple(value) if isinstance(value, list) else value}).model_dump(
            mode="json"
        )[key]
        == value
    )


@pytest.mark.parametrize(
    ("typed", "reference", "said"),
    [
        ("governor.wats=3", "unknown-setting", "did you mean governor.watts?"),
        ("watts=3", "unknown-setting", "governor.watts=3"),
        ("service.threads=2", "unknown-setting", "only settings of the governor"),
        ("governor.watts", "wrong-setting", "expected KEY=VALUE"),
        ("", "wrong-setting", "expected KEY=VALUE"),
        ("governor.watts=0", "wrong-setting", "more than 0"),
        ("governor.watts=1e400", "wrong-setting", "a number"),
        ("governor.watts=little", "wrong-setting", "found 'little'"),
        ("governor.load=80", "wrong-setting", "1 at most"),
        ("governor.still=0", "wrong-setting", "more than 0"),
        ("governor.mode=on", "wrong-setting", "auto or off"),
        ("governor.mode=", "wrong-setting", "auto or off"),
        ("governor.cascade=of", "wrong-setting", "governor.cascade=off"),
        ("governor.log=1", "wrong-setting", "true or false"),
        ("governor.battery=[{below_percent: 20}, {below_percent: 20}]", "wrong-setting", "go down"),
        ("governor.battery=[{below: 20}]", "wrong-setting", "go down"),
        ("governor.battery=[{watts: 2}]", "wrong-setting", "go down"),
        ("governor.battery=[", "wrong-setting", "a list of bands"),
        ("governor.battery=low", "wrong-setting", "a list of bands"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_type(typed: str, reference: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        one_setting(typed)
    assert caught.value.reference == reference
    assert said in caught.value.render()
    assert caught.value.hint


@pytest.mark.parametrize(
    "given", [{"watts": True}, {"watts": "3"}, {"batery": []}, {"battery": [3]}, {"load": None}]
)
def test_wrong_documents_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        checked_settings(given)


def test_section_of_the_file(tmp_path: Path) -> None:
    text = """
    governor:
      deadline_ms: 150
      watts: 3
      battery:
        - {below_percent: 50, watts: 3}
        - {below_percent: 20, variant: int8}
    """
    project = load_project(file_of(tmp_path, text))
    assert project.governor.model_fields_set == {"deadline_ms", "watts", "battery"}
    plain = settings_of({"deadline_ms": 150, "watts": 3, "battery": BANDS})
    assert project.governor.model_dump(mode="json") == plain
    assert load_device_settings(file_of(tmp_path, text), {}).app is None, "read without the schema, too"
    schema = json.loads((ROOT / "docs/schemas/project.schema.json").read_text())
    for written in (text, "governor: off", "governor:\n"):
        jsonschema.validate(_parsed(written), schema)


def _parsed(text: str) -> Any:
    from edgeship.strictyaml import parse

    def listed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: listed(item) for key, item in value.items()}
        return [listed(item) for item in value] if isinstance(value, tuple) else value

    return listed(parse(textwrap.dedent(text), shown="x", kind="project").value)


def test_off_in_short(tmp_path: Path) -> None:
    assert load_project(file_of(tmp_path, "governor: off\n")).governor.mode == "off"
    assert load_project(file_of(tmp_path, "governor:\n")).governor.model_fields_set == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("governor: {wats: 3}", "governor.wats: unknown key 'wats'; did you mean 'watts'?"),
        ("governor: {battery: [{below_percnt: 3}]}", "did you mean 'below_percent'?"),
        ("governor: {battery: [{below_percent: 20}, {below_percent: 50}]}", "must go down"),
        ("governor: {mode: on}", "expected 'auto' or 'off', found 'on'"),
        ("governor: {load: 80}", "governor.load: expected 1 or less"),
        ("governor: on", "expected keys and values"),
        ("governor: {watts: '3'}", "remove the quotes"),
    ],
)
def test_wrong_section_is_told_at_once(tmp_path: Path, text: str, said: str) -> None:
    path = file_of(tmp_path, text + "\n")
    for read in (load_project, lambda file: load_device_settings(file, {})):
        with pytest.raises(InputError) as caught:
            read(path)
        assert said in caught.value.render()
