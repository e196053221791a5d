"""Wheels: tags, lock, what is shipped of them, and pip with an index of our own making (a folder)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import yaml

from edgeship.bundle.unpack import missing_requirements, read_wheel
from edgeship.bundle.wheels import (
    SHIPPED_LOCK,
    LockRow,
    WheelRequest,
    fetch_wheel,
    find_row,
    lock_text,
    platform_tags,
    read_lock,
)
from edgeship.digest import sha256_file
from edgeship.errors import InputError, ToolError
from edgeship.progress import Silent

METADATA = "Metadata-Version: 2.1\nName: Tiny_Thing\nVersion: 1.0\nLicense: MIT\n"


def wheel(
    folder: Path,
    *,
    extra: dict[str, bytes] | None = None,
    metadata: str = METADATA,
    tag: str = "py3-none-any",
    link: str | None = None,
) -> Path:
    """Write a small wheel `tiny_thing-1.0-<tag>.whl`."""
    info = "tiny_thing-1.0.dist-info"
    files = {
        "tiny_thing/__init__.py": b"value = 1\n",
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
        **(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny_thing-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "/etc/passwd")
    return path


def request(**changes: str) -> WheelRequest:
    values = {
        "requirement": "tiny-thing==1.0",
        "python": "3.11",
        "machine": "aarch64",
        "libc": "glibc",
        "libc_version": "2.36",
    }
    return WheelRequest(**{**values, **changes})


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_tags_are_what_the_device_would_accept() -> None:
    tags = platform_tags("aarch64", "glibc", "2.28")
    assert tags[0] == "manylinux_2_28_aarch64"
    assert tags[-1] == "linux_aarch64"
    assert "manylinux2014_aarch64" in tags and "manylinux_2_17_aarch64" in tags
    assert "manylinux_2_31_aarch64" not in tags and "manylinux_2_16_aarch64" not in tags
    assert "manylinux1_x86_64" in platform_tags("x86_64", "glibc", "2.36")
    assert platform_tags("aarch64", "musl", "1.2")[0] == "musllinux_1_2_aarch64"
    with pytest.raises(InputError, match="not of the form"):
        platform_tags("aarch64", "glibc", "new")


def test_a_locked_wheel_serves_only_devices_that_it_fits() -> None:
    row = LockRow(
        requirement="tiny-thing==1.0",
        python="3.11",
        machine="aarch64",
        libc="glibc",
        file="tiny_thing-1.0-cp311-cp311-manylinux_2_31_aarch64.whl",
        sha256="0" * 64,
    )
    assert row.serves(request())
    assert not row.serves(request(libc_version="2.28"))
    assert not row.serves(request(python="3.9"))
    assert not row.serves(request(machine="x86_64"))


def test_lock_that_ships_is_sound_and_sorted() -> None:
    rows = read_lock(SHIPPED_LOCK)
    assert rows and SHIPPED_LOCK.read_text() == lock_text(rows)
    assert {r.machine for r in rows} >= {"aarch64", "x86_64", "armv7l"}
    assert all(len(r.sha256) == 64 for r in rows)


def test_broken_lock_is_named(tmp_path: Path) -> None:
    for text in ("wheels: [", "wheels: [{a: 1}]", "[]", "wheels: 5"):
        (tmp_path / "wheels.lock.yaml").write_text(text)
        with pytest.raises(InputError) as caught:
            read_lock(tmp_path / "wheels.lock.yaml")
        assert caught.value.reference == "lock-broken"


def test_first_fetch_pins_and_later_ones_hold_to_it(index: Path, tmp_path: Path) -> None:
    cache, notes = tmp_path / "cache", Notes()
    made = wheel(index)
    found = fetch_wheel(request(), cache=cache, progress=notes)
    assert found.read_bytes() == made.read_bytes()
    assert notes.notes == [
        f"tiny-thing==1.0 was not in the lock: pinned to {made.name} (sha256 {sha256_file(made)[:12]})"
    ]
    row = find_row(request(), cache / "wheels.lock.yaml")
    assert row and row.sha256 == sha256_file(made)
    made.unlink()
    assert fetch_wheel(request(), cache=cache, progress=notes) == found  # from the cache, no index needed
    found.write_bytes(b"damaged")
    wheel(index, extra={"tiny_thing/other.py": b""})
    with pytest.raises(ToolError) as caught:
        fetch_wheel(request(), cache=cache, progress=notes)
    assert caught.value.render() == (
        "error: wheel-changed\n"
        "  the package index gave another tiny-thing==1.0 than the lock names\n"
        f"  file:   {made.name}\n"
        f"  sha256: {sha256_file(made)}\n"
        f"  wanted: {row.file}, {row.sha256}\n"
        "hint: do not use it; if the change is wanted: python -m edgeship.bundle.lock"
    )


def test_no_such_wheel(index: Path, tmp_path: Path) -> None:
    wheel(index, tag="cp311-cp311-manylinux_2_17_x86_64")
    with pytest.raises(ToolError) as caught:
        fetch_wheel(request(), cache=tmp_path / "cache", progress=Silent())
    text = caught.value.render()
    assert text.startswith(
        "error: wheel-not-available\n"
        "  there is no wheel of tiny-thing==1.0 for this kind of device, or no way to the package index\n"
        "  for:      Python 3.11, aarch64, glibc 2.36\n"
        "  pip said: No matching distribution found for tiny-thing==1.0\n"
        "hint: pip config list shows which index is asked;"
    )
    assert not list((tmp_path / "cache" / "wheels").iterdir())


def test_index_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "1",
    }.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ToolError) as caught:
        fetch_wheel(request(), cache=tmp_path / "cache", progress=Silent())
    assert caught.value.reference == "wheel-fetch-failed"
    assert caught.value.message == "tiny-thing==1.0 is not in the cache and could not be fetched from here"
    assert caught.value.hint and "EDGESHIP_CACHE=DIR" in caught.value.hint


def test_what_is_shipped_of_a_wheel(tmp_path: Path) -> None:
    extra = {
        "tiny_thing/tests/test_it.py": b"",
        "tiny_thing/core/include/x.h": b"",
        "tiny_thing/it.pyi": b"",
        "tiny_thing/py.typed": b"",
        "tiny_thing/__pycache__/it.pyc": b"",
        "tiny_thing/libx.a": b"",
        "tiny_thing/testing.py": b"kept",
        "tiny_thing-1.0.data/purelib/pure.py": b"p",
        "tiny_thing-1.0.data/platlib/native.so": b"n",
        "tiny_thing-1.0.data/scripts/tool": b"s",
        "tiny_thing-1.0.data/headers/x.h": b"h",
        "tiny_thing-1.0.dist-info/licenses/LICENSE": b"text",
        "tiny_thing-1.0.dist-info/entry_points.txt": b"",
    }
    found = read_wheel(wheel(tmp_path, extra=extra))
    assert sorted(found.files) == [
        "native.so",
        "pure.py",
        "tiny_thing-1.0.dist-info/METADATA",
        "tiny_thing/__init__.py",
        "tiny_thing/testing.py",
    ]
    assert found.licences == {"LICENSE": b"text"}
    assert (found.name, found.version, found.native) == ("tiny-thing", "1.0", False)
    assert read_wheel(wheel(tmp_path, tag="cp311-cp311-manylinux_2_17_aarch64")).native
    assert not read_wheel(wheel(tmp_path, tag="cp38-abi3-manylinux_2_17_aarch64")).native


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\x"])
def test_unsafe_wheels_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="unsafe name"):
        read_wheel(wheel(tmp_path, extra={name: b""}))


def test_broken_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="symbolic link"):
        read_wheel(wheel(tmp_path, link="tiny_thing/link"))
    path = wheel(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ToolError) as caught:
        read_wheel(path)
    assert caught.value.reference == "wheel-broken"
    with zipfile.ZipFile(io.BytesIO(), "w"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.py", "")
    with pytest.raises(ToolError, match="not a sound wheel"):
        read_wheel(path)


def test_requirements_nobody_provides(tmp_path: Path) -> None:
    lines = (
        "Requires-Dist: numpy>=1.23.2\n"
        "Requires-Dist: typing-extensions; python_version < '3.8'\n"
        "Requires-Dist: winthing; sys_platform == 'win32'\n"
        "Requires-Dist: extra-thing; extra == 'more'\n"
    )
    found = read_wheel(wheel(tmp_path, metadata=METADATA + lines))
    assert missing_requirements([found], [], python="3.11", machine="aarch64") == (
        "numpy>=1.23.2 (for tiny-thing 1.0)",
    )
    assert missing_requirements([found], ["NumPy"], python="3.11", machine="aarch64") == ()
    old = missing_requirements([found], ["numpy"], python="3.7", machine="aarch64")
    assert old == ("typing-extensions (for tiny-thing 1.0)",)


def test_lock_text_is_yaml(tmp_path: Path) -> None:
    rows = read_lock(SHIPPED_LOCK)
    assert len(yaml.safe_load(lock_text([*rows, *rows]))["wheels"]) == len(rows)
