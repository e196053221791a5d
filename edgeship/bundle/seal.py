"""Seal a release tree into one file, and open such a file again trusting nothing in it.

The seal is the manifest: it names every other file with its digest, and its own digest is the release id.
Signatures over that digest travel beside it (`edgeship.bundle.envelope`). A sound archive is the only archive its
content can have: opening packs the content again and compares the tar byte for byte, so nothing can hide in
headers, order, gaps or tails.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from edgeship.bundle import envelope
from edgeship.bundle.form import manifest_problem
from edgeship.digest import CHUNK, canonical_json, sha256_bytes, sha256_file, write_tar
from edgeship.errors import InputError
from edgeship.values import Bundle, SignedStatement

MANIFEST = "manifest.json"
FORMAT = 1
"""The manifest's schema number this edgeship writes; it reads no newer one."""
SUFFIX = ".edgeship"
COMPRESSION = 6
"""Level 9 takes three times as long for NumPy and tflite_runtime (5 s for 63 MB) and saves 0.8 % of the file."""

MANIFEST_LIMIT = 4 << 20
CONTENT_LIMIT = 1 << 30
"""Bytes of unpacked content. The largest release (float model, NumPy, tflite_runtime) stays below 100 MB."""
FILES_LIMIT = 20_000
NAME_LIMIT = 400
SAFE_NAME = re.compile(r"[A-Za-z0-9_@+=.,~-][A-Za-z0-9_@+=.,~ ()-]*\Z")
"""One part of a path. (`..` and `.` are refused apart.)"""


class _Hashing:
    """A file that only keeps the digest of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.position = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position


def seal(
    files: Mapping[str, Path | bytes], manifest: Mapping[str, Any], *, executable: tuple[str, ...], out: Path
) -> Bundle:
    """Write `<app>-<target>-<release>.edgeship` into folder `out` (made when missing) and return it as a
    Bundle.

    `files` are all but the manifest. The bytes depend on names and contents only, and on the version of zlib:
    another one may compress differently, with the same release id. An equal file that stands there already is
    kept.
    """
    head = canonical_json(manifest)
    release = sha256_bytes(head)
    path = out / f"{manifest['app']}-{manifest['target']}-{release[:12]}{SUFFIX}"
    out.mkdir(parents=True, exist_ok=True)
    _write(path, {MANIFEST: head, **files}, executable)
    return _bundle(path, head, dict(manifest))


def put_signatures(bundle: Bundle, signatures: Sequence[SignedStatement]) -> Bundle:
    """Write `signatures` into the bundle's file in place of those that are in it, and return the bundle.

    The release stays what it is. Raises as `open_bundle` does; on any error the file stays as it was.
    """
    files: dict[str, Path | bytes] = {}
    runnable: list[str] = []

    def keep(name: str, data: IO[bytes], executable: bool) -> None:
        files[name] = data.read()
        runnable.extend([name] if executable else [])

    with _content(bundle.path) as content:
        head, manifest = _read_head(bundle.path, content)
        if sha256_bytes(head) != bundle.release:
            raise _corrupt(bundle.path, "it is no longer the bundle that was opened")
        _check_members(bundle.path, content, manifest, keep)
    _write(bundle.path, {MANIFEST: head, **files, **envelope.members(signatures)}, runnable)
    return open_bundle(bundle.path)


def _write(path: Path, files: Mapping[str, Path | bytes], executable: Sequence[str]) -> None:
    """Write the archive over `path`, whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=".sealing-", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            with gzip.GzipFile(
                filename="", mode="wb", compresslevel=COMPRESSION, fileobj=stream, mtime=0
            ) as packed:
                write_tar(cast(BinaryIO, packed), files, executable=executable)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def open_bundle(path: Path) -> Bundle:
    """Return the bundle in `path` once every name, size and digest in it has been checked.

    Raises InputError `bundle-missing`, `bundle-corrupt` or `bundle-too-new`.
    """
    with _content(path) as content:
        head, manifest = _read_head(path, content)
        signed = _check_members(path, content, manifest)
        _check_canonical(path, content)
    try:
        signatures = envelope.read(signed, sha256_bytes(head))
    except ValueError as error:
        raise _corrupt(path, str(error)) from None
    return _bundle(path, head, manifest, signatures)


