"""What of a file the device can take from files it has: content-defined chunks, cut here as they are cut there.

The rules stand twice, here and in edgeship/device/helper/chunks.py: the helper is an island. A test holds both against
each other. Why these rules: docs/adr/0011-transfer.md.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

DIGEST_BYTES = 4
STEPS = (
    ((32, 32), 64, 1 << 10),
    ((16, 16), 128, 1 << 11),
    ((16, 16, 64), 512, 1 << 13),
    ((16, 16, 16), 1 << 11, 1 << 15),
    ((16, 16, 16, 32), 1 << 14, 1 << 18),
    ((16, 16, 16, 4), 1 << 17, 1 << 21),
)
SPREAD = ((157, 11), (99, 101), (179, 57), (109, 203))
Data = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A file that the device has and offers to build on."""

    name: str
    """The beginning of its SHA-256."""
    step: int
    """How finely it is cut: an index of STEPS."""
    digests: tuple[bytes, ...]
    """The beginnings of its chunks' SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One stretch of a new file: `length` bytes that are sent, or that lie in a base from `skip` bytes behind the
    beginning of its chunk `first`."""

    length: int
    base: int | None = None
    first: int = 0
    skip: int = 0

    def as_json(self) -> Any:
        """Return what the helper's `put` reads."""
        return self.length if self.base is None else [self.base, self.first, self.skip, self.length]


def read_base(offer: dict[str, Any]) -> Base:
    """Return a base as the helper's `have` describes it."""
    raw = bytes.fromhex(offer["chunks"])
    digests = tuple(raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES))
    return Base(name=str(offer["blob"]), step=int(offer["step"]), digests=digests)


@functools.cache
def cut_pattern(step: int) -> re.Pattern[bytes]:
    """Return the pattern whose matches end chunks."""
    text = b""
    for members, (factor, shift) in zip(STEPS[step][0], SPREAD, strict=False):
        chosen = [value for value in range(256) if (value * factor + shift) % 256 < members]
        text += b"[" + b"".join(b"\\x%02x" % value for value in chosen) + b"]"
    return re.compile(text)


def cut(data: Data, step: int) -> list[int]:
    """Return where the chunks of `data` begin, and its length at the end."""
    sets, least, most = STEPS[step]
    search, size = cut_pattern(step).search, len(data)
    places, begin = [0], 0
    while size - begin > least:
        limit = min(size, begin + most)
        found = search(data, begin + least - len(sets), limit)
        begin = found.end() if found else limit
        places.append(begin)
    if begin < size:
        places.append(size)
    return places


def ops_for(data: Data, bases: Sequence[Base]) -> list[Op]:
    """Return how to make `data` out of what the device has, with as few sent bytes as one way of cutting gives."""
    plans = [_ops_at(data, step, bases) for step in sorted({base.step for base in bases})]
    whole = [Op(length=len(data))] if len(data) else []
    return min([*plans, whole], key=sent_bytes)


def sent_bytes(ops: Sequence[Op]) -> int:
    """Return how many bytes of a file have to be sent."""
    return sum(op.length for op in ops if op.base is None)


def behind(ops: Sequence[Op], offset: int) -> list[Op]:
    """Return what is left to do where the first `offset` bytes are made already."""
    left = []
    for op in ops:
        done = min(offset, op.length)
        offset -= done
        if done < op.length:
            skip = op.skip + done if op.base is not None else 0
            left.append(Op(length=op.length - done, base=op.base, first=op.first, skip=skip))
    return left


def _ops_at(data: Data, step: int, bases: Sequence[Base]) -> list[Op]:
    """Return the plan where `data` is cut as the bases of one step are."""
    known: dict[bytes, tuple[int, int]] = {}
    for number, base in enumerate(bases):
        if base.step == step:
            for index, digest in enumerate(base.digests):
                known.setdefault(digest, (number, index))
    ops: list[Op] = []
    after: tuple[int, int] | None = None  # where in a base the bytes would go on
    for begin, end in pairwise(cut(data, step)):
        digest = hashlib.sha256(data[begin:end]).digest()[:DIGEST_BYTES]
        goes_on = after is not None and bases[after[0]].digests[after[1] : after[1] + 1] == (digest,)
        found = after if goes_on else known.get(digest)
        if ops and (goes_on or (found is None and ops[-1].base is None)):
            last = ops.pop()
            ops.append(Op(length=last.length + end - begin, base=last.base, first=last.first))
        elif found is None:
            ops.append(Op(length=end - begin))
        else:
            ops.append(Op(length=end - begin, base=found[0], first=found[1]))
        after = (found[0], found[1] + 1) if found else None
    return ops
