"""Values that are kept as JSON between runs: `kept(path, kind)` and `keep(path, value)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from edgeship.whole import whole

T = TypeVar("T")


def kept(path: Path, kind: type[T]) -> T | None:
    """Return the value of dataclass `kind` kept at `path`; None where there is none, or none that can be read: it is
    then made again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def keep(path: Path, value: Any) -> None:
    """Keep a value; it is there when all of it is."""
    from pydantic import TypeAdapter

    with whole(path) as part:
        part.write_bytes(TypeAdapter(type(value)).dump_json(value))
