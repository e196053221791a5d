"""Put TFLite metadata and its files into a `.tflite` without touching a byte of the model.

tflite-support rewrites the whole file through the schema it was built with years ago, which drops what that
schema does not know (block-wise scales, newer options) and the alignment of the weights. FlatBuffers'
references only point forward and are relative: so a new root table in front of the old content, with the old
content moved as one block by a multiple of 64 bytes, adds an entry and leaves every weight, option and scale
as it was.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

from edgeship.errors import ToolError
from edgeship.tflite.schema import FILE_IDENTIFIER, tflite_schema

NAME = b"TFLITE_METADATA"
FIELDS = 10
"""Fields of the Model table that this code knows; all but the first (version) are references."""
BUFFERS, METADATA = 4, 6
"""Numbers of the two fields that change: Model.buffers and Model.metadata."""
TABLE = 32
"""Where the new root table stands: behind the file's head (8 bytes) and its vtable (24 bytes)."""
BLOCK = 64
"""Weights may be aligned to 64 bytes at most."""


def with_metadata(content: bytes, metadata: bytes, files: dict[str, bytes]) -> bytes:
    """Return the model with `metadata` as its TFLITE_METADATA and `files` packed behind it; older ones are
    dropped.

    The bytes depend on the arguments alone: times in the zip tail are fixed. Raises ToolError
    `metadata-too-new` for a file whose root table has fields this code does not know.
    """
    return with_files(_with_new_root(without_files(content), metadata), files)


def with_files(body: bytes, files: dict[str, bytes]) -> bytes:
    """Return a model that has no files packed behind it with `files` there, uncompressed, times fixed."""
    if not files:
        return body
    stream = io.BytesIO(body)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, files[name])
    return stream.getvalue()


def without_files(content: bytes) -> bytes:
    """Return the model without the zip archive that packed files form at its end."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            return content[: min((entry.header_offset for entry in entries), default=len(content))]
    except (zipfile.BadZipFile, ValueError):
        return content


def files_of(content: bytes) -> dict[str, bytes]:
    """Return the files packed behind a model, by name; none where there are none or they cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return {}


def _with_new_root(body: bytes, metadata: bytes) -> bytes:
    """Return the model behind a new root table whose buffers and metadata have one entry more."""
    model = tflite_schema().Model.GetRootAs(body, 0)
    table = model._tab
    (vtable_distance,) = struct.unpack_from("<i", body, table.Pos)
    (vtable_size,) = struct.unpack_from("<H", body, table.Pos - vtable_distance)
    if vtable_size > 4 + 2 * FIELDS:
        raise ToolError(
            "metadata-too-new",
            "the .tflite was written by a newer TensorFlow Lite whose root table has more fields",
            hint="pip install --upgrade edgeship",
        )
    fields = {
        number: table.Indirect(table.Pos + table.Offset(4 + 2 * number))
        for number in range(1, FIELDS)
        if table.Offset(4 + 2 * number)
    }
    buffers = [model.Buffers(i)._tab.Pos for i in range(model.BuffersLength())]
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    kept = [entry._tab.Pos for entry in entries if entry.Name() != NAME]
    replaced = next((entry.Buffer() for entry in entries if entry.Name() == NAME), len(buffers))
    prefix = _prefix(model.Version(), fields, buffers, kept, replaced, metadata)
    moved = bytearray(body)
    for position, value in _absolute_offsets(model):
        struct.pack_into("<Q", moved, position, value + len(prefix))
    return prefix + bytes(moved)


def _prefix(
    version: int, fields: dict[int, int], buffers: list[int], metadata: list[int], index: int, content: bytes
) -> bytes:
    """Return what goes before the old content, a multiple of 64 bytes long.

    `fields`, `buffers` and `metadata` are positions in the old content; the new buffer becomes number
    `index`. Layouts as in the FlatBuffers internals documentation: a table is a signed distance to its vtable
    and its fields, a vtable its own size, the table's size and each field's place, a vector its length and
    its elements.
    """
    out = bytearray(TABLE + 4 + 4 * FIELDS)
    struct.pack_into("<I4s", out, 0, TABLE, FILE_IDENTIFIER)
    present = {0, BUFFERS, METADATA, *fields}
    places = [4 + 4 * number if number in present else 0 for number in range(FIELDS)]
    struct.pack_into(f"<{2 + FIELDS}H", out, 8, 4 + 2 * FIELDS, 4 + 4 * FIELDS, *places)
    struct.pack_into("<iI", out, TABLE, TABLE - 8, version)
    old = [(TABLE + 4 + 4 * n, target) for n, target in fields.items() if n not in (BUFFERS, METADATA)]

    def vector(field: int, targets: list[int], new: int) -> int:
        """Append a vector of references, the one at `new` still open, and return where that one stands."""
        _point(out, TABLE + 4 + 4 * field, len(out))
        start = len(out) + 4
        count = max(len(targets), new + 1)
        out.extend(struct.pack("<I", count) + bytes(4 * count))
        old.extend((start + 4 * n, target) for n, target in enumerate(targets) if n != new)
        return start + 4 * new

    new_buffer = vector(BUFFERS, buffers, index)
    new_entry = vector(METADATA, metadata, len(metadata))
    _point(out, new_entry, len(out) + 8)
    out += struct.pack("<4H", 8, 12, 4, 8) + struct.pack("<iII", 8, 8, index)  # Metadata: name, buffer
    out += struct.pack("<I", len(NAME)) + NAME + b"\0"
    out += bytes(-len(out) % 4)
    _point(out, new_buffer, len(out) + 8)
    out += struct.pack("<4H", 6, 8, 4, 0) + struct.pack("<iI", 8, 0)  # Buffer: data
    slot = len(out) - 4
    out += bytes((12 - len(out)) % 16)  # so that the data behind its length begins at a multiple of 16
    _point(out, slot, len(out))
    out += struct.pack("<I", len(content)) + content
    out += bytes(-len(out) % BLOCK)
    for position, target in old:
        _point(out, position, target + len(out))
    return bytes(out)


def _point(out: bytearray, position: int, target: int) -> None:
    """Write the reference at `position` to `target`: the distance between them."""
    struct.pack_into("<I", out, position, target - position)


def _absolute_offsets(model: Any) -> list[tuple[int, int]]:
    """Return (position, value) of the few offsets that count from the file's beginning (models beyond 2
    GB)."""
    found = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.Offset() > 1:
            found.append((buffer._tab.Pos + buffer._tab.Offset(6), buffer.Offset()))
    for g in range(model.SubgraphsLength()):
        for o in range(model.Subgraphs(g).OperatorsLength()):
            operator = model.Subgraphs(g).Operators(o)
            if operator.LargeCustomOptionsOffset() > 1:
                position = operator._tab.Pos + operator._tab.Offset(
                    22
                )  # field 9: large_custom_options_offset
                found.append((position, operator.LargeCustomOptionsOffset()))
    return found
