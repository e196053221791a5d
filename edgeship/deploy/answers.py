"""What the helper answers to each question, in form: what is not that is told as nonsense, and never read.

Only what is read here is named; a device may say more.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from edgeship.deploy.chunks import STEPS
from edgeship.shape import (
    ANY,
    BOOL,
    COUNT,
    NULL,
    NUMBER,
    TEXT,
    WHOLE,
    Either,
    Kind,
    Many,
    Named,
    Plain,
    Record,
    maybe,
    problem,
    text,
)

ANSWER_BYTES = 16 << 20
"""The longest answer, unpacked. The longest real one, the history of a thousand deployments, has 2 MB."""
LOG_BYTES = 64 << 20
"""The longest answer that holds a log: 100,000 lines of 600 bytes."""
PACKED = b"x"
"""How deflated data begins, and JSON does not."""

TEXTS = Many(of=TEXT)
RECORD = Record(
    fields={"state": TEXT, "to": maybe(TEXT), "tx": maybe(TEXT)},
    maybe={
        **dict.fromkeys(("from", "previous", "reason", "result", "boot"), maybe(TEXT)),
        "bake": maybe(Record(maybe={"back": maybe(TEXT)})),
    },
)
SEEN = Record(
    fields={
        "manager": TEXT,
        "running": BOOL,
        "pid": maybe(COUNT),
        "restarts": maybe(COUNT),
        "release": maybe(TEXT),
        "url": maybe(TEXT),
        "last_exit": Either(of=(NULL, TEXT, WHOLE)),
    }
)
SERVING = Record(fields={**SEEN.fields, "pid": COUNT, "restarts": COUNT, "release": TEXT, "url": TEXT})
KEPT = Record(
    fields={
        "release": TEXT,
        **dict.fromkeys(("version", "target", "chosen", "listen", "manager"), maybe(TEXT)),
    },
    maybe={"variants": TEXTS},
)
STATUS = Record(
    fields={
        "record": RECORD,
        "seconds_left": NUMBER,
        "bake_left": NUMBER,
        "pins": TEXTS,
        "boot": TEXT,
        "serving": maybe(SEEN),
        "writable": BOOL,
        "current": maybe(TEXT),
        "releases": Many(of=KEPT),
    },
    maybe={"governor": Named(of=ANY), "own": Named(of=ANY)},
)
FIGURE = Either(of=(NULL, Record(fields={"unavailable": TEXT}), NUMBER))
ENGINE = Record(
    maybe={
        "name": TEXT,
        "version": TEXT,
        "delegate": TEXT,
        "detail": maybe(TEXT),
        "delegated": Either(of=(BOOL, NULL, TEXT)),
    }
)
LATENCY = Record(maybe={"cold": FIGURE, "p50": FIGURE, "p95": FIGURE, "unavailable": TEXT})
RUNG = Record(
    fields={**dict.fromkeys(("cold_seconds", "seconds", "p95_seconds"), NUMBER), "threads": COUNT},
    maybe={"memory_bytes": maybe(COUNT), "joules": maybe(NUMBER), "by_threads": Named(of=NUMBER)},
)
LADDER = Either(
    of=(
        Record(
            fields={"rungs": Named(of=RUNG), "left_out": Many(of=TEXTS)}, maybe={"within": Many(of=TEXTS)}
        ),
        Record(fields={"unavailable": TEXT}),
    )
)
PROOF = Record(
    maybe={
        "vectors": COUNT,
        "failed": maybe(COUNT),
        "worst": maybe(Record(maybe={"text": maybe(TEXT)})),
        "engine": maybe(ENGINE),
        "latency_ms": maybe(LATENCY),
        "reason": maybe(TEXT),
        "ladder": LADDER,
        "also": Many(of=Record(fields={"variant": TEXT}, maybe={"vectors": COUNT, "failed": maybe(COUNT)})),
    }
)
HELD = Record(fields={"vectors": COUNT}, maybe=PROOF.maybe)
"""A proof that nothing was wrong with."""
ENERGY = Record(
    fields={
        "by": TEXT,
        "covers": TEXT,
        "joules_per_run": FIGURE,
        "watts": FIGURE,
        "cpu_seconds_per_run": NUMBER,
    },
    maybe={
        "meter": Either(of=(TEXT, Record(fields={"unavailable": TEXT}))),
        "idle": Record(maybe={"watts": FIGURE, "unavailable": TEXT}),
    },
)
LINE = Record(
    fields={"at": NUMBER, "runs": COUNT, "flags": TEXTS},
    maybe=dict.fromkeys(
        ("p50_ms", "p99_ms", "temperature_c", "frequency_hz", "throttled_seconds", "watts"), maybe(NUMBER)
    ),
)
SOAK = Record(
    fields={"ended": TEXT, "minutes": Many(of=LINE), "watts_by": TEXT},
    maybe={
        "worst_p99_ms": maybe(NUMBER),
        "throttled_seconds": maybe(NUMBER),
        "temperature_c": maybe(Record(fields=dict.fromkeys(("first", "highest", "last"), NUMBER))),
    },
)
TIMES = Record(fields=dict.fromkeys(("cold", "p50", "p95"), NUMBER))
BENCH = Either(
    of=(
        Record(fields={"error": TEXT}, maybe={"reason": TEXT}),
        Record(
            fields={
                "latency_ms": TIMES,
                "engine": Record(fields={"name": TEXT, "version": TEXT, "delegate": TEXT}),
                "variant": TEXT,
                "runs": COUNT,
                "seconds": NUMBER,
                "threads": maybe(COUNT),
                "peak_rss_mb": FIGURE,
                "governor": Either(of=(TEXT, Record(fields={"unavailable": TEXT}))),
            },
            maybe={"energy": ENERGY, "rungs": Named(of=RUNG), "failed": Named(of=TEXT)},
        ),
    )
)


def _judged(bad: Mapping[str, Kind], good: Mapping[str, Kind], always: Mapping[str, Kind]) -> Kind:
    """Return the kind of an answer with a `reason` against the release, or none and all that a good one shows."""
    return Either(
        of=(
            Record(fields={"reason": TEXT, **bad, **always}),
            Record(fields={"reason": NULL, **good, **always}),
        )
    )


LIVE = _judged(
    {"serving": maybe(SEEN), "prove": maybe(PROOF)}, {"serving": SERVING, "prove": maybe(PROOF)}, {}
)
POLICY = Record(
    fields={"unsigned": TEXT, "threshold": COUNT, "max_age_days": maybe(NUMBER), "revoked": TEXTS}
)
TRUST = Record(
    fields={
        "policy": maybe(POLICY),
        "signers": Many(of=Record(fields={"name": TEXT, "fingerprint": TEXT})),
        "sequences": Named(of=COUNT),
        "time": NUMBER,
    }
)
STEP = Plain(
    words=f"a step below {len(STEPS)}", holds=lambda value: type(value) is int and 0 <= value < len(STEPS)
)
HEX = Plain(
    words="hexadecimal digits", holds=lambda value: isinstance(value, str) and _bytes_of(value) is not None
)
TUNED = Record(
    fields={
        "release": maybe(TEXT),
        "governed": BOOL,
        "settings": Named(of=ANY),
        "rungs": TEXTS,
        "own": Named(of=ANY),
        "at": maybe(NUMBER),
        "trial": BOOL,
    }
)
"""Settings of an application: of its release, and the device's own."""
ANSWERS: dict[str, Kind] = {
    "apps": Record(fields={"apps": TEXTS}),
    "hello": Record(fields={**STATUS.fields, "helper": TEXT}, maybe={"unchanged": BOOL}),
    "status": STATUS,
    "lease": Record(fields={"fence": COUNT, "to": maybe(TEXT)}, maybe={"told_unsigned": BOOL}),
    "have": Record(
        fields={
            "missing": Many(of=Record(fields={"blob": COUNT}, maybe={"offset": COUNT, "prefix_sha256": TEXT}))
        },
        maybe={"bases": Many(of=Record(fields={"blob": TEXT, "step": STEP, "chunks": HEX}))},
    ),
    "put": Record(fields={"bytes": COUNT}),
    "stage": Record(fields={"staged": TEXT}, maybe={"files": COUNT}),
    "prove": _judged({"prove": maybe(PROOF)}, {"prove": HELD}, {}),
    "arm": Record(fields={"armed": BOOL, "record": RECORD, "boot_hook": maybe(TEXT), "manager": TEXT}),
    "activate": _judged(
        {"serving": maybe(SEEN), "prove": maybe(PROOF)},
        {"serving": SERVING, "prove": HELD},
        {"record": RECORD},
    ),
    "health": LIVE,
    "confirm": Record(fields={"record": RECORD}, maybe={"bake": maybe(NUMBER), "bake_problem": maybe(TEXT)}),
    "revert": Record(fields={"record": RECORD}),
    "collect": Record(fields={"removed": TEXTS}),
    "remove": Record(fields={"removed": TEXTS, "blobs": COUNT}),
    "tuned": Record(
        fields={**TUNED.fields, "signed": maybe(Record(fields={"device": TEXT, "sequence": COUNT}))},
        maybe={"governor": Named(of=ANY)},
    ),
    "tune": Record(fields={**TUNED.fields, "changed": BOOL, "by": TEXT}),
    "decisions": Record(fields={"release": TEXT, "log": text(LOG_BYTES), "deciding": Named(of=TEXT)}),
    "pin": Record(fields={"changed": BOOL, "pins": TEXTS}),
    "logs": Record(fields={"lines": TEXTS}),
    "bench": Record(fields={"release": TEXT, "bench": BENCH}),
    "soak": Record(
        fields={
            "release": maybe(TEXT),
            "wanted": NUMBER,
            "running": BOOL,
            "began": BOOL,
            "lines": Many(of=LINE),
            "document": Either(
                of=(
                    NULL,
                    Record(fields={"error": TEXT}, maybe={"reason": TEXT}),
                    Record(
                        fields={
                            "variant": TEXT,
                            "runs": COUNT,
                            "seconds": NUMBER,
                            "threads": maybe(COUNT),
                            "soak": SOAK,
                            "engine": Record(fields={"name": TEXT, "version": TEXT, "delegate": TEXT}),
                        }
                    ),
                )
            ),
            "said": TEXT,
        }
    ),
    "verify": Record(fields={"record": RECORD, "drift": TEXTS, "releases": COUNT}),
    "history": Record(fields={"entries": Many(of=Record()), "broken_at": maybe(COUNT)}),
    "policy": TRUST,
    "trust": TRUST,
}
REFUSAL = Record(fields={"code": TEXT, "reason": TEXT}, maybe={"facts": maybe(Named(of=ANY))})


def longest(verb: str) -> int:
    """Return how many bytes an answer may have."""
    return LOG_BYTES if verb in ("logs", "decisions") else ANSWER_BYTES


def read(data: bytes, most: int) -> dict[str, Any]:
    """Return the object that an answer holds. Raises ValueError, with why, where it holds none or more than `most`
    bytes."""
    try:
        found = json.loads(_unpacked(data, most))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except zlib.error as error:
        raise ValueError(f"it is packed and damaged: {error}") from None
    if not isinstance(found, dict) or "ok" not in found:
        raise ValueError("it is not an object that says `ok`")
    return found


def _unpacked(data: bytes, most: int) -> bytes:
    """Return the text of an answer, which may have come deflated."""
    if data[:1] != PACKED:
        return data
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, most)
    if inflater.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {most >> 20} MiB")
    if not inflater.eof:
        raise ValueError("it ends too early")
    return text


def wrong(verb: str, reply: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an answer's form, or None."""
    if reply["ok"] is not True:
        return problem(REFUSAL, reply)
    return problem(ANSWERS.get(verb, Record()), reply)


def _bytes_of(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
