"""A dataset, read once and checked, as `.npy` files that every later step maps into memory:
`load_dataset(...)`."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.arrays import holds_arrays, open_arrays, open_npy, open_npz
from edgeship.data.coco import annotations_in, open_coco
from edgeship.data.images import holds_images, open_images
from edgeship.data.samples import Reading, Samples
from edgeship.data.sink import Sink
from edgeship.data.table import open_table, table_in
from edgeship.digest import sha256_json
from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress, Silent
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import ArrayInfo, Dataset, DatasetInfo

CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
COLLECT = "edgeship.data.callables:collect"
FORMS = (
    ".npz with x and optional y (an array an input, by its name, for models of several inputs), .npy, a folder of "
    ".npy files named so, a folder of images (a sub-folder a class, or a COCO annotations file), a .csv table, or "
    "package.module:callable"
)


def load_dataset(
    reference: str,
    work: Path,
    reading: Reading,
    *,
    progress: Progress | None = None,
    limits: WorkerLimits | None = None,
) -> Dataset:
    """Return the dataset that `reference` names, its samples copied into `work` and checked on the way.

    Doubles become float32, labels `[n, 1]` become `[n]`, integer labels int64.

    Raises InputError: `dataset-not-found`, `dataset-unknown-form`, `dataset-empty`, `dataset-not-finite`,
    `dataset-not-numbers`, `dataset-keys`, `dataset-counts`, `dataset-table`, `dataset-labels`,
    `dataset-shapes-differ`, `dataset-corrupt`, `dataset-pickled`, `dataset-image-broken`, `dataset-folder`,
    `dataset-classes`, `dataset-coco`, `dataset-callable`, `dataset-callable-failed`.
    """
    show = progress or Silent()
    role, limit = reading.role, reading.limit
    if limit is not None and limit < 1:
        raise InputError("dataset-limit", f"a limit of {limit} samples leaves none", hint="give 1 or more")
    work.mkdir(parents=True, exist_ok=True)
    root = reading.base or Path.cwd()
    path = root / Path(reference).expanduser()
    show.step(f"reading the {role} data {reference}")
    there, why = _looked_for(path)
    if not there and CALLABLE.fullmatch(reference):
        return _from_callable(reference, work, reading, root, show, limits or WorkerLimits())
    if not there:
        raise InputError(
            "dataset-not-found",
            f"there is no such {role} data" + (f", or none that can be read: {why}" if why else ""),
            context={"dataset": reference, "looked for": path, "a dataset is": FORMS},
            hint=f"ls {shlex.quote(str(path.parent))}",
        )
    annotations = path if path.suffix.lower() == ".json" else annotations_in(path) if path.is_dir() else None
    several = len(reading.inputs) != 1
    # For a model of one input, a table or arrays beside images say nothing.
    if annotations is not None:
        samples = open_coco(annotations, reference, reading, progress=show)
    elif path.is_dir() and several and (table := table_in(path, reference)):
        samples = open_table(table, reference, reading, progress=show)
    elif path.is_dir() and holds_arrays(path) and (several or not holds_images(path)):
        samples = open_arrays(path, reference, reading)
    elif path.is_dir():
        samples = open_images(path, reference, reading, progress=show)
    elif path.suffix.lower() == ".csv":
        samples = open_table(path, reference, reading, progress=show)
    elif path.suffix.lower() == ".npz":
        samples = open_npz(path, reference, reading)
    elif path.suffix.lower() == ".npy":
        samples = open_npy(path, reference, limit=limit)
    else:
        raise InputError(
            "dataset-unknown-form",
            f"{path.suffix or 'a file without a suffix'} is no form of dataset",
            context={"dataset": reference, "a dataset is": FORMS},
            hint="numpy.savez('data.npz', x=x, y=y) makes one",
        )
    return store(samples, reference, work, role)


def _looked_for(path: Path) -> tuple[bool, str | None]:
    """Return whether there is such a file or folder, and why the system does not tell, where it does not."""
    try:
        return path.exists(), None
    except OSError as error:
        return False, error.strerror


def store(samples: Samples, reference: str, work: Path, role: str) -> Dataset:
    """Write samples into `work` under names made of their digest and return the dataset."""
    with ExitStack() as stack:
        arrays = {
            name: stack.enter_context(open_sink(name, reference, work, role, number))
            for number, name in enumerate(samples.by_name)
        }
        y = stack.enter_context(open_sink("y", reference, work, role))
        for name, blocks in samples.by_name.items():
            for block in blocks:
                arrays[name].add(block)
        for block in samples.y or ():
            y.add(labels(block))
        kept = tuple(arrays.items())
        made = finish(kept, y if samples.y is not None else None, reference, work, role, samples.classes)
    return replace(
        made,
        info=replace(
            made.info,
            arrays=tuple(
                replace(array, typed=array.name not in samples.untyped) for array in made.info.arrays
            ),
        ),
    )


def open_sink(what: str | None, reference: str, work: Path, role: str, number: int | None = None) -> Sink:
    """Return where an array of a dataset is written until it is whole.

    `what` it is called, None: the only one, x. `number`: the input's place; None: these are the labels.
    """
    part = work / f"{role}.{'y' if number is None else f'x{number}'}.{os.getpid()}.part"
    return Sink(part, what=what or "x", reference=reference, role=role)


def finish(
    arrays: Sequence[tuple[str | None, Sink]],
    y: Sink | None,
    reference: str,
    work: Path,
    role: str,
    classes: tuple[str, ...],
) -> Dataset:
    """Close the sinks, give the files names made of their digest and return the dataset."""
    first = arrays[0][1]
    for _, sink in arrays:
        sink.close()
        if sink.count != first.count:
            raise InputError(
                "dataset-counts",
                f"{first.what} has {first.count} samples and {sink.what} has {sink.count}",
                context={
                    "dataset": reference,
                    "samples": ", ".join(f"{s.what} {s.count}" for _, s in arrays),
                },
                hint=f"give each input one entry a sample: len({first.what}) == len({sink.what})",
            )
    if y is not None and y.count != first.count:
        raise InputError(
            "dataset-labels",
            f"{first.what} has {first.count} samples and y has {y.count} labels",
            context={"dataset": reference},
            hint=f"give one label a sample: len({first.what}) == len(y)",
        )
    if y is not None:
        y.close()
    sha256 = sha256_json(_described(arrays) | ({"y": y.describe()} if y is not None else {}))
    alone = len(arrays) == 1
    paths = [
        _kept(sink, work / f"{role}-{sha256[:16]}.{'x' if alone else f'x{number}'}.npy")
        for number, (_, sink) in enumerate(arrays)
    ]
    info = DatasetInfo(
        reference=reference,
        sha256=sha256,
        count=first.count,
        arrays=tuple(
            ArrayInfo(
                name=name,
                shape=sink.shape or (),
                dtype=str(sink.dtype),
                minimum=sink.minimum,
                maximum=sink.maximum,
            )
            for name, sink in arrays
        ),
        labelled=y is not None,
        classes=classes,
    )
    y_path = _kept(y, work / f"{role}-{sha256[:16]}.y.npy") if y is not None else None
    return Dataset(info=info, paths=tuple(paths), y_path=y_path)


def _described(arrays: Sequence[tuple[str | None, Sink]]) -> dict[str, Any]:
    """Return what the digest of a dataset is made of, but for its labels."""
    if len(arrays) == 1:
        return {"x": arrays[0][1].describe()}
    return {"inputs": [[name, sink.describe()] for name, sink in arrays]}


def _kept(sink: Sink, path: Path) -> Path:
    """Give a finished file its name."""
    return sink.path.replace(path)


def labels(y: NDArray[Any]) -> NDArray[Any]:
    """Return labels as `[n]` int64 class indices, or float targets `[n, ...]` as they are."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return y.astype(np.int64) if y.dtype.kind in "biu" else y


