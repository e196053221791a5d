"""A YAML mapping as plain values, with the line of every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[str | int, ...]
"""Where a value stands in a document: ("sensors", 0, "path")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a value was written: file as shown to people, line counted from 1 (0: it has no lines)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML mapping from one file, or several merged: plain values (sequences as tuples) and their marks."""

    file: str
    value: dict[str, Any]
    marks: Mapping[KeyPath, Mark] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark:
        """Return the mark of `path`, or of the nearest value around it that has one."""
        for end in range(len(path), -1, -1):
            if found := self.marks.get(path[:end]):
                return found
        return Mark(file=self.file, line=1)


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: `sensors[0].path`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
