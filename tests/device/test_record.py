"""What the state record holds, and what it costs: a slot never grows, whatever the reason is written in."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def slots(place: Any) -> list[Path]:
    return sorted(Path(place.app).glob("state.?"))


@pytest.mark.parametrize(
    "reason", ["漢" * 4000, '"' * 4000, "\x01" * 4000, "x" * 4000, "\U0001f600" * 4000, "caf\udce9 " * 700]
)
def test_a_reason_is_cut_to_its_slot(helper: ModuleType, place: Any, reason: str) -> None:
    bake = {"release": "1" * 64, "back": "0" * 64, "before": "2" * 64, "seconds": 900.5, "restarts": 3}
    bake.update(boot="b" * 60, until=123456.123456, since="", starts=3)
    names = {"tx": "t" * 64, "to": "1" * 64, "from": "0" * 64, "previous": "2" * 64, "fell": "1" * 64}
    for state in ("TRIAL", "REVERTING", "COMMITTED"):
        written = helper.change_state(place, state, reason=reason, bake=bake, helper="es.py", **names)
    kept = written["reason"]
    assert len(kept) > 300 and reason.replace("\udce9", "?").startswith(kept)
    record = helper.reopen_bake(place, helper.read_state(place))  # which makes it longer
    assert record["bake"]["since"] and helper.read_state(place)["reason"] == kept
    assert [path.stat().st_size for path in slots(place)] == [helper.SLOT_BYTES] * 2
    assert json.loads(slots(place)[0].read_text())


def test_a_short_reason_is_left_alone(helper: ModuleType, place: Any) -> None:
    for reason in ("nobody confirmed within 60 s", "漢字", "", None):
        assert helper.change_state(place, "COMMITTED", reason=reason)["reason"] == reason


def test_what_is_right_already_is_not_written_again(helper: ModuleType, tmp_path: Path) -> None:
    """A link or a file as it should be: nothing new on the disk, and its name durable all the same."""
    link, path = tmp_path / "current", tmp_path / "start.json"
    synced: list[str] = []
    helper.sync_folder = synced.append
    for _ in range(2):
        helper.point_link(str(link), "releases/a")
        helper.keep_whole(str(path), b"{}")
    before = [entry.lstat().st_ino for entry in (link, path)]
    helper.point_link(str(link), "releases/a")
    helper.keep_whole(str(path), b"{}")
    assert [entry.lstat().st_ino for entry in (link, path)] == before
    assert synced == [str(tmp_path)] * 6
    helper.point_link(str(link), "releases/b")
    helper.keep_whole(str(path), b"{ }")
    assert str(link.readlink()) == "releases/b" and path.read_bytes() == b"{ }"
    assert [entry.lstat().st_ino for entry in (link, path)] != before


def test_what_cannot_be_written_whole_leaves_nothing(helper: ModuleType, tmp_path: Path) -> None:
    import resource

    path = tmp_path / "reserve"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            helper.write_whole(str(path), b"x" * 8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("reserve")] == ["reserve"]
    assert path.read_bytes() == b"old"


def test_links_that_start_the_service_are_durable(
    helper: ModuleType, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemctl and rc-update only make links; each folder that gets one is synced afterwards."""
    told: list[tuple[str, ...]] = []

    def systemctl(*words: str, **_: Any) -> str:
        if words[0] == "enable":
            (tmp_path / "multi-user.target.wants").mkdir(exist_ok=True)
            (tmp_path / "multi-user.target.wants" / words[1]).symlink_to("x")
        told.append(words)
        return ""

    monkeypatch.setattr(helper, "UNITS", str(tmp_path))
    monkeypatch.setattr(helper, "systemctl", systemctl)
    monkeypatch.setattr(helper, "sync_folder", lambda path: told.append(("sync", str(Path(path)))))
    manager = helper.Systemd(place, "/es.py")
    manager.restart()
    wants = str(tmp_path / "multi-user.target.wants")
    at = told.index(("enable", "edgeship-kws.service"))
    assert told[at + 1 :] == [
        ("sync", wants), ("sync", str(tmp_path)), ("start", "--no-block", "edgeship-kws.service"),
    ]  # fmt: skip
    told.clear()
    manager.enable()
    assert told == []  # as it should be
    Path(wants, "edgeship-kws.service").unlink()
    manager.enable()
    assert [words[0] for words in told] == ["enable", "sync", "sync", "start"]

    monkeypatch.setattr(helper, "RUNLEVELS", str(tmp_path))
    monkeypatch.setattr(helper, "rc", lambda *words, **_: told.append(words))
    told.clear()
    helper.Openrc(place, "/es.py").restart()
    assert told[-3:] == [
        ("rc-update", "add", "edgeship-kws", "default"), ("sync", str(tmp_path / "default")),
        ("rc-service", "edgeship-kws", "start"),
    ]  # fmt: skip
