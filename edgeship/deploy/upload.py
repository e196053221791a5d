"""What a bundle holds as blobs for the device's store, and the plan that brings what is missing of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgeship.deploy.chunks import Base, Op, behind, ops_for, read_base, sent_bytes
from edgeship.deploy.pack import frames
from edgeship.deploy.spool import Spool, wanted_blobs
from edgeship.errors import DeviceError
from edgeship.progress import Progress
from edgeship.values import Bundle

ANSWER_SECONDS = 120.0
NAME_CHARACTERS = 16
"""The beginning of a SHA-256 by which blobs are asked for; what is assembled is checked against all of it."""


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
            at = blob.offset
            for op in blob.ops:
                if op.base is None:
                    yield from self.spool.pieces(blob.sha256, at, op.length)
                at += op.length


def sending_for(spool: Spool, reply: dict[str, Any]) -> Sending:
    """Return what to send, given the helper's answer to `have`.

    A part on the device counts only where its SHA-256 is that of the same many bytes here.
    """
    digests = wanted_blobs(spool.bundle)
    if any(entry["blob"] >= len(digests) for entry in reply["missing"]):
        raise DeviceError(
            "bad-answer",
            "the device answered nonsense: it lacks files that it was not asked for",
            hint="run the same command again",
        )
    missing = {digests[entry["blob"]]: entry for entry in reply["missing"]}
    spool.unpack(missing)
    bases = [read_base(offer) for offer in reply.get("bases", ())]
    blobs = []
    for digest, entry in missing.items():
        size, offset = spool.size(digest), _offset(spool, digest, entry)
        # without a base nothing is to be found in the content, and sending need not wait for all of it
        ops = ops_for(spool.view(digest), bases) if bases else [Op(length=size)] if size else []
        blobs.append(Blob(sha256=digest, bytes=size, offset=offset, ops=tuple(behind(ops, offset))))
    return _with_used_bases(tuple(blobs), bases, spool)


def _offset(spool: Spool, digest: str, entry: dict[str, Any]) -> int:
    """Return how many bytes of a blob are on the device already, and right."""
    offset, here = int(entry.get("offset", 0)), hashlib.sha256()
    if not 0 < offset <= spool.size(digest):
        return 0
    for piece in spool.pieces(digest, 0, offset):
        here.update(piece)
    return offset if here.hexdigest() == entry.get("prefix_sha256") else 0


def send_missing(
    ask: Callable[..., dict[str, Any]],
    spool: Spool,
    progress: Progress,
    deflate: bool,
    whole: bool,
    missing: Callable[[int], None] = lambda _: None,
) -> int:
    """Ask the helper what is missing, send it, and return how many bytes of content that was.

    `whole`: build on nothing that the device has. `missing` hears how many bytes it lacks, before they are sent.
    """
    spool.begin()
    reply = ask("have", timeout=ANSWER_SECONDS, **have_fields(spool.bundle, whole=whole))
    if not reply["missing"]:
        return 0
    sending = sending_for(spool, reply)
    total = sending.total
    missing(total)

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
