"""Datasets: every form, and every way they can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.values import Resize


def _load(tmp_path: Path, reference: str, **more: Any) -> Any:
    reading = Reading(role="calibration", base=tmp_path, **more)
    return load_dataset(reference, tmp_path / "work", reading)


def _refused(tmp_path: Path, reference: str, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        _load(tmp_path, reference, **more)
    assert not list((tmp_path / "work").glob("*.part"))
    return caught.value.render()


def _x(dataset: Any) -> Any:
    return np.load(dataset.x_path)


def test_npz_with_labels(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "d.npz", x=x, y=np.asarray([[0], [1], [2], [1]], dtype=np.uint8))
    dataset = _load(tmp_path, "d.npz")
    info = dataset.info
    assert (info.count, info.shape, info.dtype, info.minimum, info.maximum, info.labelled) == (
        4, (2, 3), "uint8", 0.0, 23.0, True,
    )  # fmt: skip
    assert np.array_equal(_x(dataset), x)
    assert np.load(dataset.y_path).tolist() == [0, 1, 2, 1]
    assert np.load(dataset.y_path).dtype == np.int64


def test_the_digest_is_of_the_samples_not_of_the_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x)
    np.savez_compressed(tmp_path / "b.npz", x=x)
    np.save(tmp_path / "c.npy", x)
    np.save(tmp_path / "d.npy", np.asfortranarray(x))
    np.save(tmp_path / "e.npy", x[::-1])
    digests = [_load(tmp_path, name).info.sha256 for name in ("a.npz", "b.npz", "c.npy", "d.npy", "e.npy")]
    assert len(set(digests[:4])) == 1
    assert digests[4] != digests[0]


def test_limit_doubles_and_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeship.data import arrays

    monkeypatch.setattr(arrays, "BLOCK_BYTES", 64)
    x = np.arange(60, dtype=np.float64).reshape(20, 3)
    np.save(tmp_path / "d.npy", x)
    dataset = _load(tmp_path, "d.npy", limit=17)
    assert _x(dataset).dtype == np.float32
    assert np.array_equal(_x(dataset), x[:17].astype(np.float32))


def _arrays(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


NAN = np.ones((6, 2, 2), np.float32)
NAN[3, 1, 0] = np.nan
BAD_FILES = [
    ("nan", _arrays(x=NAN), "dataset-not-finite", "holds nan in sample 3 of x"),
    ("inf", _arrays(x=np.asarray([[1.0], [np.inf]])), "dataset-not-finite", "holds inf in sample 1 of x"),
    ("zero", _arrays(x=np.zeros((0, 3), np.float32)), "dataset-empty", "the calibration data holds no samples"),
    ("objects", _arrays(x=np.asarray([[1], [1, 2]], dtype=object)), "dataset-pickled", "may run any code"),
    ("text", _arrays(x=np.zeros((2, 2)), y=np.asarray(["a", "b"])), "dataset-not-numbers", "y holds <U1"),
    ("complex", _arrays(x=np.zeros((2, 2), np.complex64)), "dataset-not-numbers", "x holds complex64"),
    ("keys", _arrays(x_train=np.zeros((2, 2))), "dataset-keys", "numpy.savez('data.npz', x=d['x_train'])"),
    ("labels", _arrays(x=np.zeros((2, 2)), labels=np.zeros(2)), "dataset-keys", "'labels' where labels are called y"),
    ("count", _arrays(x=np.zeros((3, 2)), y=np.zeros(2, int)), "dataset-labels", "x has 3 samples and y has 2 labels"),
    ("scalar", _arrays(x=np.float32(3)), "dataset-shape", "x is a single number"),
    ("torn", lambda path: path.write_bytes(b"PK\x03\x04 torn"), "dataset-corrupt", "no whole .npz file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "reference", "says"), BAD_FILES, ids=[case[0] for case in BAD_FILES]
)
def test_bad_npz(tmp_path: Path, name: str, make: Callable[[Path], Any], reference: str, says: str) -> None:
    make(tmp_path / f"{name}.npz")
    text = _refused(tmp_path, f"{name}.npz")
    assert text.startswith(f"error: {reference}\n")
    assert says in text
    assert f"{name}.npz" in text
    assert "\nhint: " in text


def test_a_count_that_differs_is_told_before_the_limit_hides_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=np.zeros(2, int))
    assert "dataset-labels" in _refused(tmp_path, "d.npz", limit=1)


def test_a_cut_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros((100, 10), np.float32))
    content = (tmp_path / "d.npy").read_bytes()
    (tmp_path / "d.npy").write_bytes(content[:-100])
    assert "100 bytes are missing at the end" in _refused(tmp_path, "d.npy")


def test_what_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("1,2\n")
    assert ".txt is no form of dataset" in _refused(tmp_path, "d.txt")
    text = _refused(tmp_path, "nowhere.npz")
    assert "error: dataset-not-found\n  there is no such calibration data" in text
    assert f"hint: ls {tmp_path}" in text


# --- folders of images
# ----------------------------------------------------------------------------------------------


def _image(path: Path, size: tuple[int, int] = (4, 3), colour: Any = (10, 20, 30), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_a_folder_of_classes(tmp_path: Path) -> None:
    for name, colour in (("cat", (1, 2, 3)), ("ant", (4, 5, 6))):
        for number in range(3):
            _image(tmp_path / "images" / name / f"{number}.png", colour=colour)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("not an image")
    dataset = _load(tmp_path, "images")
    assert dataset.info.classes == ("ant", "cat")
    assert dataset.info.shape == (3, 4, 3)
    assert np.load(dataset.y_path).tolist() == [0, 0, 0, 1, 1, 1]
    assert _x(dataset)[0, 0, 0].tolist() == [4, 5, 6]
    limited = _load(tmp_path, "images", limit=4)
    assert np.load(limited.y_path).tolist() == [0, 1, 0, 1]


def test_folders_are_numbered_as_the_models_classes(tmp_path: Path) -> None:
    """Not by the alphabet: else every label would be another class than the model means, in silence."""
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))):
        _image(tmp_path / "images" / name / "0.png", colour=colour)
    dataset = _load(tmp_path, "images", classes=("red", "green", "blue", "grey"))
    assert dataset.info.classes == ("red", "green", "blue", "grey")
    assert _x(dataset)[:, 0, 0].argmax(axis=1).tolist() == np.load(dataset.y_path).tolist() == [2, 1, 0]
    sorted_ones = _load(tmp_path, "images")
    assert np.load(sorted_ones.y_path).tolist() == [0, 1, 2]
    assert sorted_ones.info.sha256 != dataset.info.sha256


@pytest.mark.parametrize("classes", [("Red", "green", "blue"), ("red", "green", "blue", "red")])
def test_folders_that_are_no_class_of_the_model(tmp_path: Path, classes: tuple[str, ...]) -> None:
    for name in ("red", "green", "blue"):
        _image(tmp_path / "images" / name / "0.png")
    text = _refused(tmp_path, "images", classes=classes)
    assert "error: dataset-classes" in text and "'red' stands" in text
    assert "folders: blue, green, red" in text and f"labels:  {', '.join(classes)}" in text


def test_grey_images_keep_one_channel(tmp_path: Path) -> None:
    _image(tmp_path / "images" / "a.png", colour=7, mode="L")
    dataset = _load(tmp_path, "images")
    assert (dataset.info.shape, dataset.info.labelled, dataset.y_path) == ((3, 4, 1), False, None)


def test_images_of_several_sizes_need_a_resize(tmp_path: Path) -> None:
    _image(tmp_path / "images" / "a.png", (4, 3))
    _image(tmp_path / "images" / "b.png", (8, 6))
    text = _refused(tmp_path, "images")
    assert "error: dataset-shapes-differ" in text
    assert "a.png: 3 x 4" in text
    assert "edgeship inspect MODEL shows it):  preprocess: {resize: {height: H, width: W}}" in text
    text = _refused(tmp_path, "images", wanted=Resize(height=96, width=64))
    assert "preprocess: {resize: {height: 96, width: 64}}" in text
    dataset = _load(tmp_path, "images", resize=Resize(height=2, width=2))
    assert _x(dataset).shape == (2, 2, 2, 3)
    assert _x(dataset).dtype == np.uint8
    assert set(_x(dataset).reshape(-1, 3)[:, 2].tolist()) == {30}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: (p / "x.txt").write_text("x"), "the folder holds no images"),
        (lambda p: (p / "dataset_spec.pb").write_text("x"), "the folder holds a saved tf.data.Dataset"),
        (lambda p: (_image(p / "a.png"), _image(p / "k" / "a.png")), "both images and sub-folders"),
        (
            lambda p: (_image(p / "train" / "a.png"), _image(p / "test" / "a.png")),
            "look like parts of a dataset",
        ),
        (lambda p: (p / "a.png").write_bytes(b"no image"), "an image cannot be read"),
        (lambda p: _image(p / "split" / "k" / "a.png"), "did you mean"),
    ],
    ids=["none", "tf.data", "mixed", "splits", "broken", "deeper"],
)
def test_bad_folders(tmp_path: Path, make: Callable[[Path], Any], says: str) -> None:
    (tmp_path / "images").mkdir()
    make(tmp_path / "images")
    assert says in _refused(tmp_path, "images")


# --- callables
# ------------------------------------------------------------------------------------------------------

MODULE = """
import os, signal
import numpy as np
VALUE = 3
def pairs():
    for i in range(5):
        yield np.full((2, 3), i, np.float32), i % 2
