"""What a bundle brings for the page: its files, what page.json tells, and how pictures become tensors."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeship.assets import runtime_folder
from edgeship.bundle.page import boxes_of, page_files, picture_of
from edgeship.project import load_project
from edgeship.values import (
    ArrayInfo,
    DatasetInfo,
    InputRule,
    Preprocess,
    Quantization,
    Resize,
    TensorSpec,
)

MOST = 30_000
"""Bytes of the page's files, as they are in a bundle."""


def test_the_files_of_the_page_are_small_and_ask_nobody() -> None:
    folder = runtime_folder() / "page"
    files = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(files) == ["index.html", "page.css", "page.js"]
    assert sum(len(text.encode()) for text in files.values()) <= MOST
    for text in files.values():
        assert "//" not in text.replace("// ", "").replace("'//", ""), "no address of elsewhere"
    assert not re.search(r"\s(style|on\w+)=", files["index.html"]), "nothing inline: the policy forbids it"
    for word in ("innerHTML", "eval(", "document.write", "insertAdjacent"):
        assert word not in files["page.js"]


def test_without_the_setting_nothing_of_it_travels(tmp_path: Path) -> None:
    (tmp_path / "edgeship.yaml").write_text("service: {page: false}\n")
    parts: Any = SimpleNamespace(project=load_project(tmp_path / "edgeship.yaml"))
    assert page_files(parts, {}) == {}


def entry(datatype: str, shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
    tensor = {"dtype": "float32", "scale": None, "zero_point": None}
    return {"name": "x", "datatype": datatype, "shape": list(shape), "tensor": tensor, **more}


def info(dtype: str, low: float, high: float) -> DatasetInfo:
    array = ArrayInfo(name=None, shape=(32, 32, 3), dtype=dtype, minimum=low, maximum=high)
    return DatasetInfo(reference="x.npz", sha256="", count=1, arrays=(array,), labelled=False)


IMAGE = (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 255, (1.0, 0)), (0, 1, (1 / 255, 0)), (-1, 1, (2 / 255, -1)), (-3.1, 4.2, None), (0, 100, None)],
)
def test_real_numbers_are_made_as_the_samples_lie_or_not_at_all(low: float, high: float, wanted: Any) -> None:
    made = picture_of(entry("FP32", IMAGE), info("float32", low, high), InputRule())
    assert (made and (made["scale"], made["offset"])) == (wanted and pytest.approx(wanted))


def test_bytes_of_pixels_are_sent_as_they_are_and_declared_resizing_is_told() -> None:
    made = picture_of(entry("UINT8", IMAGE), info("uint8", 0, 255), InputRule())
    assert made is not None
    assert (made["datatype"], made["scale"], made["offset"], made["resize"]) == ("UINT8", 1.0, 0.0, "smooth")
    rule = InputRule(preprocess=Preprocess(resize=Resize(height=32, width=32, method="nearest")))
    told = picture_of(entry("UINT8", IMAGE), info("uint8", 0, 255), rule)
    assert told is not None and told["resize"] == "nearest"


def test_a_declared_normalisation_says_that_pixels_come_raw() -> None:
    rule = InputRule(preprocess=Preprocess(scale=1 / 127.5, mean=(1.0,)))
    made = picture_of(entry("FP32", IMAGE), None, rule)
    assert made is not None and (made["scale"], made["offset"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("scale", "zero", "wanted"),
    [(1 / 255, -128, (1 / 255, 0)), (1 / 127.5, -1, (2 / 255, -1)), (0.3, 4, None)],
)
def test_an_input_of_integers_says_by_its_range_what_it_holds(scale: float, zero: int, wanted: Any) -> None:
    tensor = {"dtype": "int8", "scale": scale, "zero_point": zero}
    spec = TensorSpec(
        name="x", dtype="int8", shape=IMAGE, quantization=Quantization(scales=(scale,), zero_points=(zero,))
    )
    made = picture_of(entry("INT8", IMAGE, stored=True) | {"tensor": tensor}, None, InputRule(stored=spec))
    assert (made and (made["scale"], made["offset"])) == (wanted and pytest.approx(wanted))
    assert made is None or made["datatype"] == "FP32"


@pytest.mark.parametrize(
    "shape", [(1, 49, 10, 1), (2, 32, 32, 3), (1, 32, 32, 2), (32, 32, 3), (1, 4, 4, 3), (1, 49, 40, 1)]
)
def test_what_is_no_picture_is_not_taken_for_one(shape: tuple[int, ...]) -> None:
    for kind, samples in (("UINT8", info("uint8", 0, 255)), ("FP32", info("float32", 0, 1))):
        assert picture_of(entry(kind, shape), samples, InputRule()) is None


@pytest.mark.parametrize(
    ("shapes", "classes", "wanted"),
    [
        ([(1, 10, 4), (1, 10), (1, 10), (1,)], 0, {"boxes": 0, "lists": [1, 2], "count": 3}),
        ([(1, 25), (1, 25, 4), (1, 25)], 90, {"boxes": 1, "lists": [0, 2], "count": None}),
        ([(1, 84, 8400)], 80, {"turned": True, "sure": 0}),
        ([(1, 6300, 85)], 80, {"turned": False, "sure": 1}),
        ([(1, 84, 8400)], 0, None),
        ([(1, 10)], 10, None),
        ([(1, 32, 32, 21)], 21, None),
    ],
)
def test_detectors_are_known_by_their_outputs(shapes: Any, classes: int, wanted: Any) -> None:
    assert boxes_of(shapes, classes) == wanted
