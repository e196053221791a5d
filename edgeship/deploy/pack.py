"""The bytes that travel behind a request: frames, deflated where that is quicker than sending them as they are."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

PIECE = 1 << 20
FRAME = struct.Struct(">I")
DEFLATED = 1 << 31
THOROUGH_BYTES = 256 * 1024
"""Up to that many bytes in all, the best ratio costs less than one round trip."""
SAMPLE = 4096
HARDLY = 0.95
"""A sample that deflates to more than this is sent as it is."""


@dataclass
class Link:
    """How fast bytes leave: what the first packets in flight hide, is not counted."""

    in_flight: int = 2 << 20
    """Bytes that OpenSSH's window takes without waiting for the other side."""
    assumed: float = 1.25e6
    """Bytes a second until it is known better: where it is slower, deflating pays all the more."""
    sent: int = 0
    waited: float = 0.0

    def heard(self, count: int, seconds: float) -> None:
        """Note that `count` bytes kept us waiting for so long."""
        self.sent += count
        self.waited += seconds

    def rate(self) -> float:
        """Return bytes a second."""
        seen = self.sent - self.in_flight
        return seen / max(self.waited, 1e-6) if seen > 0 else self.assumed


@dataclass
class Deflater:
    """One deflate stream over all frames that are deflated, and what it costs and gains.

    Small uploads are of many kinds of content: with less memory deflate fits its code to them more often, 3% fewer
    bytes for a model with its golden vectors.
    """

    thorough: bool
    clock: Callable[[], float]
    taken: int = 0
    made: int = 0
    seconds: float = 0.0
    fastest: float = 0.0
    """Bytes a second of the quickest sample: level 1, which the stream's level does not outrun."""
    stream: zlib._Compress = field(init=False)

    def __post_init__(self) -> None:
        self.stream = zlib.compressobj(9, memLevel=6) if self.thorough else zlib.compressobj(6)

    def pays(self, piece: memoryview, rate: float) -> bool:
        """Return whether deflating and sending takes less time than sending."""
        if 0 < self.fastest < rate:
            return False
        if self._sampled(piece) > HARDLY:
            return False
        if not self.taken:
            return True
        ratio, speed = self.made / self.taken, self.taken / max(self.seconds, 1e-6)
        return 1 / speed + ratio / rate < 1 / rate

    def _sampled(self, piece: memoryview) -> float:
        """Return to what part of their size three samples of a large piece deflate; 0 for a small one: just try."""
        if len(piece) < 16 * SAMPLE:
            return 0.0
        places = (0, len(piece) // 2, len(piece) - SAMPLE)
        sample = b"".join(piece[at : at + SAMPLE] for at in places)
        begun = self.clock()
        made = len(zlib.compress(sample, 1))
        if (took := self.clock() - begun) > 0:
            self.fastest = max(self.fastest, len(sample) / took)
        return made / len(sample)

    def deflate(self, piece: memoryview) -> bytes:
        """Return the piece deflated, whole in itself for who has what came before."""
        begun = self.clock()
        data = self.stream.compress(piece) + self.stream.flush(zlib.Z_SYNC_FLUSH)
        self.seconds += self.clock() - begun
        self.taken += len(piece)
        self.made += len(data)
        return data


def frames(
    content: Iterable[memoryview],
    total: int,
    *,
    deflate: bool,
    progress: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[bytes | memoryview]:
    """Yield what the helper's `put` reads, out of `total` bytes of content; `progress` hears how many of them left."""
    link = Link()
    deflater = Deflater(thorough=total <= THOROUGH_BYTES, clock=clock)
    done = 0
    for piece in _pieces(content):
        packed = b""
        if deflate and deflater.pays(piece, link.rate()):
            packed = deflater.deflate(piece)
        begun = clock()
        if packed:
            yield FRAME.pack(len(packed) | DEFLATED) + packed
        else:
            yield FRAME.pack(len(piece))
            yield piece
        link.heard(len(packed or piece), clock() - begun)
        done += len(piece)
        progress(done)


def _pieces(content: Iterable[memoryview]) -> Iterator[memoryview]:
    """Yield the content in pieces of up to PIECE bytes, small ones put together."""
    held = bytearray()
    for stretch in content:
        for at in range(0, len(stretch), PIECE):
            part = stretch[at : at + PIECE]
            if held and len(held) + len(part) > PIECE:
                yield memoryview(bytes(held))
                held.clear()
            if len(part) == PIECE:
                yield part
            else:
                held += part
    if held:
        yield memoryview(bytes(held))
