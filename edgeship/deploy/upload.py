"""What a bundle holds as blobs for the device's store, and the plan that brings what is missing of them."""

from __future__ import annotations

import hashlib
import mmap
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any

from edgeship.deploy.chunks import Base, Op, behind, ops_for, read_base, sent_bytes
from edgeship.deploy.pack import frames
from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.values import Bundle

MANIFEST = "manifest.json"
PIECE = 1 << 20
ANSWER_SECONDS = 120.0
NAME_CHARACTERS = 16
"""The beginning of a SHA-256 by which blobs are asked for; what is assembled is checked against all of it."""


def contents(bundle: Bundle) -> dict[str, str]:
    """Return archive name -> SHA-256 of every file, the manifest first: its digest is the release."""
    files = bundle.manifest["files"]
    return {MANIFEST: bundle.release, **{name: files[name]["sha256"] for name in sorted(files)}}


def wanted_blobs(bundle: Bundle) -> list[str]:
    """Return the SHA-256 of every blob of a bundle, each once, in the order in which `have` is asked for them.

    Files of one kind stand together: they deflate better side by side.
    """
    named = contents(bundle)
    return list(
        dict.fromkeys(named[name] for name in sorted(named, key=lambda n: (PurePosixPath(n).suffix, n)))
    )


def have_fields(bundle: Bundle, *, whole: bool = False) -> dict[str, Any]:
    """Return what `have` is asked with. `whole`: build on nothing that the device has."""
    return {"blobs": [digest[:NAME_CHARACTERS] for digest in wanted_blobs(bundle)], "whole": whole}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One content of the bundle that the device lacks, and how it is made from `offset` on."""

    sha256: str
    bytes: int
    offset: int
    ops: tuple[Op, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what the helper's `put` reads."""
        fields: dict[str, Any] = {"sha256": self.sha256, "bytes": self.bytes, "offset": self.offset}
        if any(op.base is not None for op in self.ops):
            fields["ops"] = [op.as_json() for op in self.ops]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What one `put` carries."""

    blobs: tuple[Blob, ...]
    bases: tuple[str, ...]
    spool: Spool

    @property
    def total(self) -> int:
        """Return how many bytes of content travel, before they are deflated."""
        return sum(sent_bytes(blob.ops) for blob in self.blobs)

    def fields(self) -> dict[str, Any]:
        """Return the request's fields."""
        return {"blobs": [blob.as_json() for blob in self.blobs], "bases": list(self.bases)}

    def stream(
        self, *, deflate: bool = False, progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[bytes | memoryview]:
        """Yield what follows the request; `progress` hears how many of `total` left."""
        yield from frames(self._content(), self.total, deflate=deflate, progress=progress)

    def _content(self) -> Iterator[memoryview]:
        for blob in self.blobs:
            at, view = blob.offset, self.spool.view(blob.sha256)
            for op in blob.ops:
                if op.base is None:
                    yield view[at : at + op.length]
                at += op.length


class Spool:
    """The blobs of a bundle that one device lacks, unpacked into one temporary file: read once, sent from any place.

    The file has no name and goes with the process. Its size is that of the missing blobs.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._file = tempfile.TemporaryFile(prefix="edgeship-")  # noqa: SIM115 - closed by __exit__
        self._where: dict[str, tuple[int, int]] = {}
        self._map: mmap.mmap | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # the map goes when the last view of it does

    def view(self, digest: str) -> memoryview:
        """Return a blob's content."""
        begin, size = self._where[digest]
        if not size or self._map is None:
            return memoryview(b"")
        return memoryview(self._map)[begin : begin + size]

    def plan(self, reply: dict[str, Any]) -> Sending:
        """Return what to send, given the helper's answer to `have`.

        A part on the device counts only where its SHA-256 is that of the same many bytes here.
        """
        digests = wanted_blobs(self.bundle)
        missing = {digests[entry["blob"]]: entry for entry in reply["missing"]}
        self._unpack(missing.keys() - self._where.keys())
        bases = [read_base(offer) for offer in reply.get("bases", ())]
        blobs = tuple(
            Blob(sha256=digest, bytes=len(self.view(digest)), offset=offset, ops=tuple(behind(ops, offset)))
            for digest, entry in missing.items()
            for offset in (self._offset(digest, entry),)
            for ops in (ops_for(self.view(digest), bases),)
        )
        return _with_used_bases(blobs, bases, self)

    def _offset(self, digest: str, entry: dict[str, Any]) -> int:
        """Return how many bytes of a blob are on the device already, and right."""
        view, offset = self.view(digest), int(entry.get("offset", 0))
        if 0 < offset <= len(view) and hashlib.sha256(view[:offset]).hexdigest() == entry["prefix_sha256"]:
            return offset
        return 0

    def _unpack(self, digests: set[str]) -> None:
        """Bring these blobs out of the archive."""
        if not digests:
            return
        left = set(digests)
        for digest, stream in _members(self.bundle):
            if digest not in left:
                continue
            begin = self._file.seek(0, 2)
            while piece := stream.read(PIECE):
                self._file.write(piece)
            self._where[digest] = (begin, self._file.tell() - begin)
            left.discard(digest)
            if not left:
                break
        if left:
            raise InputError(
                "bundle-unreadable",
                f"{self.bundle.path} no longer holds every file of its manifest",
                context={"file": self.bundle.path},
                hint=f"edgeship inspect {self.bundle.path}",
            )
        self._file.flush()
        if self._file.tell():
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)


def send_missing(
    ask: Callable[..., dict[str, Any]], spool: Spool, progress: Progress, deflate: bool, whole: bool
) -> int:
    """Ask the helper what is missing, send it, and return how many bytes of content that was.

    `whole`: build on nothing that the device has.
    """
    reply = ask("have", timeout=ANSWER_SECONDS, **have_fields(spool.bundle, whole=whole))
    if not reply["missing"]:
        return 0
    sending = spool.plan(reply)
    total = sending.total

    def content() -> Iterator[bytes | memoryview]:
        return sending.stream(deflate=deflate, progress=lambda count: progress.advance(count, total, "bytes"))

    done = ask("put", payload=content, timeout=ANSWER_SECONDS, **sending.fields())
    return int(done["bytes"])


def _with_used_bases(blobs: tuple[Blob, ...], bases: list[Base], spool: Spool) -> Sending:
    """Return what is sent, with only those bases that something is taken from."""
    used = sorted({op.base for blob in blobs for op in blob.ops if op.base is not None})
    number = {base: index for index, base in enumerate(used)}
    renumbered = tuple(
        replace(
            blob,
            ops=tuple(op if op.base is None else replace(op, base=number[op.base]) for op in blob.ops),
        )
        for blob in blobs
    )
    return Sending(blobs=renumbered, bases=tuple(bases[base].name for base in used), spool=spool)


def _members(bundle: Bundle) -> Iterator[tuple[str, Any]]:
    """Yield (SHA-256, content) of each file."""
    digests = contents(bundle)
    try:
        with tarfile.open(bundle.path, mode="r|gz", bufsize=PIECE) as archive:
            for member in archive:
                if (digest := digests.get(member.name)) is not None:
                    yield digest, archive.extractfile(member)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InputError(
            "bundle-unreadable",
            f"{bundle.path} changed or went away while it was being sent: {error}",
            context={"file": bundle.path},
            hint=f"edgeship inspect {bundle.path}",
        ) from error
