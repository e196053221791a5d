"""What is made from the profiles is up to date in the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.profile.docs import BEGIN, END, documents, json_schema, main, with_table

ROOT = Path(__file__).resolve().parents[2]
MADE = documents(ROOT, ROOT / "targets")


@pytest.mark.parametrize("path", MADE, ids=lambda p: str(p.relative_to(ROOT)))
def test_committed_documents_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == MADE[path], (
        f"{path.relative_to(ROOT)} is behind targets/*.yaml: run python -m edgeship.profile.docs"
    )


def test_only_the_table_in_the_readme_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (tmp_path / "targets").symlink_to(ROOT / "targets")
    assert main(tmp_path) == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| target |") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text.replace("-older", "") and "`raspberry-pi-5`" in text
    assert with_table(text, "x\n") == f"before\n{BEGIN}\nx\n{END}\nafter\n"


def test_readme_without_markers_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    (tmp_path / "targets").symlink_to(ROOT / "targets")
    main(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine\n"


def test_schema_describes_every_key() -> None:
    schema = json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, part in {"": schema, **schema["$defs"]}.items()
        for key, field in part["properties"].items()
        if "description" not in field and "$ref" not in field
    ]
    assert not undescribed
