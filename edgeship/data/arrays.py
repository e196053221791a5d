"""Datasets in NumPy's own files, read in blocks: an `.npz` need not fit into memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeship.data.samples import Samples
from edgeship.errors import InputError
from edgeship.registry import did_you_mean

BLOCK_BYTES = 8 << 20
SAVE = "numpy.savez('data.npz', x=x, y=y)"


def open_npz(path: Path, reference: str, *, limit: int | None) -> Samples:
    """Return the samples of an `.npz` that holds `x` and perhaps `y`.

    Raises InputError `dataset-corrupt` (no zip, cut short), `dataset-keys` (other names), `dataset-pickled`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _corrupt(reference, path, error) from None
    if "x" not in names:
        near = did_you_mean("x", names) or next(
            (n for n in names if n.lower() in ("x_test", "x_train")), None
        )
        raise InputError(
            "dataset-keys",
            "the .npz holds no array named x",
            context={
                "dataset": reference,
                "holds": ", ".join(names) or "nothing",
                "wanted": "x, and y for labels",
            },
            hint=f"did you mean '{near}'? save it as x: numpy.savez('data.npz', x=data['{near}'])"
            if near
            else SAVE,
        )
    extra = sorted(set(names) - {"x", "y"})
    near = did_you_mean("y", extra) or next(
        (n for n in extra if n.lower() in ("labels", "label", "targets")), None
    )
    if "y" not in names and near:
        raise InputError(
            "dataset-keys",
            f"the .npz holds '{near}' where labels are called y",
            context={"dataset": reference, "holds": ", ".join(names), "wanted": "x, and y for labels"},
            hint=f"d = numpy.load('{path.name}'); numpy.savez('data.npz', x=d['x'], y=d['{near}'])",
        )
    if "y" in names:
        _check_counts(path, reference, limit)
    return Samples(
        x=_member(path, "x", reference, limit),
        y=_member(path, "y", reference, limit) if "y" in names else None,
    )


def open_npy(path: Path, reference: str, *, limit: int | None) -> Samples:
    """Return the samples of an `.npy` file; its first axis counts them."""

    def blocks() -> Iterator[NDArray[Any]]:
        with path.open("rb") as stream:
            yield from _blocks(stream, path, "x", reference, limit)

    return Samples(x=blocks(), y=None)


def _member(path: Path, name: str, reference: str, limit: int | None) -> Iterator[NDArray[Any]]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        yield from _blocks(stream, path, name, reference, limit)


def _check_counts(path: Path, reference: str, limit: int | None) -> None:
    """Raise `dataset-labels` where x and y differ in length, before anything is copied (and before `limit`
    hides it)."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in ("x", "y"):
            with archive.open(f"{name}.npy") as stream:
                shapes[name], _, _ = _header(stream, path, name, reference)
    if shapes["x"][:1] != shapes["y"][:1]:
        raise InputError(
            "dataset-labels",
            f"x has {shapes['x'][0]} samples and y has {shapes['y'][0] if shapes['y'] else 'no'} labels",
            context={"dataset": reference, "x": list(shapes["x"]), "y": list(shapes["y"])},
            hint="give one label a sample: len(x) == len(y)",
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
