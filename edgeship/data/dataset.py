"""A dataset, read once and checked, as `.npy` files that every later step maps into memory:
`load_dataset(...)`."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeship.data.arrays import open_npy, open_npz
from edgeship.data.coco import annotations_in, open_coco
from edgeship.data.images import open_images
from edgeship.data.samples import Reading, Samples
from edgeship.data.sink import Sink
from edgeship.digest import sha256_json
from edgeship.errors import EdgeshipError, InputError
from edgeship.progress import Progress, Silent
from edgeship.toolchain import WorkerLimits, run_worker
from edgeship.values import Dataset, DatasetInfo

CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
COLLECT = "edgeship.data.callables:collect"
FORMS = (
    ".npz with x and optional y, .npy, a folder of images (a sub-folder a class, or a COCO annotations file), or "
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
    `dataset-not-numbers`, `dataset-keys`, `dataset-labels`, `dataset-shapes-differ`, `dataset-corrupt`,
    `dataset-pickled`, `dataset-image-broken`, `dataset-folder`, `dataset-classes`, `dataset-coco`, `dataset-callable`,
    `dataset-callable-failed`.
    """
    show = progress or Silent()
    role, limit = reading.role, reading.limit
    if limit is not None and limit < 1:
        raise InputError("dataset-limit", f"a limit of {limit} samples leaves none", hint="give 1 or more")
    work.mkdir(parents=True, exist_ok=True)
    root = reading.base or Path.cwd()
    path = root / Path(reference).expanduser()
    show.step(f"reading the {role} data {reference}")
    if not path.exists() and CALLABLE.fullmatch(reference):
        return _from_callable(reference, work, reading, root, show, limits or WorkerLimits())
    if not path.exists():
        raise InputError(
            "dataset-not-found",
            f"there is no such {role} data",
            context={"dataset": reference, "looked for": path, "a dataset is": FORMS},
            hint=f"ls {shlex.quote(str(path.parent))}",
        )
    annotations = path if path.suffix.lower() == ".json" else annotations_in(path) if path.is_dir() else None
    if annotations is not None:
        samples = open_coco(annotations, reference, reading, progress=show)
    elif path.is_dir():
        samples = open_images(path, reference, reading, progress=show)
    elif path.suffix.lower() == ".npz":
        samples = open_npz(path, reference, limit=limit)
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


def store(samples: Samples, reference: str, work: Path, role: str) -> Dataset:
    """Write samples into `work` under names made of their digest and return the dataset."""
    with open_sink("x", reference, work, role) as x, open_sink("y", reference, work, role) as y:
        for block in samples.x:
            x.add(block)
        for block in samples.y or ():
            y.add(labels(block))
        return finish(x, y if samples.y is not None else None, reference, work, role, samples.classes)


def open_sink(what: Literal["x", "y"], reference: str, work: Path, role: str) -> Sink:
    """Return where an array of a dataset is written until it is whole."""
    return Sink(work / f"{role}.{what}.{os.getpid()}.part", what=what, reference=reference, role=role)


def finish(
    x: Sink, y: Sink | None, reference: str, work: Path, role: str, classes: tuple[str, ...]
) -> Dataset:
    """Close the sinks, give the files names made of their digest and return the dataset."""
    x.close()
    if y is not None and y.count != x.count:
        raise InputError(
            "dataset-labels",
            f"x has {x.count} samples and y has {y.count} labels",
            context={"dataset": reference},
            hint="give one label a sample: len(x) == len(y)",
        )
    sinks = {"x": x}
    if y is not None:
        y.close()
        sinks["y"] = y
    sha256 = sha256_json({name: sink.describe() for name, sink in sinks.items()})
    final = {name: work / f"{role}-{sha256[:16]}.{name}.npy" for name in sinks}
    for name, sink in sinks.items():
        sink.path.replace(final[name])
    assert x.shape is not None
    info = DatasetInfo(
        reference=reference,
        sha256=sha256,
        count=x.count,
        shape=x.shape,
        dtype=str(x.dtype),
        minimum=x.minimum,
        maximum=x.maximum,
        labelled=y is not None,
        classes=classes,
    )
    return Dataset(info=info, x_path=final["x"], y_path=final.get("y"))


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
        info["shape"], info["classes"] = tuple(info["shape"]), tuple(info["classes"])
        kept = {
            name: Path(made).replace(work / Path(made).name)
            for name in ("x_path", "y_path")
            if (made := result.value[name])
        }
    return Dataset(info=DatasetInfo(**info), x_path=kept["x_path"], y_path=kept.get("y_path"))
