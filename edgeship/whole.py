"""A file or folder that appears under its name only when all of it is there: `whole(path)`."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, in a folder that is there; what the block has left at it, a file or a folder, is then
    called `path`, once it is on the disk.

    Where the block raises, nothing is left. A file takes the place of what is called so; a folder that another process
    was first to make stays as it is, for one name means one content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        for each in sorted(part.rglob("*")) if part.is_dir() else [part]:
            _onto_disk(each)
        try:
            part.replace(path)
        except OSError:
            if not (part.is_dir() and path.is_dir()):
                raise
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _onto_disk(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as held:
            os.fsync(held.fileno())
