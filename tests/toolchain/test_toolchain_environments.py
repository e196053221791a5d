"""Tools in environments of their own, and the doctor."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import click.testing
import pytest
from packaging.specifiers import SpecifierSet

from edgeship.cli.toolchain import toolchain
from edgeship.errors import InputError, ToolError
from edgeship.progress import Silent
from edgeship.toolchain import environments
from edgeship.toolchain.doctor import examine
from edgeship.toolchain.environments import RECORD, cache_folder, find, folder_of, install, require
from edgeship.toolchain.tools import TOOLS


def own(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "EDGESHIP_CACHE": str(tmp_path / "cache"), **more}


def test_the_cache_follows_the_environment() -> None:
    assert cache_folder({"EDGESHIP_CACHE": "/c"}) == Path("/c")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/edgeship")
    assert cache_folder({"HOME": "/home/me"}) == Path("/home/me/.cache/edgeship")


def test_every_tool_is_pinned() -> None:
    for _, tool in TOOLS.items():
        assert all("==" in requirement for requirement in tool.requirements)


def test_an_installed_tool_is_found_by_its_record(tmp_path: Path) -> None:
    env = own(tmp_path)
    folder = folder_of(TOOLS["vela"], env)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"packages": {"ethos-u-vela": "5.2.0", "numpy": "2.0"}}))
    found = find("vela", env)
    assert found is not None
    assert found.version == "5.2.0"
    assert found.command == (str(folder / "bin" / "python"), "-I", "-m", "ethosu.vela")
    assert found.packages["numpy"] == "2.0"


def test_a_missing_tool_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError) as error:
        require("vela", own(tmp_path))
    assert error.value.reference == "tool-missing"
    assert error.value.render().endswith("hint: edgeship toolchain install vela")


def test_an_unknown_tool() -> None:
    with pytest.raises(InputError) as error:
        install("velo", progress=Silent())
    assert error.value.render().splitlines()[-1] == "hint: did you mean 'vela'?"


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    env = own(
        tmp_path,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_NO_CACHE_DIR="1",
        PIP_CONFIG_FILE=os.devnull,
    )
    env.pop("PIP_EXTRA_INDEX_URL", None)
    env.pop("PIP_FIND_LINKS", None)
    with pytest.raises(ToolError) as error:
        install("vela", progress=Silent(), environment=env)
    assert error.value.reference == "toolchain-install-failed"
    assert "pip config list" in error.value.render()
    assert not folder_of(TOOLS["vela"], env).exists()


@pytest.mark.slow
def test_an_installation_from_the_index(tmp_path: Path) -> None:
    env = own(tmp_path)
    found = install("vela", progress=Silent(), environment=env)
    assert found.version == "5.2.0"
    assert found.where.startswith(str(tmp_path / "cache" / "toolchains"))
    said = subprocess.run([*found.command, "--version"], capture_output=True, text=True, check=True, env=env)
    assert said.stdout.strip() == "5.2.0"
    record = json.loads((Path(found.where) / RECORD).read_text())
    assert record["requirements"] == ["ethos-u-vela==5.2.0"]
    assert record["packages"]["ethos-u-vela"] == "5.2.0"
    assert install("vela", progress=Silent(), environment=env) == found, "a second time does nothing"


def test_the_doctor_sees_a_compiler_and_its_version(tmp_path: Path) -> None:
    program = tmp_path / "edgetpu_compiler"
    program.write_text("#!/bin/sh\necho 'Edge TPU Compiler version 16.0.384591198'\n")
    program.chmod(0o755)
    health = {h.name: h for h in examine(own(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}"))}
    assert health["edgetpu_compiler"].found == f"16.0.384591198 at {program}"
    assert health["edgetpu_compiler"].fix == ""


def test_the_doctor_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    health = {h.name: h for h in examine(own(tmp_path, PATH=str(tmp_path)))}
    assert (health["edgetpu_compiler"].state, health["ssh"].state, health["containers"].state) == (
        "missing",
    ) * 3
    assert "coral.ai/docs/edgetpu/compiler" in health["edgetpu_compiler"].fix
    assert health["python"].state == "ok"


def test_the_doctor_sees_a_compiler_that_does_not_run(tmp_path: Path) -> None:
    program = tmp_path / "edgetpu_compiler"
    program.write_text("not a program")
    program.chmod(0o755)
    health = {h.name: h for h in examine(own(tmp_path, PATH=str(tmp_path)))}
    assert health["edgetpu_compiler"].state == "problem"
    assert "cannot be started" in health["edgetpu_compiler"].found


def test_the_doctor_does_not_take_a_client_for_an_engine(tmp_path: Path) -> None:
    """Docker's client tells its version without a daemon, and fails where it needs one."""
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\necho "Docker version 28"; [ "$1" = --version ]\n')
    client.chmod(0o755)
    health = {h.name: h for h in examine(own(tmp_path, PATH=str(tmp_path)))}["containers"]
    assert (health.state, health.found) == ("missing", "Docker version 28, which does not answer")
    assert "docker version" in health.fix
    (tmp_path / "podman").write_text("#!/bin/sh\necho podman version 4.3.1\n")
    (tmp_path / "podman").chmod(0o755)
    health = {h.name: h for h in examine(own(tmp_path, PATH=str(tmp_path)))}["containers"]
    assert (health.state, health.found) == ("ok", "podman version 4.3.1")


def invoke(*arguments: str, env: dict[str, str]) -> click.testing.Result:
    return click.testing.CliRunner().invoke(toolchain, list(arguments), standalone_mode=False, env=env)


def test_the_verb(tmp_path: Path) -> None:
    env = own(tmp_path)
    listed = invoke("list", "--json", env=env)
    document = json.loads(listed.stdout)
    assert document["schema"] == "edgeship.toolchains/1"
    assert [t["name"] for t in document["tools"]] == ["vela", "tfmot"]
    plan = invoke("install", "vela", "--dry-run", env=env)
    assert plan.stdout.splitlines()[1] == "pip install ethos-u-vela==5.2.0"
    assert not (tmp_path / "cache").exists()
    doctor = json.loads(invoke("doctor", "--json", env=env).stdout)
    assert {c["name"] for c in doctor["checks"]} >= {
        "python",
        "edgetpu_compiler",
        "vela",
        "ssh",
        "containers",
        "metadata",
        "cache",
    }


@pytest.mark.parametrize(
    ("version", "state"), [((3, 9), "problem"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "problem")]
)
def test_the_doctor_knows_the_pythons_that_are_tested(
    version: tuple[int, int], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it says is what the package asks for."""
    monkeypatch.setattr("edgeship.toolchain.doctor.sys.version_info", (*version, 1, "final", 0))
    (health,) = (entry for entry in examine({"PATH": ""}) if entry.name == "python")
    assert health.state == state
    assert health.fix == ("" if state == "ok" else "python3.13 -m venv, and install edgeship there")
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    wanted = re.search(r'^requires-python = "(.*)"$', project, re.MULTILINE)
    assert wanted is not None
    assert SpecifierSet(wanted[1]).contains(f"{version[0]}.{version[1]}.1") == (state == "ok")
