"""Datasets that are tables: a `.csv` with a column an input and one for labels; cells hold numbers or names of files.

A header line names the columns. `camera` is what the input camera is fed: a number, or the name of an image or a
`.npy` file, relative to the table's folder. `imu[0]`, `imu[1]`, ... are the values of one vector. `y` (or `label`) is
the label: a class number, a class name, or a number to predict.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.images import SUFFIXES, read_images
from edgeship.data.named import LABELS, as_said, find, match
from edgeship.data.samples import Reading, Samples
from edgeship.errors import InputError
from edgeship.progress import Progress

Column = list[str]
ENTRY = re.compile(r"(.+)\[([0-9]+)\]")
BLOCK_ROWS = 4096


def table_in(folder: Path, reference: str) -> Path | None:
    """Return the table of a folder, None where it has none. Raises InputError `dataset-table` where it has several."""
    tables = sorted(p for p in folder.glob("*.csv") if not p.name.startswith("."))
    if len(tables) > 1:
        raise _wrong(
            reference,
            "the folder holds several tables: which one is meant?",
            {"tables": ", ".join(p.name for p in tables)},
            f"give one: {Path(reference) / tables[0].name}",
        )
    return tables[0] if tables else None


def open_table(path: Path, reference: str, reading: Reading, *, progress: Progress) -> Samples:
    """Return the samples of a table. Raises InputError `dataset-table`, `dataset-keys`, `dataset-classes`, and what
    `read_images` raises."""
    columns = _read(path, reference, reading.limit)
    groups = _grouped(columns, reference)
    label = next((n for n in ("y", *LABELS) if n in groups and find(n, reading.inputs) is None), None)
    names = [name for name in groups if name != label]
    if len(reading.inputs) > 1:
        names = match(names, reading.inputs, reference, what="column", label=label)
        called: list[str | None] = [as_said(name) for name in reading.inputs]
    elif len(reading.inputs) == 1 and len(names) > 1:
        names = match(names, reading.inputs, reference, what="column", label=label)
        called = [None]
    else:
        called = [None] if len(names) == 1 else list(names)
    if not names:
        raise _wrong(
            reference,
            "the table has no column for an input",
            {"columns": ", ".join(columns)},
            "name a column after each input: head -1 " + shlex.quote(str(path)),
        )
    made = {
        said: _blocks(groups[name], name, path.parent, reference, reading, progress, said)
        for said, name in zip(called, names, strict=True)
    }
    y, classes = _labels(groups[label], label, reference, reading) if label else (None, ())
    numbers = tuple(said for said, name in zip(called, names, strict=True) if _is_text(groups[name]))
    if None in made:
        return Samples(x=made[None], y=y, classes=classes, untyped=numbers)
    return Samples(x={str(n): b for n, b in made.items()}, y=y, classes=classes, untyped=numbers)


def _read(path: Path, reference: str, limit: int | None) -> dict[str, Column]:
    """Return the cells of each column, by the header's names, without blanks around them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(reference, f"the table is no UTF-8 text: {error.reason}", {}, f"file {path}") from None
    head = text.partition("\n")[0]
    mark = "," if "," in head else next((m for m in (";", "\t") if m in head), ",")
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(text.splitlines(), delimiter=mark), 1)
        if any(cell.strip() for cell in row)
    ]
    if len(rows) < 2:
        raise _wrong(
            reference,
            "the table holds no samples",
            {"lines": len(rows)},
            "give a line with the names of columns, then a line a sample: camera,speed,y",
        )
    names = rows[0][1]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or "" in names:
        what = "a column has no name" if twice in (None, "") else f"two columns are named '{twice}'"
        raise _wrong(
            reference, what, {"header": mark.join(names)}, "name every column once, in the first line"
        )
    body = rows[1:] if limit is None else rows[1 : 1 + limit]
    for number, row in body:
        if len(row) != len(names) or "" in row:
            what = (
                f"has {len(row)} cells, the header has {len(names)}"
                if len(row) != len(names)
                else f"has nothing for '{names[row.index('')]}'"
            )
            raise _wrong(reference, f"line {number} {what}", {"line": mark.join(row)}, f"mend line {number}")
    return {name: [row[k] for _, row in body] for k, name in enumerate(names)}


