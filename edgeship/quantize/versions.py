"""Which operators a runtime has, and which version of an operator the types of its tensors ask for.

The facts are in `operators.json`. ai-edge-quantizer leaves the float file's operator versions as they were,
so a quantized file says less than it needs: the needed version is worked out here, written into the file when
it is derived, and compared with the target's runtime afterwards.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

UNKNOWN = "unknown"


@functools.cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name("operators.json").read_text())
    return facts


def release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version for comparison: 2.5.0.post1 -> (2, 5, 0)."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def equivalent_release(engine: str, version: str) -> str:
    """Return the TensorFlow release whose operators an engine has at least: '2.5.0.post1' -> '2.5.0'.

    tflite_runtime carries TensorFlow's own number. LiteRT counts for itself: the table knows its major
    releases and minor ones that have more, and a LiteRT that is not in it counts as `unknown`.
    """
    if engine == "tflite_runtime":
        return ".".join(map(str, release(version)))
    known: dict[str, str] = _facts()["equivalent"].get(engine, {})
    numbers = [str(n) for n in release(version)]
    beginnings = (".".join(numbers[:count]) for count in range(len(numbers), 0, -1))
    return next((known[b] for b in beginnings if b in known), UNKNOWN)


def per_channel_dense(kind: Literal["static", "dynamic", "weights", "float"], available: str) -> bool:
    """Return whether FULLY_CONNECTED may have one scale per channel under a runtime of that TensorFlow
    release.

    An older runtime takes such a file without a word and computes with one of the scales: measured 9.5 %
    top-1 in place of 93.5 % for a dynamic KWS model under tflite_runtime 2.14. Weights that are expanded to
    float first are safe everywhere.
    """
    since: str | None = _facts()["per_channel_dense"].get(kind)
    if since is None:
        return True
    return available != UNKNOWN and release(available) >= release(since)


def needed_version(
    op: str, inputs: Sequence[str | None], outputs: Sequence[str | None], *, per_channel: bool = False
) -> int:
    """Return the operator version that these tensor types ask for; 1 where the types ask for nothing special.

    `inputs` and `outputs` are dtypes by position (None: left out); `per_channel` says whether a constant
    input has one scale per channel. Versions asked for by options (dilation, half-pixel centres) stand in the
    float file.
    """
    for rule in _facts()["needs"].get(op, ()):
        pattern, _, version = rule.partition("=")
        before, _, after = pattern.partition(">")
        wanted = before.split(",")
        channels = any(w.endswith("*") for w in wanted)
        if channels and not per_channel:
            continue
        if _fits([w.rstrip("*") for w in wanted], inputs) and (not after or _fits(after.split(","), outputs)):
            return int(version)
    return 1


def _fits(wanted: Sequence[str], types: Sequence[str | None]) -> bool:
    if wanted == [""]:
        return True
    return len(types) >= len(wanted) and all(w in ("?", t) for w, t in zip(wanted, types, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whether a runtime has an operator in a version. `verdict` unknown: nothing is recorded about it."""

    verdict: Literal["yes", "no", "unknown"]
    since: str | None
    """TensorFlow release that first has it."""


def supports(available: str, op: str, version: int) -> Support:
    """Return whether a runtime with the operators of TensorFlow `available` has `op` in `version`."""
    known: list[str | None] | None = _facts()["since"].get(op)
    if known is None:
        return Support(verdict="unknown", since=None)
    since = next((s for s in known[version - 1 :] if s), None) if version <= len(known) else None
    if available == UNKNOWN or since is None:
        return Support(verdict="unknown", since=since)
    return Support(verdict="yes" if release(available) >= release(since) else "no", since=since)


def oldest_release(operators: Sequence[tuple[str, int]]) -> str | None:
    """Return the TensorFlow release that first has all of these (operator, version) pairs, or None if one is
    unknown.
    """
    found = [supports(UNKNOWN, op, version).since for op, version in operators]
    known = [s for s in found if s]
    if not known or len(known) != len(found):
        return None
    newest = max(known, key=release)
    return newest if re.fullmatch(r"\d+\.\d+\.\d+", newest) else f"{newest}.0"
