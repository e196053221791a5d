"""Crash states of a weak file system, and mistakes in the helper that must not go unnoticed.

All of it: python -m benchmarks.faults.crashes, python -m benchmarks.faults.mutants.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from benchmarks.faults import weakfs
from benchmarks.faults.crashes import enumerate_crashes, helper_module
from benchmarks.faults.mutants import MUTANTS, Mutant, hunt
from benchmarks.faults.recordings import record_all
from edgeship.device.ship import helper_source


def faces(replay: weakfs.Replay) -> set[str]:
    """Return every crash state of a model as text."""
    return {
        str({path: node[1] if isinstance(node, tuple) else node for path, node in tree.items()})
        for tree in weakfs.crash_states(replay.top, 1)
    }


def replayed(*lines: str) -> weakfs.Replay:
    replay = weakfs.Replay(Path("/d"), weakfs.Folder({"a": weakfs.File(b"old", b"old")}, {}))
    replay.top.sync()
    for line in lines:
        replay.step(line)
    return replay


def test_the_model_loses_what_was_not_synced() -> None:
    write = (
        'openat(AT_FDCWD, "/d/b", O_WRONLY|O_CREAT, 0644) = 3</d/b>',
        'write(3</d/b>, "n\\145w!", 4) = 4',
    )
    rename = 'rename("/d/b", "/d/a") = 0'
    sync, sync_folder = "fsync(3</d/b>) = 0", 'openat(AT_FDCWD, "/d", O_RDONLY) = 4</d>'
    hasty = faces(replayed(*write, rename, sync_folder, "fsync(4</d>) = 0"))
    assert hasty == {"{'a': b''}", "{'a': b'new!'}", "{'a': b'ne'}", r"{'a': b'\x00\x00\x00\x00'}"}
    careful = replayed(*write, sync, rename)
    assert faces(careful) == {"{'a': b'old'}", "{'a': b'old', 'b': b'new!'}", "{'a': b'new!'}"}
    careful.step(sync_folder)
    careful.step("fsync(4</d>) = 0")
    assert faces(careful) == {"{'a': b'new!'}"}


def test_the_model_reads_relative_calls_and_links() -> None:
    replay = replayed(
        'mkdir("/d/sub", 0755) = 0',
        'linkat(AT_FDCWD, "/d/a", AT_FDCWD, "/d/sub/a", 0) = 0',
        'symlink("sub", "/d/current") = 0',
        'unlinkat(5</d/sub>, "a", 0) = 0',
        'rmdir("/d/nothing") = -1 ENOENT (No such file or directory)',
    )
    assert replay.top.names["sub"].names == {} and replay.top.names["current"].target == "sub"
    assert len(faces(replay)) == 2 * 3  # the link or not; no folder, an empty one, one with what was linked


def test_a_torn_line_of_the_audit_log_is_dropped(tmp_path: Path) -> None:
    helper = helper_module(helper_source())
    place = helper.Place(str(tmp_path), "kws")
    place.prepare()
    log = tmp_path / "apps/kws/log/audit.jsonl"
    helper.audit(place, "armed", {"tx": "a"})
    whole = log.read_bytes()
    for rest in (b'{"event":"tr', b"\0" * 40):
        log.write_bytes(whole + rest)
        helper.audit(place, "trial", {"tx": "a"})
        entries, broken = helper.read_audit(place)
        assert ([entry["event"] for entry in entries], broken) == (["armed", "trial"], None)
    log.write_bytes(b"not ours\n" + whole)
    assert helper.read_audit(place)[1] == 1


def test_half_an_audit_line_is_none(tmp_path: Path) -> None:
    """A disk that fills up within a line, with nothing logged after it: the log is as it was before."""
    helper = helper_module(helper_source())
    place = helper.Place(str(tmp_path), "kws")
    place.prepare()
    log = tmp_path / "apps/kws/log/audit.jsonl"
    helper.audit(place, "trial", {"tx": "a"})
    whole = log.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            helper.audit(place, "committed", {"tx": "a"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.read_bytes() == whole
    for rest in (whole[:-1], b"\0" * 40, b"\0" * 40 + whole[40:]):  # power went, and nothing was logged since
        log.write_bytes(whole + rest)
        entries, broken = helper.read_audit(place)
        assert ([entry["event"] for entry in entries], broken) == (["trial"], None)


@pytest.mark.parametrize("foreign", [b"[]\n", b"7\n", b"not ours\n", b"[" * 100_000 + b"\n", b"x" * 40_000])
def test_a_spoilt_audit_log_is_told_and_keeps_nobody_from_going_back(tmp_path: Path, foreign: bytes) -> None:
    helper = helper_module(helper_source())
    place = helper.Place(str(tmp_path), "kws")
    place.prepare()
    helper.change_state(place, "TRIAL", tx="a", to="0" * 64)
    log = tmp_path / "apps/kws/log/audit.jsonl"
    log.write_bytes(log.read_bytes() + foreign)
    helper.change_state(place, "COMMITTED", tx="a", to="0" * 64)
    assert helper.read_state(place)["state"] == "COMMITTED"
    assert helper.read_audit(place)[1] == 2 and foreign in log.read_bytes()


def test_going_back_is_tried_again_where_a_start_failed(tmp_path: Path) -> None:
    """A moment's I/O error at the start of the old release; where it stays, the device says that it is degraded."""
    for problems, state in ((["EIO", None], "COMMITTED"), (["EIO", "EIO"], "DEGRADED")):
        helper = helper_module(helper_source())
        helper.RETRY_SECONDS = 0
        helper.switch = lambda *_, left=problems: left.pop(0)
        helper.check_live = lambda *_: {"reason": None}
        place = helper.Place(str(tmp_path / state), "kws")
        place.prepare()
        helper.change_state(place, "TRIAL", tx="a", to="1" * 64, **{"from": "0" * 64})
        record = helper.revert_to_from(place, "a", "not healthy", 1, 1)
        assert (record["state"], record["to"]) == (state, "0" * 64) and not problems


def test_a_state_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    helper = helper_module(helper_source())
    place = helper.Place(str(tmp_path), "kws")
    place.prepare()
    helper.change_state(place, "COMMITTED", to="0" * 64)
    (tmp_path / "apps/kws/state.1").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        helper.change_state(place, "NONE")


@pytest.mark.slow
def test_recovery_from_crash_states(tmp_path: Path) -> None:
    recordings = record_all(tmp_path, ("upgrade", "boot", "first", "bake", "bake-boot"))
    found = enumerate_crashes(recordings, helper_source(), seconds=12, seed=1)
    assert not found.violations, found.violations
    assert found.points > 100 and found.states > 100


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_still_fit_the_helper(mutant: Mutant) -> None:
    assert mutant.source() != helper_source()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "one-state-slot",
        "switch-before-trial",
        "staging-folders-not-synced",
        "says-it-went-back-before-it-did",
    ],
)
def test_mutants_are_noticed(name: str, tmp_path: Path) -> None:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    assert hunt(mutant, tmp_path, seconds=40)
