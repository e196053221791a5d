"""`MetadataTables` to bytes and back, with `flatbuffers` alone: TFLite's metadata where tflite-support cannot be had.

Tables are laid down in the order in which the schema's generated Python code does it (what a table refers to
first, in the order of its fields), so the bytes are those that tflite-support writes for the same tables.
Numbers in calls are field numbers of metadata_schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from edgeship.tflite.metadata_tables import (
    COLORS,
    CONTENTS,
    FILE_TYPES,
    IMAGE,
    FileEntry,
    MetadataTables,
    Normalisation,
    TensorTable,
)

IDENTIFIER = b"M001"
NORMALIZATION_OPTIONS = 1
"""Number of NormalizationOptions in the union ProcessUnitOptions."""
Part = Callable[[Any], int]
"""What lays something down in a builder and returns where it stands."""


def to_bytes(tables: MetadataTables) -> bytes:
    """Return the metadata flatbuffer of `tables`; the same tables give the same bytes."""
    import flatbuffers

    graph = _table(
        (2, _vector([_tensor(tensor) for tensor in tables.inputs])),
        (3, _vector([_tensor(tensor) for tensor in tables.outputs])),
    )
    model = _table(
        (0, _text(tables.name)),
        (1, _text(tables.description)),
        (2, _text(tables.version)),
        (3, _vector([graph])),
        (4, _text(tables.author)),
        (5, _text(tables.licence)),
        (7, _text(tables.parser_version)),
    )
    builder = flatbuffers.Builder(0)
    builder.Finish(model(builder), IDENTIFIER)
    return bytes(builder.Output())


def from_bytes(content: bytes) -> MetadataTables:
    """Return what a metadata flatbuffer says of a model and its main graph; what edgeship does not use is passed
    over.

    Raises struct.error or ValueError where the content is damaged.
    """
    model = _Place(content, *struct.unpack_from("<I", content))
    graph = next(iter(model.tables(3)), None)
    return MetadataTables(
        name=model.text(0),
        description=model.text(1),
        version=model.text(2),
        author=model.text(4),
        licence=model.text(5),
        parser_version=model.text(7),
        inputs=tuple(_read_tensor(tensor) for tensor in graph.tables(2)) if graph else (),
        outputs=tuple(_read_tensor(tensor) for tensor in graph.tables(3)) if graph else (),
    )


def _tensor(tensor: TensorTable) -> Part:
    properties = _table((0, COLORS.index(tensor.color))) if tensor.content == IMAGE else _table()
    scaled = tensor.normalisation
    options = _table((0, _floats(scaled.mean)), (1, _floats(scaled.std))) if scaled else None
    units = [_table((0, NORMALIZATION_OPTIONS), (1, options))] if options else []
    stats = None
    if tensor.minimum is not None or tensor.maximum is not None:
        stats = _table((0, _floats(tensor.maximum)), (1, _floats(tensor.minimum)))
    return _table(
        (0, _text(tensor.name)),
        (1, _text(tensor.description)),
        (3, _table((0, CONTENTS.index(tensor.content)), (1, properties))),
        (4, _vector(units)),
        (5, stats),
        (6, _vector([_file(entry) for entry in tensor.files])),
    )


def _file(entry: FileEntry) -> Part:
    return _table((0, _text(entry.name)), (1, _text(entry.description)), (2, FILE_TYPES.index(entry.type)))


def _table(*fields: tuple[int, Part | int | None]) -> Part:
    """Return a table of (field number, part or small number); None and 0 are left out."""

    def lay(builder: Any) -> int:
        made = [
            (builder.PrependUint8Slot, number, value)
            if isinstance(value, int)
            else (builder.PrependUOffsetTRelativeSlot, number, value(builder))
            for number, value in fields
            if value is not None
        ]
        builder.StartObject(fields[-1][0] + 1 if fields else 0)
        for put, number, value in made:
            put(number, value, 0)
        return int(builder.EndObject())

    return lay


def _text(text: str) -> Part | None:
    return (lambda builder: int(builder.CreateString(text))) if text else None


def _vector(parts: Sequence[Part]) -> Part | None:
    def lay(builder: Any) -> int:
        places = [part(builder) for part in parts]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return int(builder.EndVector())

    return lay if parts else None


def _floats(values: Sequence[float] | None) -> Part | None:
    def lay(builder: Any) -> int:
        builder.StartVector(4, len(values or ()), 4)
        for value in reversed(values or ()):
            builder.PrependFloat32(value)
        return int(builder.EndVector())

    return lay if values else None


class _Place:
    """One table in a flatbuffer, read field by field. Raises struct.error or ValueError where it is damaged."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content, self._position = content, position
        (distance,) = struct.unpack_from("<i", content, position)
        self._vtable = position - distance
        if self._vtable < 0:
            raise ValueError("a table without a vtable")
        (self._size,) = struct.unpack_from("<H", content, self._vtable)

    def _field(self, number: int) -> int:
        """Return where a field stands, 0 for one that is not there."""
        slot = 4 + 2 * number
        if slot + 2 > self._size:
            return 0
        (offset,) = struct.unpack_from("<H", self._content, self._vtable + slot)
        return self._position + offset if offset else 0

    def _target(self, place: int) -> int:
        (distance,) = struct.unpack_from("<I", self._content, place)
        return int(place + distance)

    def _span(self, number: int, width: int) -> tuple[int, int] | None:
        """Return (first byte, count) of a vector of elements of `width` bytes; None where there is none."""
        place = self._field(number)
        if not place:
            return None
        start = self._target(place)
        (count,) = struct.unpack_from("<I", self._content, start)
        if start + 4 + width * count > len(self._content):
            raise ValueError("a vector longer than the content")
        return start + 4, count

    def byte(self, number: int) -> int:
        place = self._field(number)
        return int(struct.unpack_from("<B", self._content, place)[0]) if place else 0

    def text(self, number: int) -> str:
        start, count = self._span(number, 1) or (0, 0)
        return self._content[start : start + count].decode("utf-8", "replace")

    def floats(self, number: int) -> tuple[float, ...] | None:
        span = self._span(number, 4)
        return struct.unpack_from(f"<{span[1]}f", self._content, span[0]) if span else None

    def table(self, number: int) -> _Place | None:
        place = self._field(number)
        return _Place(self._content, self._target(place)) if place else None

    def tables(self, number: int) -> tuple[_Place, ...]:
        start, count = self._span(number, 4) or (0, 0)
        return tuple(_Place(self._content, self._target(start + 4 * i)) for i in range(count))


def _read_tensor(place: _Place) -> TensorTable:
    content, stats = place.table(3), place.table(5)
    kind = _name(CONTENTS, content.byte(0)) if content else CONTENTS[0]
    properties = content.table(1) if content and kind == IMAGE else None
    units = (unit.table(1) for unit in place.tables(4) if unit.byte(0) == NORMALIZATION_OPTIONS)
    scaled = next((unit for unit in units if unit is not None), None)
    return TensorTable(
        name=place.text(0),
        description=place.text(1),
        content=kind,
        color=_name(COLORS, properties.byte(0)) if properties else COLORS[0],
        normalisation=Normalisation(mean=scaled.floats(0) or (), std=scaled.floats(1) or ())
        if scaled
        else None,
        minimum=stats.floats(1) if stats else None,
        maximum=stats.floats(0) if stats else None,
        files=tuple(
            FileEntry(name=f.text(0), description=f.text(1), type=_name(FILE_TYPES, f.byte(2)))
            for f in place.tables(6)
        ),
    )


def _name(names: Sequence[str], number: int) -> str:
    """Return a number's name, that of 0 where a newer schema has more."""
    return names[number] if number < len(names) else names[0]
