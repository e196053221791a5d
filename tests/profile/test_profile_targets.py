"""Every file in targets/ by itself: a new target is one YAML file, and these tests pick it up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeship.assets import targets_folder
from edgeship.profile import (
    TargetProfile,
    as_text,
    check_profile,
    list_profiles,
    load_profile,
    load_with_origins,
)
from edgeship.profile.docs import json_schema
from edgeship.quantize.recipes import RECIPES
from edgeship.strictyaml import load

FILES = sorted(targets_folder().glob("*.yaml"))
TARGETS = [t.name for t in list_profiles(folders=[targets_folder()], machine="x86_64")]

WANTED = {
    "coral-dev-board", "coral-usb-raspberry-pi", "coral-m2-x86-64", "raspberry-pi-3", "raspberry-pi-4",
    "raspberry-pi-5", "raspberry-pi-zero-2w", "jetson-nano", "jetson-orin-nano", "gpu-linux-aarch64",
    "gpu-linux-x86-64", "rock-5b", "x86-64-linux", "aarch64-linux", "armv7-linux", "host",
    "ethos-u55-128", "ethos-u65-256", "ethos-u85-256", "imx93-evk",
}  # fmt: skip

FIGURES = (
    "cpu_flags", "libc.version", "python.versions", "runtime.version", "precision.accepts", "memory.ram_mb",
    "memory.accelerator_kb", "compiler.min_runtime_version", "service.memory_max_mb", "sensors", "devices",
    "tolerances", "power.idle_watts", "power.busy_watts", "thermal",
)  # fmt: skip
"""What nobody may have to take our word for."""


def plain(value: Any) -> Any:
    """Return a document as JSON has it (lists for tuples)."""
    return json.loads(json.dumps(value))


def target(name: str) -> TargetProfile:
    return load_profile(name, folders=[targets_folder()], machine="x86_64")


def test_the_promised_targets_are_there() -> None:
    assert set(TARGETS) >= WANTED
    assert target("coral").name == "coral-dev-board"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_has_no_problem(path: Path, shipped: Path) -> None:
    check_profile(path, folders=[shipped], machine="x86_64")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_fits_the_published_schema(path: Path) -> None:
    document = load(path, kind="target-profile").value
    jsonschema.validate(plain(document), json_schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file_says_what_it_is_in_a_comment(path: Path) -> None:
    assert path.read_text().startswith("# "), (
        "users copy these files: the first line says what this one is for"
    )


def test_names_and_aliases_mean_one_target_each(shipped: Path) -> None:
    names = [p.stem for p in FILES]
    aliases = [a for t in TARGETS for a in target(t).aliases]
    everything = names + aliases
    assert len(everything) == len(set(everything)), sorted(n for n in everything if everything.count(n) > 1)
    for name in TARGETS:
        for alias in target(name).aliases:
            assert load_profile(alias, folders=[shipped], machine="x86_64").name == name


@pytest.mark.parametrize("name", TARGETS)
def test_recipes_exist(name: str) -> None:
    precision = target(name).precision
    for recipe in (*precision.wants, *precision.accepts):
        RECIPES.resolve(recipe)


@pytest.mark.parametrize("name", TARGETS)
def test_figures_have_sources(name: str) -> None:
    profile = target(name)
    values = profile.model_dump()
    for figure in FIGURES:
        value: Any = values
        for key in figure.split("."):
            value = None if value is None else value[key]
        assert value in (None, ()) or profile.source_of(figure), (
            f"{name}: nothing says where {figure} comes from"
        )


@pytest.mark.parametrize("name", TARGETS)
def test_sources_speak_of_what_is_there(name: str) -> None:
    profile = target(name)
    values = profile.model_dump()
    for source in profile.sources:
        value: Any = values
        for key in source.figure.split("."):
            assert key in value, f"{name}: sources: there is no '{source.figure}'"
            value = value[key]


@pytest.mark.parametrize("name", TARGETS)
def test_runtime_is_consistent(name: str) -> None:
    profile = target(name)
    runtime = profile.runtime
    if not profile.deployable:
        assert (profile.libc.kind, profile.python.versions, runtime.engine) == ("none", (), "tflm")
        assert profile.architecture == "cortex-m" and profile.compiler.backend != "none"
        return
    assert profile.libc.kind == "glibc"
    if runtime.engine == "litert":
        assert runtime.files and profile.architecture in ("x86_64", "aarch64"), "LiteRT has no 32-bit build"
        assert not runtime.packages and not runtime.distribution_packages
    else:
        pinned = any(p == f"tflite-runtime=={runtime.version}" for p in runtime.packages)
        assert pinned != runtime.preinstalled, (
            "the engine is either brought by the device or pinned in the bundle"
        )
    if runtime.delegate == "edgetpu":
        assert runtime.delegate_library and runtime.delegate_version and profile.compiler.backend == "edgetpu"
        assert profile.compiler.min_runtime_version and profile.precision.wants == ("int8",)
    if runtime.delegate == "ethosu":
        assert runtime.delegate_library and profile.compiler.backend == "vela"
        assert any(a.required for a in profile.devices) and profile.precision.wants == ("int8",)
    if runtime.delegate == "gpu":
        assert "libLiteRtWebGpuAccelerator.so" in runtime.files and profile.precision.wants[0] == "fp16"
    if runtime.delegate in ("edgetpu", "gpu"):
        assert any(a.required for a in profile.devices) and profile.service.groups
    assert profile.service.memory_max_mb < profile.memory.ram_mb


@pytest.mark.parametrize("name", TARGETS)
def test_every_sensor_is_named_once(name: str) -> None:
    names = [s.name for s in target(name).sensors]
    assert len(names) == len(set(names)) and bool(names) == target(name).deployable


@pytest.mark.parametrize("name", TARGETS)
def test_shown_profile_reads_back_as_itself(name: str, shipped: Path, tmp_path: Path) -> None:
    loaded = load_with_origins(name, folders=[shipped], machine="x86_64")
    copy = tmp_path / f"{name}.yaml"
    copy.write_text(as_text(loaded).replace(f"extends: {loaded.profile.extends}", "extends: null"))
    again = load_profile(str(copy), folders=[])
    assert again.model_dump() == loaded.profile.model_dump() | {"extends": None}


def test_show_names_the_file_that_said_it(shipped: Path) -> None:
    text = as_text(load_with_origins("raspberry-pi-5", folders=[shipped]))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("kind: glibc")]
    file, _, number = line.rpartition("# targets/")[2].partition(":")
    assert file == "linux-base.yaml"
    assert (shipped / file).read_text().splitlines()[int(number) - 1].strip() == "kind: glibc"
    (ram,) = [line for line in text.splitlines() if "ram_mb:" in line]
    assert "# targets/raspberry-pi-5.yaml:" in ram


def test_host_follows_the_machine(shipped: Path) -> None:
    assert load_profile("host", folders=[shipped], machine="aarch64").architecture == "aarch64"
    assert load_profile("host", folders=[shipped], machine="x86_64").architecture == "x86_64"


def test_digest_is_of_everything_said(shipped: Path, tmp_path: Path) -> None:
    one = load_profile("raspberry-pi-4", folders=[shipped])
    assert one.digest() == load_profile("pi4", folders=[shipped]).digest()
    other = tmp_path / "raspberry-pi-4.yaml"
    other.write_text((shipped / "raspberry-pi-4.yaml").read_text().replace("ram_mb: 1024", "ram_mb: 2048"))
    assert load_profile(str(other), folders=[shipped]).digest() != one.digest()


@pytest.mark.parametrize(
    "name", [n for n in TARGETS if target(n).compiler.backend != "none" and target(n).deployable]
)
def test_without_its_accelerator_nothing_of_it_is_left(name: str) -> None:
    """What an uncompiled model asks of a device must name no accelerator, library or group of one."""
    profile = target(name)
    plain_one = profile.without_accelerator()
    stem = (profile.runtime.delegate_library or "").partition(".so")[0]
    assert stem and stem not in json.dumps(plain_one.runtime.model_dump(mode="json"))
    assert (plain_one.compiler.backend, plain_one.devices, plain_one.service.groups) == ("none", (), ())
    assert plain_one.runtime.delegate == ("none" if profile.runtime.preinstalled else "xnnpack")
    assert (plain_one.name, plain_one.libc, plain_one.python) == (profile.name, profile.libc, profile.python)
