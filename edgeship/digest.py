"""Canonical JSON, SHA-256 of files and trees, and deterministic tar archives: same inputs, same bytes, any day."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Return `value` as UTF-8 JSON with sorted keys, no spaces and a final newline. NaN and infinity are refused."""
    return (
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hexadecimal SHA-256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def sha256_tree(path: Path) -> str:
    """Return one digest for a file, or for a folder's relative names and contents (times and modes do not count)."""
    if path.is_file():
        return sha256_file(path)
    entries = {str(p.relative_to(path)): sha256_file(p) for p in sorted(path.rglob("*")) if p.is_file()}
    return sha256_json(entries)


def tar_info(name: str, size: int, *, executable: bool = False) -> tarfile.TarInfo:
    """Return a tar header that says nothing about who packed it, where or when."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o755 if executable else 0o644
    info.mtime = 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def write_tar(stream: BinaryIO, files: Mapping[str, Path | bytes], *, executable: Iterable[str] = ()) -> None:
    """Write `files` (archive name -> path or content) as a POSIX tar whose bytes depend on names and contents only.

    Names are written in sorted order, except that `manifest.json` comes first so that a reader can stop early.
    """
    runnable = set(executable)
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files, key=lambda n: (n != "manifest.json", n)):
            source = files[name]
            if isinstance(source, bytes):
                tar.addfile(tar_info(name, len(source), executable=name in runnable), io.BytesIO(source))
            else:
                with source.open("rb") as content:
                    tar.addfile(tar_info(name, source.stat().st_size, executable=name in runnable), content)
