"""Datasets that are images with boxes: a folder with a COCO annotations file, as COCO, Roboflow and CVAT have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeship.data.images import read_files
from edgeship.data.pictures import opened, orientation
from edgeship.data.samples import Reading, Samples
from edgeship.errors import InputError
from edgeship.progress import Progress

NAMES = ("_annotations.coco.json", "annotations.json", "instances.json", "result.json")
PATTERN = "instances_*.json"
LISTS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
COLUMNS = 7
"""Class (-1: none), the category's own id, x1, y1, x2, y2 in fractions of the image, crowd."""


def annotations_in(folder: Path) -> Path | None:
    """Return the annotations file of a folder of images, or None: in it, or in `annotations/` below it."""
    for place in (folder, folder / "annotations"):
        named = [place / name for name in NAMES if (place / name).is_file()]
        found = named or (sorted(place.glob(PATTERN)) if place.is_dir() else [])
        if found and _is_meant(found[0]):
            return found[0]
    return None


def _is_meant(file: Path) -> bool:
    """Return whether a file is an annotations file: by a name that only these have, or by what it holds."""
    if "coco" in file.name or file.name.startswith("instances_"):
        return True
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and set(LISTS) <= set(document)


def open_coco(file: Path, reference: str, reading: Reading, *, progress: Progress) -> Samples:
    """Return the images of an annotations file and their boxes: `[boxes, 7]` an image, filled up with class -1.

    Classes are the categories by their ids, or by their place in `reading.classes` where there are any. A category
    that only stands above others (Roboflow's first) is none. Raises InputError `dataset-coco`, `dataset-shapes-differ`,
    `dataset-image-broken`.
    """
    document = _document(file, reference)
    images = sorted(document["images"], key=lambda image: str(image["file_name"]))
    if reading.limit is not None:
        images = images[: reading.limit]
    names = _classes(document, reading.classes, reference)
    by_image: dict[Any, list[list[float]]] = {image["id"]: [] for image in images}
    sizes = {image["id"]: (float(image["width"]), float(image["height"])) for image in images}
    paths = {image["id"]: _where(file, image["file_name"], reference) for image in images}
    ways = {image["id"]: _way(paths[image["id"]], sizes[image["id"]], reference) for image in images}
    for entry in document["annotations"]:
        if entry["image_id"] in by_image and entry["category_id"] in names:
            left, top, wide, high = (float(v) for v in entry["bbox"])
            width, height = sizes[entry["image_id"]]
            raw = (left / width, top / height, (left + wide) / width, (top + high) / height)
            corners = upright_box(raw, ways[entry["image_id"]])
            row = [
                names[entry["category_id"]],
                entry["category_id"],
                *corners,
                float(bool(entry.get("iscrowd", 0))),
            ]
            by_image[entry["image_id"]].append(row)
    most = max(1, max((len(rows) for rows in by_image.values()), default=0))
    y = np.full((len(images), most, COLUMNS), -1.0, np.float64)
    y[..., 6] = 0.0
    for place, image in enumerate(images):
        if rows := by_image[image["id"]]:
            y[place, : len(rows)] = rows
    count = max(names.values()) + 1
    classes = tuple(reading.classes) or _names(document, names, count)
    return read_files(
        [paths[image["id"]] for image in images], iter([y]), classes, reference, reading, progress
    )


def _way(path: Path, size: tuple[float, float], reference: str) -> int:
    """Return the orientation that an image's boxes still lack: its own where they were drawn on the pixels as stored,
    else 1."""
    image = opened(path, reference)
    way = orientation(image)
    stored = (float(image.width), float(image.height))
    image.close()
    return way if way >= 5 and size == stored and size != stored[::-1] else 1


def upright_box(box: tuple[float, float, float, float], way: int) -> list[float]:
    """Return (left, top, right, bottom), 0..1, of pixels as stored as they are once an EXIF orientation is applied."""
    left, top, right, bottom = box
    if way == 5:
        return [top, left, bottom, right]
    if way == 6:
        return [1 - bottom, left, 1 - top, right]
    if way == 7:
        return [1 - bottom, 1 - right, 1 - top, 1 - left]
    if way == 8:
        return [top, 1 - right, bottom, 1 - left]
    return [left, top, right, bottom]


def _document(file: Path, reference: str) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(file, reference, f"it cannot be read: {error}") from None
    for name, keys in LISTS.items():
        held = document.get(name) if isinstance(document, dict) else None
        if not isinstance(held, list):
            raise _wrong(file, reference, f"it has no list '{name}'")
        for number, entry in enumerate(held):
            missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise _wrong(file, reference, f"{name}[{number}] has no '{missing[0]}'")
            bad = [key for key in keys if key.endswith("id") and not isinstance(entry[key], int)]
            if bad:
                raise _wrong(file, reference, f"{name}[{number}].{bad[0]} is no whole number")
    for number, image in enumerate(document["images"]):
        if not all(_is_number(image[key]) and image[key] > 0 for key in ("width", "height")):
            raise _wrong(file, reference, f"images[{number}] has no width and height above 0")
    for number, entry in enumerate(document["annotations"]):
        box = entry["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box)):
            raise _wrong(
                file, reference, f"annotations[{number}] has no box of four numbers (x, y, width, height)"
            )
    if not document["images"] or not document["categories"]:
        raise _wrong(file, reference, "it names no images or no categories")
    return dict(document)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _classes(document: dict[str, Any], wanted: Sequence[str], reference: str) -> dict[Any, int]:
    """Return category id -> class. Raises InputError `dataset-classes` where a category with boxes has no class."""
    used = {entry["category_id"] for entry in document["annotations"]}
    above = {category.get("supercategory") for category in document["categories"]}
    held = [c for c in document["categories"] if c["id"] in used or c["name"] not in above]
    held = sorted(held, key=lambda category: category["id"])
    if not wanted:
        return {category["id"]: number for number, category in enumerate(held)}
    foreign = [c["name"] for c in held if c["id"] in used and list(wanted).count(c["name"]) != 1]
    if foreign:
        raise InputError(
            "dataset-classes",
            f"a category is no class of the model: '{foreign[0]}' is not among the labels, or more than once",
            context={"dataset": reference, "categories": ", ".join(str(c["name"]) for c in held),
                     "labels": ", ".join(wanted)},
            hint="name categories as labels: says in edgeship.yaml, letter by letter, or leave labels: out",
        )  # fmt: skip
    return {c["id"]: list(wanted).index(c["name"]) for c in held if c["name"] in wanted}


def _names(document: dict[str, Any], numbers: dict[Any, int], count: int) -> tuple[str, ...]:
    named = {numbers[c["id"]]: str(c["name"]) for c in document["categories"] if c["id"] in numbers}
    return tuple(named.get(number, str(number)) for number in range(count))


def _where(file: Path, name: str, reference: str) -> Path:
    """Return an image of an annotations file: beside it, in `images/`, or in the folder that its name ends in."""
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    part = file.stem.removeprefix("instances_")
    for folder in (file.parent, base, base / "images", base / part, base / "images" / part):
        if (folder / name).is_file():
            return folder / name
    raise _wrong(file, reference, f"its image {name} is not there")


def _wrong(file: Path, reference: str, why: str) -> InputError:
    return InputError(
        "dataset-coco",
        f"the annotations are not as COCO has them: {why}",
        context={"dataset": reference, "file": file, "wanted": "images, annotations (bbox: x, y, width, height in "
                 "pixels) and categories"},
        hint="export the set as COCO JSON, images beside it",
    )  # fmt: skip
