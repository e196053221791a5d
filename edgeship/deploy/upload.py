"""What a bundle holds as blobs for the device's store, streamed from the archive without unpacking it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeship.errors import InputError
from edgeship.values import Bundle

MANIFEST = "manifest.json"
PIECE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One content of the bundle that the device lacks, from `offset` on."""

    sha256: str
    bytes: int
    offset: int

    def as_json(self) -> dict[str, Any]:
        """Return what the helper's `put` reads."""
        return {"sha256": self.sha256, "bytes": self.bytes, "offset": self.offset}


def contents(bundle: Bundle) -> dict[str, str]:
    """Return archive name -> SHA-256 of every file, the manifest first: its digest is the release."""
    files = bundle.manifest["files"]
    return {MANIFEST: bundle.release, **{name: files[name]["sha256"] for name in sorted(files)}}


def missing_blobs(bundle: Bundle, missing: Sequence[dict[str, Any]]) -> tuple[Blob, ...]:
    """Return what to send, in the archive's order, given what the device said it has.

    A part on the device counts only where its SHA-256 is that of the same many bytes here.
    """
    wanted = {entry["sha256"]: entry for entry in missing}
    blobs = []
    for digest, member, stream in _members(bundle):
        entry = wanted.pop(digest, None)
        if entry is None:
            continue
        offset = int(entry["offset"])
        if offset and (offset > member.size or _prefix_sha256(stream, offset) != entry["prefix_sha256"]):
            offset = 0
        blobs.append(Blob(sha256=digest, bytes=member.size, offset=offset))
        if not wanted:
            break
    return tuple(blobs)


def stream_blobs(bundle: Bundle, blobs: Sequence[Blob]) -> Iterator[bytes]:
    """Yield the bytes of `blobs`, each from its offset, in the order given (the archive's)."""
    left = {blob.sha256: blob for blob in blobs}
    for digest, _, stream in _members(bundle):
        blob = left.pop(digest, None)
        if blob is None:
            continue
        _skip(stream, blob.offset)
        while piece := stream.read(PIECE):
            yield piece
        if not left:
            return


def _members(bundle: Bundle) -> Iterator[tuple[str, tarfile.TarInfo, Any]]:
    """Yield (SHA-256, header, content) of each file, each content once."""
    digests = contents(bundle)
    seen: set[str] = set()
    try:
        with tarfile.open(bundle.path, mode="r|gz") as archive:
            for member in archive:
                digest = digests.get(member.name)
                if digest is not None and digest not in seen:
                    seen.add(digest)
                    yield digest, member, archive.extractfile(member)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InputError(
            "bundle-unreadable",
            f"{bundle.path} changed or went away while it was being sent: {error}",
            context={"file": bundle.path},
            hint=f"edgeship inspect {bundle.path}",
        ) from error


def _prefix_sha256(stream: Any, size: int) -> str:
    """Return the SHA-256 of the first `size` bytes."""
    digest = hashlib.sha256()
    while size and (piece := stream.read(min(PIECE, size))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _skip(stream: Any, size: int) -> None:
    """Read past the first `size` bytes."""
    while size and (piece := stream.read(min(PIECE, size))):
        size -= len(piece)
