"""The archive: sealed the same way every time, and believed in nothing when it is opened."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeship.bundle import seal as sealing
from edgeship.bundle.seal import extract, open_bundle, read_manifest, seal
from edgeship.digest import canonical_json, sha256_bytes, write_tar
from edgeship.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
FILES = {"service.json": b"{}\n", "models/fp32.tflite": b"\0" * 5000, "runtime/main.py": b"print()\n"}


def small_manifest(content: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """Return a sound manifest over `content`, but for `changes`."""
    return {
        "schema": "edgeship.manifest/1",
        "app": "demo",
        "version": "1",
        "target": "host",
        "requires": {},
        "engine": {},
        "chosen": "fp32",
        "variants": [],
        "provenance": {},
        "files": {
            name: {"sha256": sha256_bytes(data), "bytes": len(data), "executable": False}
            for name, data in content.items()
        },
        **changes,
    }


def make_small(out: Path) -> Path:
    return seal(FILES, small_manifest(FILES), executable=(), out=out).path


def packed(files: dict[str, bytes], manifest: Any = None) -> bytes:
    """Return an archive over `files` with a manifest over FILES, whatever it says."""
    head = canonical_json(manifest or small_manifest(FILES))
    stream = io.BytesIO()
    write_tar(stream, {"manifest.json": head, **files})
    return gzip.compress(stream.getvalue(), mtime=0)


def tar_of(*members: tuple[str, bytes, bytes, str]) -> bytes:
    """Return a gzipped tar of (name, type, content, link target) after a sound manifest over FILES."""
    stream = io.BytesIO()
    head = canonical_json(small_manifest(FILES))
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content, link in (("manifest.json", tarfile.REGTYPE, head, ""), *members):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.mode = kind, len(content), link, 0o644
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def whole(*extra: tuple[str, bytes, bytes, str]) -> bytes:
    return tar_of(*((n, tarfile.REGTYPE, c, "") for n, c in sorted(FILES.items())), *extra)


def test_what_is_sealed_comes_back(tmp_path: Path) -> None:
    sealed = seal(FILES, small_manifest(FILES), executable=(), out=tmp_path)
    opened = open_bundle(sealed.path)
    assert opened == sealed
    assert sealed.release == sha256_bytes(canonical_json(sealed.manifest))
    assert sealed.path.name == f"demo-host-{sealed.release[:12]}.edgeship"
    extract(opened, tmp_path / "release")
    for name, content in FILES.items():
        assert (tmp_path / "release" / name).read_bytes() == content
    assert sha256_bytes((tmp_path / "release" / "manifest.json").read_bytes()) == sealed.release
    assert read_manifest(sealed.path) == sealed.manifest


def test_head_is_read_without_the_rest(tmp_path: Path) -> None:
    large = {**FILES, "models/large.tflite": random.Random(1).randbytes(300_000)}
    path = seal(large, small_manifest(large), executable=(), out=tmp_path).path
    path.write_bytes(path.read_bytes()[:-20])
    assert read_manifest(path)["app"] == "demo"
    with pytest.raises(InputError, match="ends too early"):
        open_bundle(path)


def test_same_bytes_in_another_folder_time_zone_umask_and_hash_seed(tmp_path: Path) -> None:
    code = (
        "import os,sys,runpy; from pathlib import Path; os.umask(int(sys.argv[2], 8));"
        "ns = runpy.run_path(sys.argv[3]); ns['make_small'](Path(sys.argv[1]))"
    )
    seen = set()
    for number, (zone, mask, seed) in enumerate([("UTC", "022", "1"), ("Asia/Tokyo", "077", "2")]):
        out = tmp_path / f"out{number}"
        env = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, str(out), mask, str(Path(__file__))]
        subprocess.run(command, env=env, check=True, cwd=tmp_path)
        (made,) = out.iterdir()
        seen.add((made.name, made.read_bytes(), oct(made.stat().st_mode)))
        time.sleep(1.1)
    assert len(seen) == 1


def flipped(data: bytes) -> bytes:
    return data[:-200] + bytes([data[-200] ^ 1]) + data[-199:]


def other_manifest(**changes: Any) -> bytes:
    return packed(FILES, small_manifest(FILES, **changes))


def entry(**changes: Any) -> bytes:
    files = small_manifest(FILES)["files"]
    files["service.json"] = {**files["service.json"], **changes}
    return other_manifest(files=files)


def renamed(name: str) -> bytes:
    files = dict(FILES)
    files[name] = b"evil"
    return packed(files, small_manifest(files))


def not_first() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return gzip.compress(stream.getvalue())


def with_mode() -> bytes:
    """A sound content in a tar that says more than it must: an owner."""
    stream = io.BytesIO()
    head = canonical_json(small_manifest(FILES))
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {"manifest.json": head, **dict(sorted(FILES.items()))}.items():
            info = tarfile.TarInfo(name)
            info.size, info.uname = len(content), "mallory"
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue())


def bad_json() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"nope"))
    return gzip.compress(stream.getvalue())


def spaced_manifest() -> bytes:
    head = canonical_json(small_manifest(FILES)).replace(b'":', b'": ')
    stream = io.BytesIO()
    write_tar(stream, {"manifest.json": head, **FILES})
    return gzip.compress(stream.getvalue())


TAMPERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bit": (flipped, "damaged"),
    "cut": (lambda d: d[: len(d) // 2], "ends too early"),
    "cut by one byte": (lambda d: d[:-1], "ends too early"),
    "empty": (lambda d: b"", "ends too early"),
    "text": (lambda d: b"not a bundle at all", "not a gzip file"),
    "garbage after": (lambda d: d + b"x", "something follows"),
    "zeros after": (lambda d: d + b"\0" * 512, "something follows"),
    "second member": (lambda d: d + gzip.compress(b"more"), "something follows"),
    "tar tail": (lambda d: gzip.compress(gzip.decompress(d) + b"\0" * 512), "holds more, or other"),
    "hidden tail": (lambda d: gzip.compress(gzip.decompress(d) + b"payload"), "holds more, or other"),
    "half a tar": (lambda d: gzip.compress(gzip.decompress(d)[:2000]), "tar is damaged|not sound|missing"),
    "an owner": (lambda d: with_mode(), "holds more, or other"),
    "not first": (lambda d: not_first(), "does not begin with manifest.json"),
    "no JSON": (lambda d: bad_json(), "manifest.json is not JSON"),
    "spaces in the manifest": (lambda d: spaced_manifest(), "not in canonical form"),
    "content": (
        lambda d: packed({**FILES, "service.json": b"[]\n"}),
        "'service.json' is not what the manifest",
    ),
    "longer": (
        lambda d: packed({**FILES, "service.json": b"{}\n\n"}),
        "'service.json' is not what the manifest",
    ),
    "missing": (lambda d: packed({k: v for k, v in FILES.items() if k != "service.json"}), "and missing"),
    "extra": (lambda d: packed({**FILES, "extra": b""}), "'extra' is not named in the manifest"),
    "twice": (lambda d: whole(("service.json", tarfile.REGTYPE, b"{}\n", "")), "stands in it twice"),
    "symlink": (lambda d: whole(("link", tarfile.SYMTYPE, b"", "/etc/passwd")), "'link' is not a plain file"),
    "hard link": (lambda d: whole(("link", tarfile.LNKTYPE, b"", "service.json")), "not a plain file"),
    "device": (lambda d: whole(("null", tarfile.CHRTYPE, b"", "")), "'null' is not a plain file"),
    "fifo": (lambda d: whole(("pipe", tarfile.FIFOTYPE, b"", "")), "'pipe' is not a plain file"),
    "folder": (lambda d: whole(("folder", tarfile.DIRTYPE, b"", "")), "'folder' is not a plain file"),
    "absolute": (lambda d: renamed("/etc/cron.d/x"), "unsafe name '/etc/cron.d/x'"),
    "up": (lambda d: renamed("../x"), "unsafe name '../x'"),
    "up inside": (lambda d: renamed("models/../../x"), "unsafe name"),
    "dot": (lambda d: renamed("./x"), "unsafe name"),
    "double slash": (lambda d: renamed("models//x"), "unsafe name"),
    "backslash": (lambda d: renamed("models\\x"), "unsafe name"),
    "newline": (lambda d: renamed("x\ny"), "unsafe name"),
    "long name": (lambda d: renamed("x" * 401), "unsafe name"),
    "case": (lambda d: renamed("SERVICE.json"), "differ in case only"),
    "negative size": (lambda d: entry(bytes=-1), "entry of 'service.json' is not sound"),
    "size as text": (lambda d: entry(bytes="3"), "entry of 'service.json' is not sound"),
    "bad digest": (lambda d: entry(sha256="0" * 63), "entry of 'service.json' is not sound"),
    "digest of another type": (lambda d: entry(sha256=5), "entry of 'service.json' is not sound"),
    "no app": (lambda d: other_manifest(app=None), "app is not a plain name"),
    "files a list": (lambda d: other_manifest(files=[]), "files is not an object"),
    "other schema": (lambda d: other_manifest(schema="other/1"), "has schema 'other/1'"),
    "schema without number": (lambda d: other_manifest(schema="edgeship.manifest/x"), "has schema"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_seen(how: str, tmp_path: Path) -> None:
    change, reason = TAMPERED[how]
    path = make_small(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=reason) as caught:
        open_bundle(path)
    assert caught.value.reference == "bundle-corrupt"
    assert caught.value.context == {"file": str(path)}
    assert caught.value.hint and "edgeship build" in caught.value.hint


def test_error_text(tmp_path: Path) -> None:
    path = tmp_path / "kws.edgeship"
    path.write_bytes(make_small(tmp_path).read_bytes() + b"x")
    with pytest.raises(InputError) as caught:
        open_bundle(path)
    assert caught.value.render() == (
        "error: bundle-corrupt\n"
        "  kws.edgeship is not a sound bundle: something follows the end of the archive\n"
        f"  file: {path}\n"
        "hint: copy it again from where it was built, or build anew: edgeship build MODEL --target T -o DIR"
    )


def test_newer_bundle_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "new.edgeship"
    path.write_bytes(other_manifest(schema="edgeship.manifest/2"))
    for reader in (open_bundle, read_manifest):
        with pytest.raises(InputError) as caught:
            reader(path)
        assert caught.value.render() == (
            "error: bundle-too-new\n"
            "  new.edgeship was made by a newer edgeship than this one\n"
            f"  file:       {path}\n"
            "  schema:     edgeship.manifest/2\n"
            "  understood: edgeship.manifest/1\n"
            "hint: update edgeship here, or build the bundle again with this edgeship"
        )


@pytest.mark.parametrize("reader", [open_bundle, read_manifest])
def test_missing_bundle(reader: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no bundle"):
        reader(tmp_path / "no.edgeship")
    with pytest.raises(InputError):
        reader(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "CONTENT_LIMIT", 8 << 20)
    path = tmp_path / "bomb.edgeship"
    path.write_bytes(gzip.compress(b"\0" * (32 << 20)))
    with pytest.raises(InputError, match="unpacks to more than 8 MiB"):
        open_bundle(path)


def test_extract_wants_an_empty_folder_and_the_same_bundle(tmp_path: Path) -> None:
    bundle = open_bundle(make_small(tmp_path))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        extract(bundle, full)
    assert [p.name for p in full.iterdir()] == ["mine"]
    other = {**FILES, "service.json": b"[]\n"}
    bundle.path.write_bytes(packed(other, small_manifest(other)))
    with pytest.raises(InputError, match="no longer the bundle that was opened"):
        extract(bundle, tmp_path / "new")


def test_failure_leaves_no_part_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        seal({"x": tmp_path / "gone"}, small_manifest({}), executable=(), out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
