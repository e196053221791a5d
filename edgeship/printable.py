"""Text that came from elsewhere, made safe to show: a terminal obeys control characters, and people read rows."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

BEYOND_PLAIN = re.compile(r"[^\x20-\x7e]")


def printable(text: str, *, keep: str = "\n\t") -> str:
    """Return `text` with every character that is not shown as itself written out: `\\x1b`, `\\u202e`. Those in `keep`
    stay."""

    def shown(match: re.Match[str]) -> str:
        character = match[0]
        return character if character in keep or _shows(character) else _escaped(character)

    return BEYOND_PLAIN.sub(shown, text)


def one_line(text: str) -> str:
    """Return `text` for a table's cell or a line of its own: nothing in it can begin another one."""
    return printable(text, keep="")


def json_text(document: Any) -> str:
    """Return indented JSON that holds no character a terminal would obey; a reader gets them back as they were."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return BEYOND_PLAIN.sub(
        lambda match: match[0] if match[0] == "\n" or _shows(match[0]) else json.dumps(match[0])[1:-1], text
    )


def _shows(character: str) -> bool:
    """Return whether a character is shown as itself: letters, signs, blanks; not what controls, formats or is none."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
