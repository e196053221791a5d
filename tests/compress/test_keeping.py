"""What is kept between runs: whole or not there, read again or made again, and by what it is named."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import edgeship
from edgeship.pipeline import keeping
from edgeship.pipeline.keeping import keep, kept, made_with
from edgeship.pipeline.shop import Shop
from edgeship.values import Goals, Step, StepRecord
from edgeship.whole import whole


def test_a_file_or_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    with whole(path) as part:
        part.write_text("one")
        assert not path.exists() and part.parent == path.parent
    with pytest.raises(ZeroDivisionError), whole(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "one"
    with whole(path) as part:
        part.write_text("two")
    assert path.read_text() == "two", "a file takes the place of an older one"

    folder = tmp_path / "deep" / "folder"
    with pytest.raises(ZeroDivisionError), whole(folder) as part:
        part.mkdir()
        (part / "a").write_text("half")
        raise ZeroDivisionError
    with whole(folder) as part:
        part.mkdir()
        (part / "a").write_text("mine")
    assert (folder / "a").read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == ["file.json", "folder"], "nothing else is left"


def test_two_who_make_the_same_folder_are_content_with_one(tmp_path: Path) -> None:
    begun, folder = threading.Barrier(2), tmp_path / "folder"

    def make(content: str) -> None:
        with whole(folder) as part:
            part.mkdir()
            (part / "a").write_text(content)
            begun.wait(10)

    threads = [threading.Thread(target=make, args=(content,)) for content in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folder / "a").read_text() in ("one", "two")
    assert list(tmp_path.iterdir()) == [folder]


def test_what_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", StepRecord(step=Step(label="prune-80", method="prune"), seconds=1.5)
    assert kept(path, StepRecord) is None
    keep(path, value)
    assert kept(path, StepRecord) == value
    path.write_bytes(path.read_bytes()[:-5])
    assert kept(path, StepRecord) is None


def test_another_edgeship_tool_or_metric_has_keys_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made_with()["edgeship"] == edgeship.__version__ and all(made_with().values())
    module = tmp_path / "mine.py"
    module.write_text("def worst(outputs, labels):\n    return 0.0\n")

    def shop(metric: str) -> Shop:
        project = SimpleNamespace(goals=Goals(metric=metric), base=tmp_path)
        return Shop(
            site=cast(Any, SimpleNamespace(project=project)),
            profile=cast(Any, None),
            inputs=cast(Any, None),
            held_out=None,
            until=0.0,
        )

    before = shop("mine:worst").metric()
    assert shop("mine:worst").metric() == before != shop("top1").metric()
    module.write_text("def worst(outputs, labels):\n    return 1.0\n")
    assert shop("mine:worst").metric() != before, "its source is another"
    by = shop("top1").by()
    monkeypatch.setattr(edgeship, "__version__", "9.9")
    keeping.made_with.cache_clear()
    try:
        assert shop("top1").by() != by
    finally:
        monkeypatch.undo()
        keeping.made_with.cache_clear()