def extract(bundle: Bundle, folder: Path) -> None:
    """Unpack a bundle into `folder`, which must be empty or missing; digests are checked again on the way.

    Raises InputError `folder-not-empty`, or as `open_bundle` does where the file changed since it was opened.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError("folder-not-empty", f"{folder} is not empty", hint="name a new folder")
    with _content(bundle.path) as content:
        head, manifest = _read_head(bundle.path, content)
        if sha256_bytes(head) != bundle.release:
            raise _corrupt(bundle.path, "it is no longer the bundle that was opened")

        def keep(name: str, data: IO[bytes], executable: bool) -> None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                while block := data.read(CHUNK):
                    stream.write(block)
            target.chmod(0o755 if executable else 0o644)

        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_bytes(head)
        _check_members(bundle.path, content, manifest, keep)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest at the head of a bundle, fast: the other files are neither read nor checked."""
    try:
        with (
            path.open("rb") as raw,
            gzip.GzipFile(fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.size > MANIFEST_LIMIT:
                raise _corrupt(path, f"it does not begin with {MANIFEST}")
            stream = tar.extractfile(first)
            return parse_manifest(path, stream.read() if stream else b"")
    except FileNotFoundError:
        raise _missing(f"there is no bundle {path}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise _corrupt(path, str(error)) from None


def parse_manifest(path: Path, data: bytes) -> dict[str, Any]:
    """Return the manifest in `data`, its schema and what it says checked in form. `path` is for errors."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        raise _corrupt(path, f"{MANIFEST} is not JSON") from None
    schema = str(manifest.get("schema")) if isinstance(manifest, dict) else "None"
    name, _, number = schema.partition("/")
    if name != "edgeship.manifest" or not number.isdigit():
        raise _corrupt(path, f"{MANIFEST} has schema '{schema[:60]}', wanted edgeship.manifest/{FORMAT}")
    if int(number) > FORMAT:
        raise InputError(
            "bundle-too-new",
            f"{path.name} was made by a newer edgeship than this one",
            context={"file": path, "schema": schema, "understood": f"edgeship.manifest/{FORMAT}"},
            hint="update edgeship here, or build the bundle again with this edgeship",
        )
    if wrong := manifest_problem(manifest):
        raise _corrupt(path, f"{MANIFEST}: {wrong}")
    try:
        canonical = data == canonical_json(manifest)
    except (ValueError, RecursionError):  # NaN, half a surrogate pair
        canonical = False
    if not canonical:
        raise _corrupt(path, f"{MANIFEST} is not in canonical form")
    return cast(dict[str, Any], manifest)


def _check_members(
    path: Path,
    content: IO[bytes],
    manifest: dict[str, Any],
    keep: Callable[[str, IO[bytes], bool], None] | None = None,
) -> dict[str, bytes]:
    """Check each member against the manifest; hand it to `keep` once its digest has been found right.

    Returns the signatures and statements, which no manifest can name: nothing of them is checked but their size.
    """
    expected = _expected(path, manifest)
    seen: set[str] = set()
    signed: dict[str, bytes] = {}
    content.seek(0)
    with _corrupt_where_tar_fails(path), tarfile.open(fileobj=content, mode="r:") as tar:
        for member in tar:
            check_name(path, member.name)
            if not member.isreg() or member.issparse():
                raise _corrupt(path, f"'{member.name}' is not a plain file")
            if member.name in seen:
                raise _corrupt(path, f"'{member.name}' stands in it twice")
            seen.add(member.name)
            if member.name == MANIFEST:
                continue
            if (limit := envelope.limit(member.name)) is not None:
                if member.size > limit or len(signed) >= 2 * envelope.MOST:
                    raise _corrupt(path, f"'{member.name}' is too much: {member.size} bytes")
                part = tar.extractfile(member)
                signed[member.name] = part.read() if part else b""
                continue
            if member.name not in expected:
                raise _corrupt(path, f"'{member.name}' is not named in the manifest")
            size, digest, executable = expected[member.name]
            stream = tar.extractfile(member)
            if stream is None or member.size != size or _digest(stream) != digest:
                raise _corrupt(path, f"'{member.name}' is not what the manifest says (size or digest)")
            if keep:
                stream.seek(0)
                keep(member.name, stream, executable)
    if absent := sorted(set(expected) - seen):
        raise _corrupt(path, f"'{absent[0]}' is named in the manifest and missing")
    return signed


def _expected(path: Path, manifest: dict[str, Any]) -> dict[str, tuple[int, str, bool]]:
    files: dict[str, Any] = manifest["files"]
    if len(files) > FILES_LIMIT:
        raise _corrupt(path, f"the manifest names {len(files)} files, at most {FILES_LIMIT} are read")
    expected: dict[str, tuple[int, str, bool]] = {}
    for name, entry in files.items():
        check_name(path, name)
        try:
            size, digest, executable = entry["bytes"], entry["sha256"], entry["executable"]
            sound = (
                type(size) is int
                and size >= 0
                and type(executable) is bool
                and re.fullmatch("[0-9a-f]{64}", digest)
            )
        except (TypeError, KeyError):
            sound = False
        if not sound or name == MANIFEST or name.startswith(envelope.FOLDER):
            raise _corrupt(path, f"{MANIFEST}: the entry of '{name}' is not sound")
        expected[name] = (size, digest, executable)
    if sum(size for size, _, _ in expected.values()) > CONTENT_LIMIT:
        raise _corrupt(path, f"the manifest names more than {CONTENT_LIMIT >> 20} MiB")
    if len({name.casefold() for name in expected}) != len(expected):
        raise _corrupt(path, "two names differ in case only")
    return expected


def check_name(path: Path, name: str) -> None:
    """Raise InputError `bundle-corrupt` unless `name` is a plain relative path that stays inside its
    folder."""
    parts = name.split("/")
    if len(name) > NAME_LIMIT or any(part in {".", ".."} or not SAFE_NAME.match(part) for part in parts):
        raise _corrupt(path, f"unsafe name {name[:80]!r}")


def _check_canonical(path: Path, content: IO[bytes]) -> None:
    """Pack the content again and compare: one content, one archive."""
    content.seek(0)
    seen = _digest(content)
    files: dict[str, Path | bytes] = {}
    runnable: list[str] = []
    content.seek(0)
    with tarfile.open(fileobj=content, mode="r:") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            files[member.name] = stream.read() if stream else b""
            if member.mode & 0o111:
                runnable.append(member.name)
    sink = _Hashing()
    write_tar(cast(BinaryIO, sink), files, executable=runnable)
    if sink.digest.hexdigest() != seen:
        raise _corrupt(path, "its tar holds more, or other, than its files")


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


def _read_head(path: Path, content: IO[bytes]) -> tuple[bytes, dict[str, Any]]:
    content.seek(0)
    with _corrupt_where_tar_fails(path), tarfile.open(fileobj=content, mode="r:") as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > MANIFEST_LIMIT:
            raise _corrupt(path, f"it does not begin with {MANIFEST}")
        stream = tar.extractfile(first)
        head = stream.read() if stream else b""
    return head, parse_manifest(path, head)


def _opened(path: Path) -> BinaryIO:
    """Return the open file. Raises InputError `bundle-missing`, and IsADirectoryError."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise _missing(f"there is no bundle {path}") from None
    except OSError as error:
        if isinstance(error, IsADirectoryError):
            raise
        raise _missing(f"the bundle {path} cannot be read: {error.strerror}") from None


@contextmanager
def _content(path: Path) -> Iterator[IO[bytes]]:
    """Decompress the one gzip member of `path` into an unnamed file; nothing may follow it."""
    engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    with tempfile.TemporaryFile() as content:
        try:
            total = 0
            with _opened(path) as raw:
                while not engine.eof:
                    block = engine.unconsumed_tail or raw.read(CHUNK)
                    if not block:
                        raise _corrupt(path, "it ends too early: a broken download or copy")
                    total += content.write(engine.decompress(block, CHUNK))
                    if total > CONTENT_LIMIT:
                        raise _corrupt(path, f"it unpacks to more than {CONTENT_LIMIT >> 20} MiB")
                if engine.unused_data or raw.read(1):
                    raise _corrupt(path, "something follows the end of the archive")
        except (zlib.error, IsADirectoryError) as error:
            raise _corrupt(path, f"it is not a gzip file, or a damaged one: {error}") from None
        yield content


@contextmanager
def _corrupt_where_tar_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _corrupt(path, f"its tar is damaged: {error}") from None


def _bundle(
    path: Path, head: bytes, manifest: dict[str, Any], signatures: tuple[SignedStatement, ...] = ()
) -> Bundle:
    return Bundle(
        path=path,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        release=sha256_bytes(head),
        app=manifest["app"],
        target=manifest["target"],
        manifest=manifest,
        signatures=signatures,
    )


def _missing(message: str) -> InputError:
    return InputError("bundle-missing", message, hint="edgeship build MODEL --target T -o DIR")


def _corrupt(path: Path, why: str) -> InputError:
    return InputError(
        "bundle-corrupt",
        f"{path.name} is not a sound bundle: {why}",
        context={"file": path},
        hint="copy it again from where it was built, or build anew: edgeship build MODEL --target T -o DIR",
    )
