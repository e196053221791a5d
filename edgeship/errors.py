"""The one kind of error edgeship shows to people, in a handful of families.

Every error names a stable kebab-case *reference* (what scripts and search engines find), says what happened, where
(file, key path, value seen, value wanted) and ends with a command to type next. `render()` is the text a person reads;
`as_json()` is what `--json` prints. Both are tested as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeship.printable import one_line, printable


class EdgeshipError(Exception):
    """A reason why edgeship could not continue. `exit_code` follows docs/cli.md."""

    exit_code = 1

    def __init__(
        self,
        reference: str,
        message: str,
        *,
        context: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reference = reference
        self.message = message
        self.context: dict[str, str] = {k: str(v) for k, v in (context or {}).items()}
        self.hint = hint

    def render(self) -> str:
        """Return the text for a person: reference, message, one line per context entry, then the hint.

        Parts of it may come from a device or a file: no control character is passed on, and further lines of one part
        are indented, so that none can pass for another part.
        """
        lines = [f"error: {one_line(self.reference)}", f"  {_indented(self.message)}"]
        width = max((len(k) for k in self.context), default=0)
        lines += [f"  {key + ':':<{width + 1}} {_indented(value)}" for key, value in self.context.items()]
        if self.hint:
            lines.append(f"hint: {_indented(self.hint)}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the `edgeship.error/1` document."""
        return {
            "schema": "edgeship.error/1",
            "reference": self.reference,
            "message": self.message,
            "context": self.context,
            "hint": self.hint or {"unavailable": "nothing to type"},
            "exit_code": self.exit_code,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EdgeshipError:
        """Return the error that `as_json` described, in its family (used across the worker-process boundary)."""
        family = next((f for f in FAMILIES if f.exit_code == document.get("exit_code")), EdgeshipError)
        return family(
            str(document["reference"]),
            str(document["message"]),
            context=document.get("context") or {},
            hint=document["hint"] if isinstance(document.get("hint"), str) else None,
        )


def _indented(text: str) -> str:
    """Return a part of an error for people; no further line of it begins at the margin."""
    return re.sub(r"\n(?! )", "\n  ", printable(text))


class InputError(EdgeshipError):
    """Something the user typed or handed over is wrong: a file, a key, a name, a data set. Nothing was changed."""

    exit_code = 2


class ToolError(EdgeshipError):
    """A converter, compiler or other tool failed, crashed or ran out of time. Nothing was changed."""

    exit_code = 1


class GateError(EdgeshipError):
    """A gate said no, or a deployment was reverted. Devices are safe."""

    exit_code = 3


class DeviceError(EdgeshipError):
    """A device could not be reached or refused; nothing on it was changed."""

    exit_code = 1


class UnknownStateError(EdgeshipError):
    """The link was lost at a moment when the device's final state could not be read back."""

    exit_code = 4


class DegradedError(EdgeshipError):
    """A device runs neither the new nor the old release properly; a person must look."""

    exit_code = 5


FAMILIES: tuple[type[EdgeshipError], ...] = (
    InputError,
    GateError,
    UnknownStateError,
    DegradedError,
    ToolError,
)
