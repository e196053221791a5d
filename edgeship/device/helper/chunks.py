"""Content-defined chunks of files that are here already, and the packed stream that brings what is missing."""

import hashlib
import mmap
import os
import re
import select
import struct
import zlib

from .base import Refusal
from .files import BLOCK

IDLE_SECONDS = 60
READ_BYTES = 1 << 16
CHUNK_DIGEST_BYTES = 4
FRAME = struct.Struct(">I")
DEFLATED = 1 << 31
# (largest file in bytes, members of each byte's set, fewest and most bytes of a chunk); see ADR 0011
STEPS = (
    (1 << 14, (32, 32), 64, 1 << 10),
    (1 << 17, (16, 16), 128, 1 << 11),
    (1 << 20, (16, 16, 64), 512, 1 << 13),
    (1 << 24, (16, 16, 16), 1 << 11, 1 << 15),
    (1 << 28, (16, 16, 16, 32), 1 << 14, 1 << 18),
    (1 << 62, (16, 16, 16, 4), 1 << 17, 1 << 21),
)
SPREAD = ((157, 11), (99, 101), (179, 57), (109, 203))


def step_of(size):
    """Return how finely a file of that size is cut: an index of STEPS."""
    return next(index for index, step in enumerate(STEPS) if size <= step[0])


def cut_pattern(step):
    """Return the pattern whose matches end chunks: bytes from small sets that are spread over all values."""
    text = b""
    for members, (factor, shift) in zip(STEPS[step][1], SPREAD):  # noqa: B905 - `strict` is not in Python 3.7
        chosen = [value for value in range(256) if (value * factor + shift) % 256 < members]
        text += b"[" + b"".join(b"\\x%02x" % value for value in chosen) + b"]"
    return re.compile(text)


def cut(data, step):
    """Return where the chunks of `data` begin, and its length at the end.

    A chunk ends behind the first match of the step's pattern past the fewest bytes, or at the most bytes. What
    ends it depends on the bytes before that end only, so that chunks behind a change are found again. The search is
    the regular expression engine's: a loop over bytes in Python would take a slow device minutes.
    """
    least, most = STEPS[step][2:]
    search, width, size = cut_pattern(step).search, len(STEPS[step][1]), len(data)
    places, begin = [0], 0
    while size - begin > least:
        limit = min(size, begin + most)
        found = search(data, begin + least - width, limit)
        begin = found.end() if found else limit
        places.append(begin)
    if begin < size:
        places.append(size)
    return places


def chunk_digests(data, places):
    """Return the shortened SHA-256 of each chunk, one after the other."""
    with memoryview(data) as view:
        return b"".join(
            hashlib.sha256(view[places[i] : places[i + 1]]).digest()[:CHUNK_DIGEST_BYTES]
            for i in range(len(places) - 1)
        )


class Base(object):
    """A file that is here already, cut into chunks."""

    def __init__(self, path):
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self.step = step_of(size)
        self.places = cut(self.data, self.step)

    def offer(self):
        """Return what the controller needs to find these chunks in a new file."""
        return {"step": self.step, "chunks": chunk_digests(self.data, self.places).hex()}

    def pieces(self, first, skip, length):
        """Yield `length` bytes from `skip` bytes behind the beginning of chunk `first`; refuses what is not there."""
        begin = self.places[first] + skip if first < len(self.places) else len(self.data)
        if begin + length > len(self.data):
            raise Refusal("base-changed", "a file that the upload builds on is not what it was")
        for at in range(begin, begin + length, BLOCK):
            yield self.data[at : min(at + BLOCK, begin + length)]


class Packed(object):
    """The bytes behind a request: frames, each with its kind and length in front, as they are or deflated."""

    def __init__(self, stream):
        self.descriptor = stream.fileno()
        self.buffer = b""
        self.left = 0
        self.deflated = False
        self.inflater = zlib.decompressobj()
        self.held = b""
        self.pending = False

    def receive(self, wanted):
        """Return up to `wanted` bytes of the upload; b"" at its end or where nothing came for IDLE_SECONDS."""
        if not self.buffer:
            if not select.select([self.descriptor], [], [], IDLE_SECONDS)[0]:
                return b""
            self.buffer = os.read(self.descriptor, READ_BYTES)
        data, self.buffer = self.buffer[:wanted], self.buffer[wanted:]
        return data

    def open_frame(self):
        """Read the head of the next frame; return whether there is one."""
        head = b""
        while len(head) < FRAME.size:
            data = self.receive(FRAME.size - len(head))
            if not data:
                return False
            head += data
        (number,) = FRAME.unpack(head)
        self.deflated, self.left = bool(number & DEFLATED), number & ~DEFLATED
        if not self.left:
            raise Refusal("bad-request", "an empty frame in the upload")
        return True

    def some(self, wanted):
        """Return 1 to `wanted` bytes of content; b"" where the upload ended."""
        while True:
            if self.pending:
                data = self.inflate(self.held, wanted)
            elif self.left or self.open_frame():
                data = self.receive(self.left if self.deflated else min(self.left, wanted))
                if not data:
                    return b""
                self.left -= len(data)
                data = self.inflate(data, wanted) if self.deflated else data
            else:
                return b""
            if data:
                return data

    def inflate(self, data, wanted):
        """Return up to `wanted` bytes of what deflated bytes grow to; the rest waits for the next call."""
        try:
            found = self.inflater.decompress(data, wanted)
        except zlib.error as error:
            raise Refusal("bad-request", "a frame of the upload is damaged: %s" % error) from None
        self.held = self.inflater.unconsumed_tail
        self.pending = bool(self.held) or len(found) == wanted
        if self.inflater.eof and not found:
            raise Refusal("bad-request", "the packed bytes of the upload end before the upload does")
        return found