def _grouped(columns: Mapping[str, Column], reference: str) -> dict[str, list[Column]]:
    """Return the columns of each name: several where they are the entries of a vector, in the order of their index."""
    groups: dict[str, dict[int, Column]] = {}
    for name, cells in columns.items():
        entry = ENTRY.fullmatch(name)
        groups.setdefault(entry[1] if entry else name, {})[int(entry[2]) if entry else 0] = cells
    for name, parts in groups.items():
        if sorted(parts) != list(range(len(parts))):
            raise _wrong(
                reference,
                f"of '{name}' there are the entries {', '.join(map(str, sorted(parts)))}",
                {"wanted": f"{name}[0] to {name}[{len(parts) - 1}]"},
                "number the columns of a vector from 0, without gaps",
            )
    return {name: [parts[k] for k in sorted(parts)] for name, parts in groups.items()}


def _is_text(group: Sequence[Column]) -> bool:
    """Return whether cells hold the numbers themselves, and not names of files."""
    return Path(group[0][0]).suffix.lower() not in (*SUFFIXES, ".npy")


def _blocks(
    group: Sequence[Column],
    name: str,
    folder: Path,
    reference: str,
    reading: Reading,
    progress: Progress,
    said: str | None,
) -> Iterator[NDArray[Any]]:
    """Return the blocks of one input."""
    if _is_text(group):
        return iter([np.stack([_numbers(c, name, reference) for c in group], axis=1).astype(np.float32)])
    paths = [folder / cell for cell in group[0]]
    for number, path in enumerate(paths):
        if not path.is_file():
            raise _wrong(
                reference,
                f"there is no file '{group[0][number]}', which '{name}' names",
                {"looked for": path, "sample": number},
                f"paths start from the table's folder: ls {shlex.quote(str(folder))}",
            )
    if paths[0].suffix.lower() == ".npy":
        return _arrays(paths, name, reference)
    resize = reading.resizes.get(said, reading.resize) if said else reading.resize
    channels = reading.channels.get(said or "")
    return read_images(paths, reference, resize, reading.wanted, progress, name=said, channels=channels)


def _arrays(paths: Sequence[Path], name: str, reference: str) -> Iterator[NDArray[Any]]:
    for path in paths:
        try:
            yield np.load(path, allow_pickle=False)[None]
        except (OSError, ValueError, EOFError) as error:
            raise _wrong(
                reference,
                f"'{name}' names a file that cannot be read: {error}",
                {"file": path},
                f"ls -l {shlex.quote(str(path))}",
            ) from None


def _numbers(cells: Column, name: str, reference: str) -> NDArray[np.float64]:
    """Return the numbers of a column."""
    for number, cell in enumerate(cells):
        try:
            float(cell)
        except ValueError:
            raise _wrong(
                reference,
                f"'{cell}' in column '{name}' is no number (sample {number})",
                {"column": name, "wanted": "numbers, or names of image or .npy files, all of one kind"},
                f"grep -n {shlex.quote(cell)} FILE.csv shows its line",
            ) from None
    return np.asarray([float(cell) for cell in cells])


def _labels(
    group: Sequence[Column], name: str, reference: str, reading: Reading
) -> tuple[Iterator[NDArray[Any]], tuple[str, ...]]:
    """Return the labels, and the classes where they are named by words."""
    cells = group[0]
    if len(group) == 1 and not all(_is_number(cell) for cell in cells):
        classes = reading.classes or tuple(sorted(set(cells)))
        foreign = next((cell for cell in cells if cell not in classes), None)
        if foreign is not None:
            raise InputError(
                "dataset-classes",
                f"a label is no class of the model: '{foreign}'",
                context={"dataset": reference, "column": name, "labels": ", ".join(classes)},
                hint="name classes as labels: says in edgeship.yaml, letter by letter",
            )
        places = {word: place for place, word in enumerate(classes)}
        return iter([np.asarray([places[cell] for cell in cells], np.int64)]), classes
    values = np.stack([_numbers(column, name, reference) for column in group], axis=1)
    whole = all(re.fullmatch(r"[-+]?[0-9]+", cell) for column in group for cell in column)
    kept = values[:, 0] if len(group) == 1 else values
    return iter([kept.astype(np.int64 if whole else np.float32)]), ()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _wrong(reference: str, message: str, context: dict[str, object], hint: str) -> InputError:
    return InputError("dataset-table", message, context={"dataset": reference, **context}, hint=hint)
