"""`Include` of ssh_config, which paramiko passes over in silence: one text out of a file and what it includes."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

DEEPEST = 16
"""As in OpenSSH (READCONF_MAX_DEPTH)."""
INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.*\S)\s*", re.IGNORECASE)
BLOCK = re.compile(r"\s*(?:host|match)\b[\s=]*(.*?)\s*", re.IGNORECASE)
EVERYWHERE = "Host *"


def with_included(file: Path, *, depth: int = 0) -> str:
    """Return the lines of a settings file with those of its `Include`s in their place, the block around them kept.

    Relative names start from ~/.ssh, those in a file below /etc/ssh from there. Raises OSError for a file that cannot
    be read, ValueError for what cannot be followed.
    """
    if depth > DEEPEST:
        raise ValueError(f"Include goes deeper than {DEEPEST} files: does a file include itself?")
    lines, block = [], EVERYWHERE
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if begun := BLOCK.fullmatch(line):
            block = EVERYWHERE if begun[1] in ("*", "all") else line
        named = INCLUDE.fullmatch(line)
        if named is None:
            lines.append(line)
            continue
        for each in _files(named[1], file):
            inner = with_included(each, depth=depth + 1)
            if block != EVERYWHERE and any(map(BLOCK.fullmatch, inner.splitlines())):
                raise ValueError(
                    f"'{line.strip()}' below '{block.strip()}': {each} has blocks of its own, and edgeship follows "
                    "that only above the first Host"
                )
            lines += [inner, block]
    return "\n".join(lines) + "\n"


def _files(words: str, file: Path) -> list[Path]:
    """Return the files that an Include names, in the order they are read; none where none is there."""
    folder = Path("/etc/ssh") if file.is_relative_to("/etc/ssh") else Path("~/.ssh").expanduser()
    patterns = [str(folder / Path(word).expanduser()) for word in shlex.split(words, comments=True)]
    return [Path(name) for pattern in patterns for name in sorted(glob.glob(pattern)) if Path(name).is_file()]  # noqa: PTH207
