"""What `manifest.json` must look like before anything in it is believed: names, texts, numbers, lists; nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeship.printable import one_line
from edgeship.shape import (
    BOOL,
    COUNT,
    NULL,
    NUMBER,
    Either,
    Many,
    Named,
    Plain,
    Record,
    maybe,
    one_of,
    problem,
    text,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
"""A name that can be part of a path and of a unit's name, as the device's helper wants it."""
MANAGERS = ("auto", "systemd", "openrc", "supervised")


def _is_word(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and one_line(value) == value


A_NAME = Plain(
    words="a plain name: up to 64 letters, digits, dots, dashes and underscores",
    holds=lambda value: isinstance(value, str) and NAME.match(value) is not None,
)
VERSION = Plain(words="1 to 64 characters on one line", holds=lambda value: _is_word(value, 64))
WORD = Plain(words="a short text on one line", holds=lambda value: value == "" or _is_word(value, 400))
WORDS = Many(of=WORD)
UNAVAILABLE = Record(fields={"unavailable": text()})
FIGURE = Either(of=(NULL, UNAVAILABLE, NUMBER))

INTERPRETER = Plain(
    words="the name or the path of a Python on the device",
    holds=lambda value: (
        isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_/][A-Za-z0-9_./+-]{0,199}", value) is not None
    ),
)
REQUIRES = Record(
    maybe={
        "machine": WORD,
        "libc": maybe(Record(fields={"kind": WORD}, maybe={"version": maybe(WORD)})),
        "libstdcxx": maybe(WORD),
        "python": WORDS,
        "interpreter": INTERPRETER,
        "cpu_flags": WORDS,
        "packages": WORDS,
        "libraries": WORDS,
        "ram_mb": COUNT,
        "ladder": Record(fields={"base_mb": COUNT, "resident_mb": Named(of=COUNT)}),
        "disk_bytes": COUNT,
        "service": one_of(*MANAGERS),
        "devices": Many(of=Either(of=(WORD, Record(fields={"name": WORD, "any_of": WORDS})))),
        "delegate": maybe(Record(fields={"library": WORD, "version": WORD})),
    }
)
VARIANT = Record(
    fields={"recipe": WORD},
    maybe={
        "name": WORD,
        "candidate": WORD,
        "bytes": COUNT,
        "layers": Named(of=WORD),
        "metric": Record(fields={"name": WORD, "value": FIGURE, "drop": FIGURE}),
        "compile": Record(fields={"compiled": BOOL, "reason": text()}),
    },
)
SETTING = Either(of=(BOOL, NUMBER, text()))
MADE = Record(
    maybe={
        "name": WORD,
        "candidate": WORD,
        "steps": Many(
            of=Record(
                fields={"label": text()},
                maybe={
                    "method": WORD,
                    "seed": NUMBER,
                    "settings": Named(of=SETTING),
                    "data": Named(of=WORD),
                    "figures": Named(of=FIGURE),
                },
            )
        ),
    }
)
"""How a variant was made: what `inspect` shows of it."""
MANIFEST = Record(
    fields={
        "app": A_NAME,
        "version": VERSION,
        "target": A_NAME,
        "requires": REQUIRES,
        "engine": Record(maybe={"name": WORD, "version": WORD, "delegate": WORD, "reason": WORD}),
        "chosen": WORD,
        "variants": Many(of=VARIANT),
        "provenance": Record(
            maybe={
                "edgeship": WORD,
                "model": Record(maybe={"name": text(), "sha256": WORD}),
                "variants": Many(of=MADE),
            }
        ),
        "files": Named(of=Record()),
    }
)
"""Other keys are left alone: they are covered by the digest, and nothing here reads them."""


def manifest_problem(manifest: dict[str, Any]) -> str | None:
    """Return what is wrong with a manifest first, or None. (Its files are looked at one by one elsewhere.)"""
    return problem(MANIFEST, manifest)


def variant_name(entry: Mapping[str, Any]) -> str:
    """Return what a variant's entry in a manifest is called: by its recipe, before there were names."""
    return str(entry.get("name", entry["recipe"]))