def _from_callable(
    reference: str, work: Path, reading: Reading, root: Path, show: Progress, limits: WorkerLimits
) -> Dataset:
    """Let a worker process call the user's code (it may import anything) and write the samples."""
    with tempfile.TemporaryDirectory(
        dir=work, prefix=f"{reading.role}-"
    ) as scratch:  # gone, too, if the code kills itself
        try:
            result = run_worker(
                COLLECT,
                {
                    "reference": reference,
                    "work": str(Path(scratch).resolve()),
                    "role": reading.role,
                    "limit": reading.limit,
                    "inputs": list(reading.inputs),
                    "root": str(root),
                },
                progress=show,
                limits=limits,
                python_path=(root.resolve(),),
            )
        except InputError:
            raise
        except EdgeshipError as error:
            raise InputError(
                "dataset-callable-failed",
                f"{reference} did not come back: {error.message.removeprefix(COLLECT).strip()}",
                context=error.context,
                hint="have it yield a few samples alone first; samples are wanted one at a time, not all in memory",
            ) from None
        info = dict(result.value["info"])
        info["classes"] = tuple(info["classes"])
        info["arrays"] = tuple(ArrayInfo(**{**one, "shape": tuple(one["shape"])}) for one in info["arrays"])
        paths = tuple(Path(made).replace(work / Path(made).name) for made in result.value["paths"])
        made = result.value["y_path"]
        y_path = Path(made).replace(work / Path(made).name) if made else None
    return Dataset(info=DatasetInfo(**info), paths=paths, y_path=y_path)
