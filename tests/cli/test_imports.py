"""What each verb imports: a verb pays for what it does. Names of modules, so that no machine is too slow for it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

SHOWING = {"cli", "errors", "printable", "registry", "lazy", "__main__"}
"""Rooms of edgeship that parsing and showing take."""
FAILING = SHOWING | {"references"}
"""What an error takes more, to say where to read of it."""
SETTINGS = FAILING | {"project", "strictyaml", "values"}
ASKING = SETTINGS | {"deploy", "device", "remote", "report", "progress", "digest", "shape"}
"""Rooms that a verb takes that asks a device: no model, data, tflite, quantize, score, compile, pipeline or profile."""
BUNDLED = ASKING | {"bundle"}
BUILDING = (
    "data", "tflite", "model", "quantize", "score", "compile", "pipeline", "toolchain", "profile.schema",
    "project.schema", "strictyaml.problems", "bundle.make", "bundle.manifest", "bundle.payload",
    "bundle.service", "bundle.elf",
)  # fmt: skip
"""Modules of edgeship that no verb of this file may import, not even where their room is allowed."""

PARSING = {"click"}
SSH = {
    "fabric",
    "invoke",
    "decorator",
    "paramiko",
    "cryptography",
    "bcrypt",
    "nacl",
    "cffi",
    "_cffi_backend",
    "_sodium",
    "yaml",
}

OUTSIDE = {
    "numpy", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "yaml", "rich", "jinja2", "packaging",
    "PIL", "tensorflow", "keras", "tf_keras", "flatbuffers", "ai_edge_litert", "ai_edge_quantizer", "sklearn",
    "elftools", "matplotlib", "fabric", "invoke", "paramiko", "decorator", "asyncio", "unittest",
}  # fmt: skip
"""What is slow to import and no verb of this file needs, whatever else the interpreter brings."""


def imported(words: list[str], folder: Path, **environment: str) -> tuple[int, set[str], str]:
    """Return exit status, imported modules and stderr of a whole `edgeship` process."""
    code = textwrap.dedent(
        """
        import atexit, os, sys
        before = set(sys.modules)
        def tell():
            with open(os.environ["TELL_MODULES"], "w") as stream:
                stream.write("\\n".join(sorted(set(sys.modules) - before)))
        atexit.register(tell)
        from edgeship.cli import main
        main()
        """
    )
    told = folder / "modules.txt"
    told.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TELL_MODULES": str(told), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, set(told.read_text().split()), done.stderr


def held(modules: set[str], rooms: set[str], outside: set[str]) -> None:
    """Hold what was imported against the rooms of edgeship and the packages that may be."""
    own = {m.removeprefix("edgeship.") for m in modules if m.startswith("edgeship.")}
    assert {m.split(".")[0] for m in own} <= rooms
    assert not [m for m in own if any(m == b or m.startswith(b + ".") for b in BUILDING)]
    roots = {m.split(".")[0] for m in modules} - {"edgeship"}
    assert not roots & OUTSIDE - outside
    foreign = {m for m in roots if "site-packages" in origin(m)}
    assert foreign <= PARSING | outside


def origin(root: str) -> str:
    """Return where a top-level module comes from; nothing for what has no file."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return ""
    return str(spec.origin or "") if spec else ""


@pytest.fixture
def bundle(load_tiny: Any, tmp_path: Path) -> Path:
    """A tiny bundle; it listens on a port of its own."""
    return Path(load_tiny.make_bundle(tmp_path / "bundles", port=load_tiny.free_port()).path)


@pytest.fixture(scope="session")
def load_tiny() -> Any:
    """The module that makes tiny bundles."""
    import importlib.util

    path = ROOT / "tests/deploy/tiny_release.py"
    spec = importlib.util.spec_from_file_location("tiny_release_of_imports", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["deploy", "--help"], ["build", "--help"]], ids=" ".join
)
def test_help_imports_the_parser_alone(words: list[str], tmp_path: Path) -> None:
    status, modules, said = imported(words, tmp_path)
    assert status == 0, said
    held(modules, SHOWING | {"__init__"}, set())


