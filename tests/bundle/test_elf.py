"""What shared libraries really need, on the one that lies in this environment."""

from __future__ import annotations

import importlib.util
import platform
import struct
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle.elf import check_elf, parse_version, read_elf
from edgeship.errors import ToolError


@pytest.fixture(scope="module")
def library() -> Path:
    found = importlib.util.find_spec("ai_edge_litert")
    assert found and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "libLiteRt.so"


def checked(library: Path, **changes: Any) -> Any:
    wanted: dict[str, Any] = {
        "machine": platform.machine(),
        "libc": "glibc",
        "libc_version": "2.99",
        "libstdcxx": None,
        "target": "host",
    }
    return check_elf([("lib/libLiteRt.so", library)], **{**wanted, **changes})


def test_facts_of_the_runtime_library(library: Path) -> None:
    facts = read_elf(library)
    assert facts.soname == "libLiteRt.so" and facts.bits == 64 and not facts.musl
    assert "libstdc++.so.6" in facts.needed and facts.glibc and facts.glibcxx
    assert facts.hard_float is None


def test_needs_leave_out_what_glibc_and_the_release_bring(library: Path) -> None:
    needs = checked(library)
    assert needs.libraries == ("libgcc_s.so.1", "libstdc++.so.6")
    assert parse_version(needs.glibc) == read_elf(library).glibc
    both = check_elf(
        [("lib/libLiteRt.so", library), ("lib/libstdc++.so.6", library)],
        machine=platform.machine(),
        libc="glibc",
        libc_version=None,
        libstdcxx=None,
        target="host",
    )
    assert both.libraries == ("libgcc_s.so.1",)


def test_another_processor_is_refused(library: Path) -> None:
    with pytest.raises(ToolError) as caught:
        checked(library, machine="armv7l", target="armv7-linux")
    machine = read_elf(library).machine
    assert caught.value.render() == (
        "error: elf-wrong-machine\n"
        "  lib/libLiteRt.so is built for another processor than target armv7-linux\n"
        f"  needs:   {machine}, 64 bits\n"
        "  profile: architecture: armv7l\n"
        "hint: edgeship target show armv7-linux"
    )


def test_an_older_libc_is_refused(library: Path) -> None:
    needed = checked(library).glibc
    with pytest.raises(ToolError) as caught:
        checked(library, libc_version="2.17", target="old-board")
    assert caught.value.render() == (
        "error: elf-needs-newer-libc\n"
        "  lib/libLiteRt.so needs a newer C library than target old-board has\n"
        f"  needs:   GLIBC_{needed}\n"
        "  profile: libc.version: 2.17\n"
        "hint: use runtime.engine: tflite_runtime in the target's YAML, or a newer system on the device"
    )


def test_an_older_cxx_library_and_musl_are_refused(library: Path) -> None:
    with pytest.raises(ToolError) as caught:
        checked(library, libstdcxx="3.4.1")
    assert caught.value.reference == "elf-needs-newer-libstdcxx"
    assert caught.value.context["profile"] == "libc.libstdcxx: 3.4.1"
    with pytest.raises(ToolError) as caught:
        checked(library, libc="musl", libc_version="1.2")
    assert caught.value.message == "lib/libLiteRt.so is built against glibc, target host has musl"


def test_versions_compare_as_numbers(library: Path) -> None:
    assert parse_version("2.9") < parse_version("2.17") < parse_version("2.34")
    assert parse_version("3.4.30") > parse_version("3.4.9")
    assert parse_version("none") == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 60, b"MZ" + b"\0" * 100],
    ids=["empty", "magic only", "garbage", "other format"],
)
def test_unsound_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.so").write_bytes(content)
    with pytest.raises(ToolError) as caught:
        read_elf(tmp_path / "x.so")
    assert caught.value.reference == "elf-unreadable"
    assert caught.value.message.startswith("x.so is not a sound ELF file")
    with pytest.raises(ToolError, match=r"^lib/libLiteRt\.so is not a sound ELF file"):
        checked(tmp_path / "x.so")  # the file that was read has a name of its own


def test_cut_library_is_named(library: Path, tmp_path: Path) -> None:
    """Section headers stand at the end of the file: cutting it anywhere takes them away."""
    (tmp_path / "x.so").write_bytes(library.read_bytes()[: 1 << 20])
    with pytest.raises(ToolError, match=r"x\.so is not a sound ELF file"):
        read_elf(tmp_path / "x.so")


def test_wrong_bits_are_seen(library: Path, tmp_path: Path) -> None:
    """A header that says EM_ARM, as an armv7 library's does, on a 64-bit file."""
    data = bytearray(library.read_bytes())
    struct.pack_into("<H", data, 18, 40)
    (tmp_path / "x.so").write_bytes(data)
    with pytest.raises(ToolError, match="another processor"):
        checked(tmp_path / "x.so")
