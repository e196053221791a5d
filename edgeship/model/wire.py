"""Just enough of the protobuf wire format to tell whole files from cut ones, and one message type from
another.

Wire types as in the Protocol Buffers encoding guide: 0 varint, 1 eight bytes, 2 length-delimited, 5 four
bytes.
"""

from __future__ import annotations

Field = tuple[int, "int | bytes"]


def first_fields(content: bytes, count: int) -> list[Field]:
    """Return up to `count` leading fields as (number, varint or bytes); fewer where it is no protobuf or
    ends.

    A length-delimited field that runs past the end is returned as far as it goes: `content` may be a file's
    beginning.
    """
    fields: list[Field] = []
    position = 0
    while position < len(content) and len(fields) < count:
        field, position = _field(content, position)
        if field is None:
            break
        fields.append(field)
    return fields


def fields_fit(content: bytes) -> bool:
    """Return whether `content` is a sequence of whole protobuf fields, to its last byte."""
    position = 0
    while position < len(content):
        field, position = _field(content, position)
        if field is None or position > len(content):
            return False
    return True


def fields_of(content: bytes, wanted: int) -> list[bytes]:
    """Return the contents of the length-delimited fields of one number; those before what is no whole field."""
    found: list[bytes] = []
    position = 0
    while position < len(content):
        field, position = _field(content, position)
        if field is None or position > len(content):
            break
        number, value = field
        if number == wanted and isinstance(value, bytes):
            found.append(value)
    return found


def _field(content: bytes, position: int) -> tuple[Field | None, int]:
    """Return one field and where the next one begins (past the end, where this one is cut)."""
    key, position = _varint(content, position)
    number, wire = key >> 3, key & 7
    if key < 0 or number == 0:
        return None, position
    if wire == 0:
        value, position = _varint(content, position)
        return ((number, value) if value >= 0 else None), position
    if wire in (1, 5):
        size = 8 if wire == 1 else 4
        return (number, content[position : position + size]), position + size
    if wire == 2:
        size, position = _varint(content, position)
        return ((number, content[position : position + size]) if size >= 0 else None), position + max(size, 0)
    return None, position


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return (value, next position); -1 for one that is cut or too long."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            return -1, position
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return -1, position