@pytest.mark.parametrize("words", [["bad-usage"], ["bad-usage", "--json"], ["--list"]], ids=" ".join)
def test_what_an_error_means_takes_its_page_alone(words: list[str], tmp_path: Path) -> None:
    status, modules, said = imported(["explain", *words], tmp_path)
    assert status == 0, said
    held(modules, FAILING, set())


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_target_list_reads_yaml_and_no_schema(form: list[str], tmp_path: Path) -> None:
    status, modules, said = imported(["target", "list", *form], tmp_path, HOME=str(tmp_path))
    assert status == 0, said
    held(modules, SHOWING | {"assets", "profile", "strictyaml", "report"}, {"yaml"})


def test_a_profile_of_ones_own_is_checked_before_it_is_listed(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    own = tmp_path / "targets/my-board.yaml"
    head = "name: my-board\ntitle: Mine\nsummary: A board.\nextends: raspberry-pi-5\n"
    own.write_text(f"{head}sources: []\n")
    status, modules, said = imported(["target", "list"], tmp_path, HOME=str(tmp_path))
    assert status == 0 and "pydantic" in modules, said
    own.write_text(f"{head}memory: {{ram_mb: lots}}\n")
    status, _, said = imported(["target", "list"], tmp_path, HOME=str(tmp_path))
    assert status == 2 and "memory.ram_mb: expected a whole number, found 'lots'" in said


ASKED: dict[str, Callable[[str], list[str]]] = {
    "status": lambda host: ["status", "--host", host],
    "history": lambda host: ["history", "--host", host],
    "verify": lambda host: ["verify", "--host", host],
    "logs": lambda host: ["logs", "--host", host],
    "trust": lambda host: ["keys", "show", "--host", host],
}


@pytest.mark.parametrize("verb", ASKED)
def test_asking_a_device_imports_neither_schema_nor_build(verb: str, tmp_path: Path) -> None:
    _, modules, said = imported(ASKED[verb](f"local:{tmp_path}/device"), tmp_path)
    assert "internal-error" not in said and "bad-usage" not in said, said
    held(modules, BUNDLED if verb == "trust" else ASKING, set())
    assert "edgeship.deploy.session" in modules and "edgeship.deploy.deployment" not in modules


def test_asking_with_a_settings_file_takes_yaml_more(tmp_path: Path) -> None:
    (tmp_path / "edgeship.yaml").write_text(
        f"hosts: ['local:{tmp_path}/device']\ndevice:\ndeploy: {{keep_releases: 5, confirm_seconds: 60}}\n"
        "preprocess: {scale: 1/255}\nlabels: [a, b]\n"
    )
    status, modules, said = imported(["status"], tmp_path)
    assert status == 2 and "not-deployed" in said, said
    held(modules, ASKING, {"yaml"})


def test_a_doubtful_settings_file_goes_to_the_schema_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "edgeship.yaml").write_text("hosts: ['pi@board']\ndeploy: {keep_releases: 1}\n")
    status, modules, said = imported(["status"], tmp_path)
    assert status == 2 and "deploy.keep_releases: expected 2 or more" in said and "pydantic" in modules
    (tmp_path / "edgeship.yaml").write_text("host: 'pi@board'\n")
    status, _, said = imported(["status"], tmp_path)
    assert status == 2 and "did you mean 'hosts'?" in said


def test_a_deployment_of_a_bundle_needs_nothing_that_makes_one(bundle: Path, tmp_path: Path) -> None:
    where = f"local:{tmp_path}/device"
    status, modules, said = imported(["deploy", str(bundle), "--host", where, "--goal", "stage"], tmp_path)
    assert status == 0, said
    held(modules, BUNDLED, set())


def test_over_ssh_fabric_comes_and_its_mocks_do_not(build_server: Any, tmp_path: Path) -> None:
    build_server.trust()
    words = [
        "status",
        "--host",
        build_server.host.text,
        "--ssh-config",
        str(build_server.folder / "ssh_config"),
    ]
    status, modules, said = imported([*words, "--root", f"{tmp_path}/device"], tmp_path)
    assert status == 2 and "not-deployed" in said, said
    assert {"fabric", "paramiko"} <= modules
    held(modules, ASKING, SSH)


def test_what_fabric_finds_in_place_of_mocks_is_the_real_thing() -> None:
    code = (
        "import sys; from edgeship.remote.sshlib import fabric; import invoke; assert 'unittest' not in sys.modules; "
        "context = invoke.MockContext(run=invoke.Result('told')); from unittest.mock import Mock; "
        "assert isinstance(context.run, Mock) and context.run('x').stdout == 'told'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
