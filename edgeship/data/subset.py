"""Some rows of a dataset as a dataset of its own: `subset(...)`, and the rows that two datasets share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.digest import sha256_json
from edgeship.values import Dataset, PreparedSamples
from edgeship.whole import whole

Rows = NDArray[np.int64]


def subset(dataset: Dataset, rows: Rows, work: Path, name: str) -> Dataset:
    """Return rows of a dataset, in this order, written into `work`; called `<reference> (<name>)`."""
    digest = _digest(dataset.info.sha256, rows)
    paths = tuple(_taken(path, rows, work, digest) for path in dataset.paths)
    labels = None if dataset.y_path is None else _taken(dataset.y_path, rows, work, digest)
    info = replace(
        dataset.info, reference=f"{dataset.info.reference} ({name})", sha256=digest, count=len(rows)
    )
    return replace(dataset, info=info, paths=paths, y_path=labels)


def prepared_subset(prepared: PreparedSamples, rows: Rows, work: Path) -> PreparedSamples:
    """Return rows of prepared samples, in this order, written into `work`."""
    digest = _digest(prepared.sha256, rows)
    return PreparedSamples(
        paths=tuple(_taken(path, rows, work, digest) for path in prepared.paths), sha256=digest
    )


def shared_rows(dataset: Dataset, others: Sequence[Dataset]) -> Rows:
    """Return the rows of `dataset` whose sample stands in one of `others`, byte for byte."""
    known = {digest for other in others for digest in _digests(other)}
    return np.array([k for k, digest in enumerate(_digests(dataset)) if digest in known], np.int64)


def _digests(dataset: Dataset) -> list[bytes]:
    arrays = [np.load(path, mmap_mode="r") for path in dataset.paths]
    found = []
    for k in range(dataset.info.count):
        hashed = hashlib.sha256()
        for array in arrays:
            hashed.update(np.ascontiguousarray(array[k]).tobytes())
        found.append(hashed.digest())
    return found


def _digest(source: str, rows: Rows) -> str:
    return sha256_json({"of": source, "rows": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()})


def _taken(path: Path, rows: Rows, work: Path, digest: str) -> Path:
    """Return the file of some rows of an `.npy`; one that is there is whole, for it is renamed when it is."""
    made = work / f"{path.stem}-{digest[:16]}.npy"
    if not made.exists():
        source: NDArray[Any] = np.load(path, mmap_mode="r")
        with whole(made) as part:
            target = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                part, mode="w+", dtype=source.dtype, shape=(len(rows), *source.shape[1:])
            )
            for start in range(0, len(rows), 1024):
                target[start : start + 1024] = source[rows[start : start + 1024]]
            target.flush()
            del target
    return made
