"""A folder of images means one thing: channels, bits and orientation of all of them, told once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.progress import Silent

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


class Notes(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def picture() -> Any:
    """Return a 4 x 6 picture that no turn or mirror leaves as it is."""
    pixels = np.zeros((4, 6, 3), "uint8")
    pixels[:2], pixels[2:, :3], pixels[2:, 3:] = RED, GREEN, BLUE
    pixels[0, 0] = (0, 0, 0)
    return Image.fromarray(pixels)


def read(folder: Path, work: Path, channels: int | None = None) -> tuple[Any, list[str]]:
    """Return the stored samples and the notes."""
    notes = Notes()
    reading = Reading(role="evaluation", base=folder.parent, channels={"": channels} if channels else {})
    dataset = load_dataset(folder.name, work, reading, progress=notes)
    return np.load(dataset.paths[0]), notes.told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "d"
    made.mkdir()
    return made


@pytest.mark.parametrize("way", range(1, 9))
def test_exif_orientation_is_applied(folder: Path, tmp_path: Path, way: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = way
    picture().save(folder / "0.png", exif=exif)
    x, told = read(folder, tmp_path / "work")
    upright = ImageOps.exif_transpose(Image.open(folder / "0.png"))
    assert np.array_equal(x[0], np.asarray(upright))
    assert [("1 of 1 images is turned" in line) for line in told] == ([] if way == 1 else [True])


def test_turned_images_of_one_upright_size_are_one_size(folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(folder / "0.png")
    picture().rotate(90, expand=True).save(folder / "1.png", exif=exif)  # lies on its side, says so
    x, _ = read(folder, tmp_path / "work")
    assert np.array_equal(x[0], x[1])


SAVED = {
    "RGB": ("0.png", lambda image: image),
    "RGBA": ("0.png", lambda image: image.convert("RGBA")),
    "palette": ("0.png", lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE)),
    "CMYK": ("0.tif", lambda image: image.convert("CMYK")),
    "BMP": ("0.bmp", lambda image: image),
    "GIF": ("0.gif", lambda image: image),
    "WebP": ("0.webp", lambda image: image),
    "PPM": ("0.ppm", lambda image: image),
}


@pytest.mark.parametrize("kind", SAVED)
def test_every_kind_of_image_is_read_as_the_model_wants_it(folder: Path, tmp_path: Path, kind: str) -> None:
    name, change = SAVED[kind]
    save: dict[str, Any] = {"lossless": True} if kind == "WebP" else {}
    change(picture()).save(folder / name, **save)
    x, _ = read(folder, tmp_path / "work", channels=3)
    assert x.shape == (1, 4, 6, 3)
    assert np.abs(x[0].astype(int) - np.asarray(picture()).astype(int)).max() <= 1
    gray, told = read(folder, tmp_path / "gray", channels=1)
    assert gray.shape == (1, 4, 6, 1)
    assert "read as gray of 8 bits; among these 1: 1 coloured" in told[0]


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("LA", 3), ("1", 3), ("L", 4), ("RGB", 4)])
def test_images_get_the_channels_of_the_model(folder: Path, tmp_path: Path, mode: str, channels: int) -> None:
    picture().convert(mode).save(folder / "0.png")
    x, told = read(folder, tmp_path / "work", channels=channels)
    assert x.shape == (1, 4, 6, channels)
    assert np.array_equal(x[0, ..., :3], np.asarray(picture().convert(mode).convert("RGB")))
    assert len(told) == 1
    if channels == 4:
        assert (x[..., 3] == 255).all()


def sixteen(values: Any) -> Any:
    return Image.fromarray(values.astype("uint16"))


def test_16_bits_beside_8_bits_share_one_scale_told_once(folder: Path, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 24).reshape(4, 6).astype("uint16")
    for number in range(11):
        sixteen(ramp).save(folder / f"{number:02}.png")
    Image.fromarray((ramp // 257).astype("uint8")).save(folder / "99.png")
    x, told = read(folder, tmp_path / "work")
    assert x.dtype == np.uint8
    assert len(np.unique(x[0])) == 24
    assert np.abs(x[0].astype(int) - x[11]).max() <= 1
    assert told[1:] == []
    assert told[0] == (
        "d: images are read as gray of 8 bits; among these 12: 11 of 16 bits (divided by 257). "
        "Clients of the service send pixels like that"
    )


@pytest.mark.parametrize("name", ["0.png", "0.pgm", "0.tif"])
def test_16_bits_alone_keep_their_values(folder: Path, tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 24).reshape(4, 6).astype("uint16")
    sixteen(ramp).save(folder / name)
    x, told = read(folder, tmp_path / "work")
    assert x.dtype == np.uint16
    assert np.array_equal(x[0, ..., 0], ramp)
    assert told == []
    coloured, _ = read(folder, tmp_path / "colour", channels=3)
    assert np.array_equal(coloured[0], np.repeat(ramp[..., None], 3, axis=2))


def test_values_of_32_bits_are_never_clipped(folder: Path, tmp_path: Path) -> None:
    values = np.linspace(-5, 70000, 24).reshape(4, 6)
    Image.fromarray(values.astype("int32")).save(folder / "0.tif")
    x, _ = read(folder, tmp_path / "work")
    assert np.array_equal(x[0, ..., 0], values.astype("int32"))
    Image.fromarray(np.full((4, 6), 7, "uint8")).save(folder / "1.png")
    with pytest.raises(InputError) as caught:
        read(folder, tmp_path / "work")
    assert caught.value.reference == "dataset-image-depths"
    assert {"8 bits", "32 bits"} <= set(caught.value.context)


@pytest.mark.parametrize("way", [1, 5, 6, 7, 8])
def test_boxes_drawn_on_pixels_as_stored_are_turned_with_them(folder: Path, tmp_path: Path, way: int) -> None:
    pixels = np.zeros((4, 8, 3), "uint8")
    pixels[1:2, 5:7] = 255  # the box: left 5, top 1, 2 wide, 1 high
    exif = Image.Exif()
    exif[0x0112] = way
    Image.fromarray(pixels).save(folder / "0.png", exif=exif)
    document = {
        "images": [{"id": 1, "file_name": "0.png", "width": 8, "height": 4}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 1, 2, 1]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    dataset = load_dataset(folder.name, tmp_path / "work", Reading(role="evaluation", base=tmp_path))
    image = np.load(dataset.paths[0])[0]
    assert dataset.y_path is not None
    left, top, right, bottom = np.load(dataset.y_path)[0, 0, 2:6]
    height, width = image.shape[:2]
    inside = image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    assert inside.size == 6
    assert (inside == 255).all()
