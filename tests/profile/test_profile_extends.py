"""`extends:`: chains, cycles, what is inherited and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeship.errors import InputError
from edgeship.profile import list_profiles, load_profile, load_with_origins


def test_mappings_merge_lists_replace_null_empties(write, shipped: Path) -> None:
    write("middle", "abstract: true\nextends: raspberry-pi-4\nservice: {memory_max_mb: 99, groups: [a, b]}\n")
    path = write("board", "extends: middle\nservice: {groups: [c]}\nnotes: []\nmemory: {ram_mb: 8192}\n")
    profile = load_profile(str(path), folders=[shipped])
    assert profile.service.memory_max_mb == 99 and profile.service.manager == "systemd"
    assert profile.service.groups == ("c",)
    assert profile.notes == () and profile.memory.ram_mb == 8192
    assert profile.name == "board" and profile.title == "T" and profile.aliases == ()
    assert not profile.recognised_by, "a copy must not be recognised in place of what it extends"


def test_files_of_the_chain(write, shipped: Path) -> None:
    path = write("board", "extends: raspberry-pi-4\n")
    loaded = load_with_origins(str(path), folders=[shipped])
    assert [f.stem for f in loaded.files] == [
        "board",
        "raspberry-pi-4",
        "raspberry-pi",
        "aarch64",
        "linux-base",
    ]


def test_a_figure_set_again_loses_the_bases_source(write, shipped: Path) -> None:
    path = write("board", "extends: raspberry-pi-4\nmemory: {ram_mb: 8192}\n")
    profile = load_profile(str(path), folders=[shipped])
    assert profile.source_of("memory.ram_mb") is None
    assert profile.source_of("sensors") is not None


def test_own_sources_come_first_and_say_where_they_stand(write, shipped: Path) -> None:
    path = write(
        "board",
        "extends: raspberry-pi-4\nmemory: {ram_mb: 8192}\n"
        "sources: [{figure: memory.ram_mb, source: the label, confidence: measured}]\n",
    )
    loaded = load_with_origins(str(path), folders=[shipped])
    assert loaded.profile.sources[0].source == "the label"
    assert loaded.origin(("sources", 0)).file == "targets/board.yaml"
    last = len(loaded.profile.sources) - 1
    assert loaded.origin(("sources", last)).file == "targets/linux-base.yaml"


def test_cycle_is_named(write, tmp_path: Path) -> None:
    write("a", "extends: b\n")
    write("b", "extends: c\n")
    path = write("c", "extends: a\n")
    with pytest.raises(InputError) as caught:
        load_profile(str(path), folders=[tmp_path / "targets"])
    text = caught.value.render()
    assert text.startswith("error: extends-cycle\n") and "c -> a -> b -> c" in text
    assert "hint: remove 'extends:'" in text


def test_extending_oneself_is_a_cycle(write) -> None:
    path = write("a", "extends: a\n")
    with pytest.raises(InputError, match="a -> a"):
        load_profile(str(path), folders=[])


def test_unknown_base_proposes_one(write, shipped: Path) -> None:
    path = write("board", "extends: raspbery-pi\n")
    with pytest.raises(InputError) as caught:
        load_profile(str(path), folders=[shipped])
    text = caught.value.render()
    assert "extends: no profile is called 'raspbery-pi'; did you mean 'raspberry-pi'? (line 4)" in text


def test_own_profile_may_build_on_the_shipped_one_of_the_same_name(
    write, shipped: Path, tmp_path: Path
) -> None:
    write("raspberry-pi-4", "extends: raspberry-pi-4\nmemory: {ram_mb: 8192}\n")
    folders = [tmp_path / "targets", shipped]
    profile = load_profile("raspberry-pi-4", folders=folders)
    assert profile.memory.ram_mb == 8192 and profile.service.manager == "systemd"
    names = [t.name for t in list_profiles(folders=folders)]
    assert names.count("raspberry-pi-4") == 1
    assert next(t for t in list_profiles(folders=folders) if t.name == "raspberry-pi-4").memory.ram_mb == 8192


def test_anchors_and_merge_keys_are_fine(write, shipped: Path) -> None:
    path = write(
        "board",
        """\
        extends: aarch64
        memory: &size {ram_mb: 700}
        service: {manager: systemd, memory_max_mb: 64}
        sensors:
          - &zone {name: one, kind: temperature, path: /a, unit: celsius}
          - {<<: *zone, name: two, path: /b}
        """,
    )
    profile = load_profile(str(path), folders=[shipped])
    assert [(s.name, s.path, s.unit) for s in profile.sensors] == [
        ("one", "/a", "celsius"),
        ("two", "/b", "celsius"),
    ]


def test_a_broken_neighbour_hides_nothing_but_itself(write, shipped: Path, tmp_path: Path) -> None:
    write("broken", "memory: {\n")
    folders = [tmp_path / "targets", shipped]
    assert load_profile("coral", folders=folders).name == "coral-dev-board"
    with pytest.raises(InputError, match="broken"):
        list_profiles(folders=folders)
