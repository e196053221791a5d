"""Datasets in NumPy's own files, read in blocks: an `.npz` need not fit into memory."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeship.data.named import LABELS, as_said, find, labels_name, match
from edgeship.data.samples import Reading, Samples
from edgeship.errors import InputError
from edgeship.registry import did_you_mean

Blocks = Iterator[NDArray[Any]]
BLOCK_BYTES = 8 << 20
NUMBERED = re.compile(r"[xX]_?\d+")
"""x0, x1, ...: what people call the arrays of several inputs."""
SAVE = "numpy.savez('data.npz', x=x, y=y)"


def open_npz(path: Path, reference: str, reading: Reading) -> Samples:
    """Return the samples of an `.npz` that holds `x`, or an array an input by its name, and perhaps `y`.

    Raises InputError `dataset-corrupt` (no zip, cut short), `dataset-keys` (other names), `dataset-pickled`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _corrupt(reference, path, error) from None
    label = labels_name(reading.inputs)
    arrays = _arrays(names, label, path.name, reference, reading.inputs)
    labels = [label] if label in names else []
    with zipfile.ZipFile(path) as archive:
        shapes = {}
        for name in (*arrays.values(), *labels):
            with archive.open(f"{name}.npy") as stream:
                shapes[name], _, _ = _header(stream, path, name, reference)
    _check_counts(shapes, list(arrays.values()), labels, reference)
    return _samples(
        {name: _member(path, held, reference, reading.limit) for name, held in arrays.items()},
        _member(path, label, reference, reading.limit) if labels else None,
    )


def open_arrays(folder: Path, reference: str, reading: Reading) -> Samples:
    """Return the samples of a folder of `.npy` files named by input, and perhaps `y.npy`. Raises as `open_npz`."""
    files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    label = labels_name(reading.inputs)
    arrays = _arrays(list(files), label, folder.name, reference, reading.inputs)
    labels = [label] if label in files else []
    shapes = {}
    for name in (*arrays.values(), *labels):
        with files[name].open("rb") as stream:
            shapes[name], _, _ = _header(stream, files[name], name, reference)
    _check_counts(shapes, list(arrays.values()), labels, reference)
    return _samples(
        {name: _file(files[held], held, reference, reading.limit) for name, held in arrays.items()},
        _file(files[label], label, reference, reading.limit) if labels else None,
    )


def holds_arrays(folder: Path) -> bool:
    """Return whether a folder is a dataset of `.npy` files."""
    return next(folder.glob("*.npy"), None) is not None


def _arrays(
    names: list[str], label: str, file: str, reference: str, inputs: tuple[str, ...]
) -> dict[str | None, str]:
    """Return the input -> the array that is for it, labels left out; None is the only input, which is called x.

    `inputs`: those of the model, where they are known. Raises InputError `dataset-keys`.
    """
    samples = [name for name in names if name != label]
    if len(inputs) > 1:
        found = match(samples, inputs, reference, label=label if label in names else None)
        return {as_said(name): held for name, held in zip(inputs, found, strict=True)}
    if "x" in names:
        extra = sorted(set(names) - {"x", label})
        near = did_you_mean("y", extra) or next((n for n in extra if n.lower() in LABELS), None)
        if label not in names and near:
            raise InputError(
                "dataset-keys",
                f"the data holds '{near}' where labels are called y",
                context={"dataset": reference, "holds": ", ".join(names), "wanted": "x, and y for labels"},
                hint=f"import numpy; d = numpy.load('{file}'); numpy.savez('data.npz', x=d['x'], y=d['{near}'])",
            )
        return {None: "x"}
    if inputs and (own := find(inputs[0], samples)):
        return {None: own}
    numbered = [name for name in samples if NUMBERED.fullmatch(name)]
    if len(numbered) > 1 and not inputs:
        return {name: name for name in numbered}
    near = _near(samples)
    if inputs or near or len([n for n in samples if n not in LABELS]) < 2:
        raise InputError(
            "dataset-keys",
            "the data holds no array named x",
            context={
                "dataset": reference,
                "holds": ", ".join(names) or "nothing",
                "wanted": "x, and y for labels",
            },
            hint=_renamed(near, names, file) if near else SAVE,
        )
    return {name: name for name in samples}


def _near(names: list[str]) -> str | None:
    """Return the array that is most likely x."""
    usual = ("x", "x_test", "x_val", "x_train", "test_x", "train_x", "images", "data", "inputs", "features")
    by_lower = {name.lower(): name for name in reversed(names)}
    numbered = next((name for name in names if NUMBERED.fullmatch(name)), None)
    return next((by_lower[n] for n in usual if n in by_lower), None) or numbered or did_you_mean("x", names)


