"""What devices are asked with is the same with and without the schema; what is not surely right goes to the schema."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from edgeship.errors import InputError
from edgeship.project import ProjectFile, load_device_settings, load_project, plain
from edgeship.project.loader import OPTIONS
from edgeship.project.table import PARTS

ROOT = Path(__file__).resolve().parents[1]


def values(part: Any) -> Any:
    """Return a section, of the schema or plain, as nested dictionaries."""
    if isinstance(part, BaseModel):
        return {name: values(getattr(part, name)) for name in type(part).model_fields}
    return {k: values(v) for k, v in vars(part).items()} if isinstance(part, SimpleNamespace) else part


def leaves(part: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every rule."""
    return [
        leaf
        for name, rule in part.items()
        for leaf in (leaves(rule["keys"], (*path, name)) if "keys" in rule else [(*path, name)])
    ]


def nested(path: tuple[str, ...], value: Any) -> Any:
    return {path[0]: nested(path[1:], value) if len(path) > 1 else value}


def test_defaults_are_those_of_the_schema() -> None:
    whole = values(ProjectFile())
    assert values(plain.read({})) == {name: whole[name] for name in PARTS}


PATHS = leaves(plain.rules()["parts"])
ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200_000),
    st.floats(),
    st.sampled_from(
        ["", "auto", "activate", "systemd", "/srv/edge", "/srv/a b", "kws", "KWS", "pi@10.0.0.7", "local:x", "pi@@x",
         "127.0.0.1:80", "127.0.0.1:70000", "unix:/run/x", "/etc/\x1b"]
    ),
    st.lists(st.sampled_from(["pi@10.0.0.7", "pi@@x", "coral", 3]), max_size=3).map(tuple),
    st.just({}),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=ANY)
def test_what_plain_rules_let_through_the_schema_takes_as_the_same(path: tuple[str, ...], value: Any) -> None:
    document = nested(path, value)
    try:
        found = values(plain.read(document))
    except plain.Unsure:
        return
    whole = values(ProjectFile.model_validate(document))
    assert found == {name: whole[name] for name in PARTS}
    assert repr(found) == repr({name: whole[name] for name in PARTS}), "of the same types, too"


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_every_default_can_be_written_without_the_schema(path: tuple[str, ...]) -> None:
    """None of the rules is empty: where one becomes so, every device verb of who sets the key pays for pydantic."""
    value: Any = ProjectFile()
    for part in path:
        value = getattr(value, part)
    example: dict[str, Any] = {
        "app": "kws",
        "model": "m.keras",
        "service.threads": 2,
        "deploy.device_max_ms": 5.0,
        "governor.variant": "int8",
        "governor.still": 0.01,
    }
    example |= dict.fromkeys(("governor.deadline_ms", "governor.watts", "governor.joules_per_hour"), 9.0)
    example["governor.temperature_c"] = 70.0
    example["service.limits.body_bytes"] = 1 << 20
    written = example.get(".".join(path), value)
    found: Any = plain.read(nested(path, written))
    for part in path:
        found = getattr(found, part)
    assert found == written is not None
    with pytest.raises(plain.Unsure):
        plain.read(nested(path, object()))


def test_sections_left_empty_or_unread_and_keys_unknown(tmp_path: Path) -> None:
    file = tmp_path / "edgeship.yaml"
    file.write_text("deploy:\ngoals: {latency: {max_ms: soon}}\nhosts: [pi@board]\n")
    found = load_device_settings(file, {"root": "/srv/edge", "hosts": None})
    assert (found.hosts, found.device.root, found.deploy.keep_releases) == (("pi@board",), "/srv/edge", 3)
    with pytest.raises(InputError, match="max_ms: expected a number, found 'soon'"):
        found.whole()
    file.write_text("deploi:\n")
    with pytest.raises(InputError, match="did you mean 'deploy'"):
        load_device_settings(file, {})


def test_what_is_typed_is_checked_even_in_parts_that_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "edgeship.yaml"
    file.write_text("app: kws\n")
    with pytest.raises(InputError, match="--max-kb"):
        load_device_settings(file, {"max_kb": -1.0})
    assert "max_kb" in OPTIONS


def test_the_example_gives_devices_the_same_either_way() -> None:
    file = ROOT / "examples/edgeship.yaml"
    found, whole = load_device_settings(file, {}), load_project(file)
    assert (found.hosts, found.targets, found.app, found.model) == (
        whole.hosts, whole.targets, whole.file.app, whole.model,
    )  # fmt: skip
    for part in ("service", "device", "deploy"):
        assert values(getattr(found, part)) == values(getattr(whole, part))
    assert json.loads(plain.FILE.read_text())["keys"] == list(ProjectFile.model_fields)


def test_a_value_the_schema_refuses_is_never_plain() -> None:
    for document in ({"deploy": {"keep_releases": 1}}, {"deploy": {"parallel": True}}, {"hosts": "pi@board"}):
        with pytest.raises(ValidationError):
            ProjectFile.model_validate(document)
        with pytest.raises(plain.Unsure):
            plain.read(document)
