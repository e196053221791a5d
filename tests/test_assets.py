"""Where targets and templates are found: in a checkout, in a wheel, in folders of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeship import assets
from edgeship.errors import EdgeshipError

ROOT = Path(__file__).resolve().parents[1]


def installed(tmp_path: Path) -> Path:
    """Return a package folder as a wheel leaves it, with a stranger's `targets` beside it."""
    package = tmp_path / "site-packages" / "edgeship"
    for name in ("targets", "templates"):
        (package / "_assets" / name).mkdir(parents=True)
        (package.parent / name).mkdir()
    return package


def test_checkout() -> None:
    assert assets.targets_folder(ROOT / "edgeship") == ROOT / "targets"
    assert assets.templates_folder(ROOT / "edgeship") == ROOT / "templates"
    assert (assets.runtime_folder(ROOT / "edgeship") / "main.py").is_file()


def test_wheel(tmp_path: Path) -> None:
    package = installed(tmp_path)
    assert assets.targets_folder(package) == package / "_assets" / "targets"
    assert assets.templates_folder(package) == package / "_assets" / "templates"


def test_a_strangers_folder_in_site_packages_is_not_ours(tmp_path: Path) -> None:
    package = installed(tmp_path)
    (package / "_assets" / "targets").rmdir()
    with pytest.raises(EdgeshipError) as caught:
        assets.targets_folder(package)
    text = caught.value.render()
    assert text.startswith("error: assets-missing\n") and str(package / "_assets" / "targets") in text


def test_missing_runtime(tmp_path: Path) -> None:
    with pytest.raises(EdgeshipError, match="'runtime' folder"):
        assets.runtime_folder(installed(tmp_path))


def test_order_of_search(tmp_path: Path) -> None:
    project, home, one, two = (tmp_path / name for name in ("project", "home", "one", "two"))
    for folder in (project / "targets", home / ".config" / "edgeship" / "targets", one, two):
        folder.mkdir(parents=True)
    environment = {
        "HOME": str(home),
        "EDGESHIP_TARGETS": f"{one}{os.pathsep}{two}{os.pathsep}{tmp_path / 'none'}",
    }
    folders = assets.target_folders(environment=environment, project=project)
    assert folders == (
        project / "targets",
        one,
        two,
        home / ".config" / "edgeship" / "targets",
        assets.targets_folder(),
    )


def test_xdg_goes_before_home(tmp_path: Path) -> None:
    (tmp_path / "xdg" / "edgeship" / "targets").mkdir(parents=True)
    environment = {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert assets.target_folders(environment=environment)[0] == tmp_path / "xdg" / "edgeship" / "targets"


def test_each_folder_once() -> None:
    assert assets.target_folders(environment={}, project=ROOT) == (ROOT / "targets",)


def test_the_digest_of_sources_sees_code_templates_and_names_and_nothing_compiled(tmp_path: Path) -> None:
    package = installed(tmp_path)
    code, template = package / "a.py", package / "_assets" / "templates" / "README.txt.j2"
    code.write_text("A = 1\n")
    template.write_text("hello\n")
    seen = [assets.sources_digest(package)]
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"anything")
    assert assets.sources_digest(package) == seen[0]
    for change in (
        lambda: code.write_text("A = 2\n"),
        lambda: template.write_text("hallo\n"),
        lambda: code.rename(package / "b.py"),
    ):
        change()
        seen.append(assets.sources_digest(package))
    assert len(set(seen)) == len(seen)