def forever():
    i = 0
    while True:
        yield np.full(2, i, np.float32)
        i += 1
def tflite_habit():
    for i in range(3):
        yield [np.full((1, 2, 2, 1), i, np.float32)]
def whole():
    return np.ones((4, 2), np.float32), np.arange(4)
def broken():
    yield np.ones(3)
    raise RuntimeError("the camera is off")
def deadly():
    yield np.ones(3)
    os.kill(os.getpid(), signal.SIGSEGV)
def ragged():
    yield np.ones(3, np.float32)
    yield np.ones(4, np.float32)
def unlabelled():
    yield np.ones(3), 1
    yield np.ones(3)
def number():
    return 3
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "samples_of_mine.py").write_text(MODULE)
    return tmp_path


def test_callables(module: Path) -> None:
    pairs = _load(module, "samples_of_mine:pairs")
    assert (pairs.info.count, pairs.info.shape, pairs.info.labelled) == (5, (2, 3), True)
    assert np.load(pairs.y_path).tolist() == [0, 1, 0, 1, 0]
    assert _x(_load(module, "samples_of_mine:forever", limit=3)).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert _load(module, "samples_of_mine:tflite_habit").info.shape == (2, 2, 1)
    assert np.load(_load(module, "samples_of_mine:whole").y_path).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "reference", "says"),
    [
        ("samples_of_mine:broken", "dataset-callable-failed", "RuntimeError: the camera is off"),
        ("samples_of_mine:deadly", "dataset-callable-failed", "did not come back: was killed by SIGSEGV"),
        ("samples_of_mine:ragged", "dataset-shapes-differ", "sample 1 of x has another shape than sample 0"),
        ("samples_of_mine:unlabelled", "dataset-labels", "sample 1 lacks a label, unlike sample 0"),
        ("samples_of_mine:number", "dataset-callable", "the callable returned int, which holds no samples"),
        ("samples_of_mine:pairz", "dataset-callable", "hint: did you mean samples_of_mine:pairs?"),
        ("samples_of_min:pairs", "dataset-callable", "hint: did you mean samples_of_mine:pairs?"),
        ("samples_of_mine:VALUE", "dataset-callable", "but a value"),
    ],
)
def test_bad_callables(module: Path, name: str, reference: str, says: str) -> None:
    text = _refused(module, name)
    assert text.startswith(f"error: {reference}\n")
    assert says in text


def test_a_failing_generator_names_its_line(module: Path) -> None:
    text = _refused(module, "samples_of_mine:broken")
    assert "it failed while making sample 1" in text
    assert 'raise RuntimeError("the camera is off")' in text


@pytest.mark.shared
def test_the_shared_sets(shared_data: Path, tmp_path: Path) -> None:
    for name in ("kws/eval.npz", "cifar10/calibration.npz"):
        dataset = load_dataset(name, tmp_path, Reading(role="evaluation", base=shared_data))
        with np.load(shared_data / name) as whole:
            assert np.array_equal(np.load(dataset.x_path), whole["x"])
            assert np.array_equal(np.load(dataset.y_path), whole["y"])
