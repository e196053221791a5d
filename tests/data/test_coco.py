"""Folders of images with COCO annotations, as COCO, Roboflow and others lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.values import Dataset, Resize

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]


def document(**changes: Any) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "b.png", "width": 40, "height": 20},
              {"id": 5, "file_name": "a.png", "width": 20, "height": 20}]  # fmt: skip
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [10, 5, 20, 10], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 20], "iscrowd": 1},
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES, **changes}


def folder_with(folder: Path, said: Any, *, name: str = "annotations.json", images: str = ".") -> Path:
    (folder / images).mkdir(parents=True, exist_ok=True)
    for file, width in (("a.png", 20), ("b.png", 40)):
        Image.new("RGB", (width, 20), (width, 0, 0)).save(folder / images / file)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(said if isinstance(said, str) else json.dumps(said))
    return folder


def read(folder: Path, work: Path, **reading: Any) -> Dataset:
    asked = Reading(role="evaluation", resize=Resize(height=10, width=10), **reading)
    return load_dataset(str(folder), work, asked)


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("annotations.json", "."),
        ("_annotations.coco.json", "."),
        ("annotations.json", "images"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val.json", "images/val"),
    ],
)
def test_layouts(name: str, images: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "set", document(), name=name, images=images)
    held = read(folder, tmp_path / "work")
    assert held.y_path is not None
    x, y = np.load(held.x_path), np.load(held.y_path)
    assert x.shape == (2, 10, 10, 3) and x[:, 0, 0, 0].tolist() == [20, 40], "by file name"
    assert (y[0, :, 0] == -1).all()
    assert y[1].tolist() == [[1, 90, 0.25, 0.25, 0.75, 0.75, 0], [0, 3, 0, 0, 1, 1, 1]]
    assert held.info.classes == ("cat", "dog")
    again = load_dataset(
        str(folder / name), tmp_path / "again", Reading(role="evaluation", resize=Resize(height=10, width=10))
    )
    assert again.info.sha256 == held.info.sha256, "the file itself names the set as well"


def test_labels_say_the_order_and_what_stands_above_is_no_class(tmp_path: Path) -> None:
    above = [{"id": 0, "name": "pets", "supercategory": "none"},
             *({**c, "supercategory": "pets"} for c in CATEGORIES)]  # fmt: skip
    folder = folder_with(tmp_path / "set", document(categories=above))
    assert read(folder, tmp_path / "work").info.classes == ("cat", "dog")
    turned = read(folder, tmp_path / "work", classes=("dog", "bird", "cat"))
    assert turned.y_path is not None
    assert np.load(turned.y_path)[1, :, 0].tolist() == [0, 2] and turned.info.classes == (
        "dog",
        "bird",
        "cat",
    )
    with pytest.raises(InputError) as caught:
        read(folder, tmp_path / "work", classes=("dog", "bird"))
    assert caught.value.reference == "dataset-classes" and "'cat'" in caught.value.message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{", "it cannot be read"),
        ({"images": []}, "it has no list 'annotations'"),
        (document(annotations=[{"image_id": 7, "category_id": 3}]), "annotations[0] has no 'bbox'"),
        (document(annotations=[{"image_id": [7], "category_id": 3, "bbox": [0, 0, 1, 1]}]), "no whole number"),
        (document(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, "1", 1]}]), "no box of four"),
        (document(images=[{"id": 1, "file_name": "a.png", "width": 0, "height": 1}]), "no width and height above 0"),
        (document(images=[{"id": 1, "file_name": "z.png", "width": 1, "height": 1}]), "its image z.png is not there"),
        (document(images=[], annotations=[]), "it names no images"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(said: Any, words: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "set", said, name="_annotations.coco.json")
    with pytest.raises(InputError) as caught:
        read(folder, tmp_path / "work")
    assert caught.value.reference == "dataset-coco" and words in caught.value.message


def test_a_json_that_is_something_else_changes_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "set", {"made": "by me"}, name="annotations.json")
    assert read(folder, tmp_path / "work").y_path is None
