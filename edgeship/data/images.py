"""Datasets that are folders of images: one sub-folder a class, or one folder without labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeship.data.pictures import Common, pixels, survey
from edgeship.data.preprocess import resize as resize_images
from edgeship.data.samples import Reading, Samples
from edgeship.errors import InputError
from edgeship.progress import Progress
from edgeship.values import Resize

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
TF_DATA = "dataset_spec.pb"
"""What `tf.data.Dataset.save` writes beside the samples."""
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "eval"}


def open_images(
    folder: Path,
    reference: str,
    reading: Reading,
    *,
    progress: Progress,
) -> Samples:
    """Return the images of a folder as `[height, width, channels]`, in sorted order: uint8, or what `survey` says.

    Classes are the sub-folders' names, numbered by their place in `reading.classes` where there are any, else
    sorted. All images get the channels of the model's input and one number of bits, and stand upright; what that
    changes is told once. Sizes must agree, or `reading.resize` says which to bring them to. Raises InputError
    `dataset-folder`, `dataset-classes`, `dataset-image-broken`, `dataset-image-depths`, `dataset-shapes-differ`.
    """
    classes = reading.classes
    files, folders = _list(folder, reference, reading.limit)
    if folders and classes:
        numbers = _numbers(folders, classes, folder, reference)
        files, folders = [(path, numbers[index]) for path, index in files], classes
    y = iter([np.asarray([label for _, label in files], dtype=np.int64)]) if folders else None
    return read_files([path for path, _ in files], y, folders, reference, reading, progress)


def read_files(
    paths: list[Path],
    y: Iterator[NDArray[Any]] | None,
    classes: tuple[str, ...],
    reference: str,
    reading: Reading,
    progress: Progress,
) -> Samples:
    """Return the images in `paths`, in this order, with their labels; see `open_images` for how they are read."""
    channels = reading.channels.get("")
    x = read_images(paths, reference, reading.resize, reading.wanted, progress, channels=channels)
    return Samples(x=x, y=y, classes=classes)


def holds_images(folder: Path) -> bool:
    """Return whether a folder, or one in it, holds images."""
    return bool(_images(folder)) or any(_images(p) for p in folder.iterdir() if p.is_dir())


def read_images(
    paths: Sequence[Path],
    reference: str,
    resize: Resize | None,
    wanted: Resize | None,
    progress: Progress,
    *,
    name: str | None = None,
    channels: int | None = None,
) -> Iterator[NDArray[Any]]:
    """Return `[1, height, width, channels]` blocks of images, one kind and size for all of them.

    `wanted` is the size and `channels` the number of channels that the model takes, where they are known, `name` the
    input where there are several. Raises InputError `dataset-image-broken`, `dataset-image-depths`,
    `dataset-shapes-differ`.
    """
    common = survey(paths, reference, channels)
    sizes = common.sizes
    if len(sizes) > 1 and resize is None:
        (first, a), (second, b) = list(sizes.items())[:2]
        raise InputError(
            "dataset-shapes-differ",
            "the images have several sizes, and a model takes one",
            context={
                "dataset": reference,
                str(a): f"{first[0]} x {first[1]}",
                str(b): f"{second[0]} x {second[1]}",
            },
            hint=_size_hint(wanted, name),
        )
    if len(sizes) > 1:
        assert resize is not None
        progress.note(
            f"images of {len(sizes)} sizes are brought to {resize.height} x {resize.width} while they are read; "
            "clients of the service will have to send that size, too"
        )
    for line in common.told:
        progress.note(f"{name or reference}: {line}")
    return _pixels(paths, common, resize if len(sizes) > 1 else None, reference, progress)


def _list(folder: Path, reference: str, limit: int | None) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """Return [(file, class index)] and the classes; with `limit`, files are taken from each class in turn."""
    loose = _images(folder)
    below = {
        p.name: _images(p) for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")
    }
    classes = tuple(below) if any(below.values()) else ()  # an empty folder is a class too, as in Keras
    if loose and classes:
        raise _folder(
            reference,
            "the folder holds both images and sub-folders of images: are there classes or not?",
            {"images": len(loose), "sub-folders": ", ".join(classes[:8])},
            "move the loose images into their classes' folders",
        )
    if not loose and not classes:
        if (folder / TF_DATA).is_file():
            raise _folder(
                reference,
                "the folder holds a saved tf.data.Dataset",
                {"wanted": "arrays, images, or a function that yields samples"},
                f"echo \"import tensorflow as tf; samples = lambda: tf.data.Dataset.load('{folder}')\" > saved.py, and "
                "give saved:samples",
            )
        deeper = {
            str(p.parent.parent.relative_to(folder))
            for p in folder.glob("*/*/*")
            if p.suffix.lower() in SUFFIXES
        }
        hint = f"did you mean {folder / sorted(deeper)[0]}?" if deeper else f"ls {shlex.quote(str(folder))}"
        raise _folder(reference, "the folder holds no images", {"wanted": " ".join(sorted(SUFFIXES))}, hint)
    if classes and {name.lower() for name in classes} <= SPLITS:
        raise _folder(
            reference,
            "the sub-folders look like parts of a dataset, not like classes",
            {"sub-folders": ", ".join(classes)},
            f"give one of them: {folder / classes[0]}",
        )
    groups = [[(path, index) for path in below[name]] for index, name in enumerate(classes)]
    if not classes:
        groups = [[(path, 0) for path in loose]]
    if limit is None:
        return [entry for group in groups for entry in group], classes
    turns = [entry for turn in zip_longest(*groups) for entry in turn if entry is not None]
    return turns[:limit], classes


def _numbers(folders: Sequence[str], classes: Sequence[str], folder: Path, reference: str) -> list[int]:
    """Return the place of each folder's name in `classes`. Raises InputError `dataset-classes` where one has none."""
    from edgeship.project.labels import name_in  # workers that run callables need none of the settings

    labels = list(classes)
    folders = [name_in(name, labels) for name in folders]
    foreign = [name for name in folders if labels.count(name) != 1]
    if foreign:
        raise InputError(
            "dataset-classes",
            f"a folder is no class of the model: '{foreign[0]}' stands {labels.count(foreign[0])} times "
            "among the labels, not once",
            context={
                "dataset": reference,
                "folders": ", ".join(folders),
                "labels": ", ".join(labels),
            },
            hint=f"name folders as labels: says in edgeship.yaml, letter by letter: ls {shlex.quote(str(folder))}",
        )
    return [labels.index(name) for name in folders]


def _size_hint(wanted: Resize | None, name: str | None) -> str:
    size = f"height: {wanted.height}, width: {wanted.width}" if wanted else "height: H, width: W"
    setting = f"resize: {{{size}}}"
    key = f"preprocess: {{{name}: {{{setting}}}}}" if name else f"preprocess: {{{setting}}}"
    if wanted is None:
        return f"say in edgeship.yaml which size the model takes (edgeship inspect MODEL shows it):  {key}"
    return f"the model takes this size; say so in edgeship.yaml:  {key}"


def _images(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def _pixels(
    paths: Sequence[Path], common: Common, to: Resize | None, reference: str, progress: Progress
) -> Iterator[NDArray[Any]]:
    """Yield one `[1, height, width, channels]` block an image."""
    for done, path in enumerate(paths):
        block = pixels(path, common, reference)[np.newaxis]
        if to:
            resized = resize_images(block, to)
            block = (np.rint(resized) if block.dtype.kind in "iu" else resized).astype(block.dtype)
        yield block
        if done % 100 == 99:
            progress.advance(done + 1, len(paths), "images")


def _folder(reference: str, message: str, context: dict[str, object], hint: str) -> InputError:
    return InputError("dataset-folder", message, context={"dataset": reference, **context}, hint=hint)