def _renamed(near: str, names: list[str], file: str) -> str:
    """Return the line that saves an array as x, and as y what belongs to it."""
    own = (near.replace("x", "y").replace("X", "Y"), near.replace("X", "y"))
    known = [name for name in names if name.lower() in LABELS]
    y = next((name for name in (*own, *known) if name in names and name != near), None)
    rest = f", y=d['{y}']" if y else ""
    return f"import numpy; d = numpy.load('{file}'); numpy.savez('data.npz', x=d['{near}']{rest})"


def _samples(arrays: dict[str | None, Blocks], y: Blocks | None) -> Samples:
    return Samples(x=arrays[None] if None in arrays else {str(n): b for n, b in arrays.items()}, y=y)


def open_npy(path: Path, reference: str, *, limit: int | None) -> Samples:
    """Return the samples of an `.npy` file; its first axis counts them."""

    return Samples(x=_file(path, "x", reference, limit), y=None)


def _file(path: Path, name: str, reference: str, limit: int | None) -> Blocks:
    with path.open("rb") as stream:
        yield from _blocks(stream, path, name, reference, limit)


def _member(path: Path, name: str, reference: str, limit: int | None) -> Blocks:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        yield from _blocks(stream, path, name, reference, limit)


def _check_counts(
    shapes: dict[str, tuple[int, ...]], arrays: list[str], labels: list[str], reference: str
) -> None:
    """Raise `dataset-counts` or `dataset-labels` where arrays differ in length, before anything is copied (and before
    `limit` hides it)."""
    first = shapes[arrays[0]]
    for name in (*arrays[1:], *labels):
        if shapes[name][:1] == first[:1]:
            continue
        words = "labels" if name in labels else "samples"
        raise InputError(
            "dataset-labels" if name in labels else "dataset-counts",
            f"{arrays[0]} has {first[0]} samples and {name} has {shapes[name][0] if shapes[name] else 'no'} {words}",
            context={"dataset": reference} | {n: list(shapes[n]) for n in (arrays[0], name)},
            hint=f"give one {'label' if name in labels else 'entry'} a sample: len({arrays[0]}) == len({name})",
        )


def _header(
    stream: IO[bytes], path: Path, name: str, reference: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return (shape, column-major, dtype) of the array that `stream` begins with."""
    try:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise _corrupt(reference, path, error) from None
    if dtype.hasobject:
        raise InputError(
            "dataset-pickled",
            f"{name} is an array of Python objects, which edgeship never loads because it may run any code",
            context={
                "dataset": reference,
                "dtype": dtype,
                "wanted": "an array of numbers, all samples of one shape",
            },
            hint=f"save numbers: x = numpy.stack(samples); {SAVE}",
        )
    if len(shape) == 0:
        raise InputError(
            "dataset-shape",
            f"{name} is a single number, not an array of samples",
            context={"dataset": reference, "wanted": "[samples, ...]"},
            hint=SAVE,
        )
    return shape, fortran, dtype


def _blocks(
    stream: IO[bytes], path: Path, name: str, reference: str, limit: int | None
) -> Iterator[NDArray[Any]]:
    """Yield `[k, ...]` blocks of some megabytes, at most `limit` samples in all."""
    shape, fortran, dtype = _header(stream, path, name, reference)
    count = shape[0] if limit is None else min(shape[0], limit)
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    try:
        if fortran and len(shape) > 1:  # samples lie interleaved: the array must be read whole
            raw = np.frombuffer(_exactly(stream, row * shape[0]), dtype=dtype)
            yield raw.reshape(shape[::-1]).T[:count]
            return
        step = max(1, BLOCK_BYTES // max(row, 1))
        for start in range(0, count, step):
            rows = min(step, count - start)
            yield np.frombuffer(_exactly(stream, rows * row), dtype=dtype).reshape(rows, *shape[1:])
    except (EOFError, OSError, zipfile.BadZipFile, ValueError) as error:
        raise _corrupt(reference, path, error) from None


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError(f"{size - len(data)} bytes are missing at the end")
    return data


def _corrupt(reference: str, path: Path, error: Exception) -> InputError:
    return InputError(
        "dataset-corrupt",
        f"the file is no whole {path.suffix} file: {error}",
        context={"dataset": reference, "bytes": path.stat().st_size},
        hint=f"copy it again, or make it again with {SAVE}",
    )
