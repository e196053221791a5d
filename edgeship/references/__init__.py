"""What each reference of an error means, when it comes and what to type: one page a reference, one file a room.

A page is Markdown that is read on a terminal as it is. Its heading is the reference; where a part of it depends on what
was asked (`unknown-*`), a `*` stands for that part. Tests hold the pages against what the code raises.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HEADING = "## "
WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a reference looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What edgeship says at length of one reference; `reference` may hold a `*`."""

    reference: str
    room: str
    text: str

    @property
    def summary(self) -> str:
        """The first sentence, in one line."""
        first = " ".join(self.text.split("\n\n")[1].split())
        return re.split(r"(?<=\.)\s+(?=[A-Z`*]|edgeship)", first, maxsplit=1)[0].rstrip(".:") + "."


@functools.cache
def pages() -> dict[str, Page]:
    """Return every page by its reference, in the order of the alphabet."""
    found = [page for path in Path(__file__).parent.glob("*.md") for page in _pages_of(path)]
    return {page.reference: page for page in sorted(found, key=lambda page: page.reference)}


def page_of(reference: str) -> Page | None:
    """Return the page of a reference: its own, or that of the pattern it belongs to; None where there is none."""
    if not WORD.fullmatch(reference):
        return None
    known = pages()
    return known.get(reference) or next(
        (p for p in known.values() if fnmatchcase(reference, p.reference)), None
    )


def where_to_read(reference: str) -> str | None:
    """Return the line that says where to read of a reference; None where it has no page."""
    return f"more: edgeship explain {reference}" if page_of(reference) else None


def nearest(word: str, most: int = 3) -> list[str]:
    """Return the references that are spelled most like a word, the nearest first."""
    return difflib.get_close_matches(word.lower(), list(pages()), n=most, cutoff=0.6)


def _pages_of(path: Path) -> list[Page]:
    """Return the pages in a room's file, in its order."""
    parts = re.split(rf"^{HEADING}", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        Page(reference=part.partition("\n")[0].strip(), room=path.stem, text=f"{HEADING}{part.rstrip()}\n")
        for part in parts[1:]
    ]
