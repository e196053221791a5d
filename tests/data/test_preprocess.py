"""Preprocessing: the formula to the bit, and shapes that do not fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.data.batches import sample_shape
from edgeship.data.dataset import load_dataset
from edgeship.data.preprocess import apply, prepare, resize
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.tflite.findings import rescalings_of
from edgeship.tflite.reader import read_tflite
from edgeship.values import Preprocess, Resize, TensorSpec


def _bilinear(image: list[list[float]], height: int, width: int) -> list[list[float]]:
    """The contract in plain Python, as a device computes it."""

    def neighbours(position: int, size: int, wanted: int) -> tuple[int, int, float]:
        source = min(max((position + 0.5) * size / wanted - 0.5, 0.0), float(size - 1))
        first = math.floor(source)
        return first, min(first + 1, size - 1), source - first

    out = []
    for i in range(height):
        y0, y1, wy = neighbours(i, len(image), height)
        row = []
        for j in range(width):
            x0, x1, wx = neighbours(j, len(image[0]), width)
            upper = image[y0][x0] * (1.0 - wx) + image[y0][x1] * wx
            lower = image[y1][x0] * (1.0 - wx) + image[y1][x1] * wx
            row.append(upper * (1.0 - wy) + lower * wy)
        out.append(row)
    return out


@pytest.mark.parametrize(("height", "width"), [(3, 5), (9, 4), (1, 1), (7, 6), (13, 17)])
def test_bilinear_equals_plain_python_to_the_bit(height: int, width: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 6)).astype(np.uint8)
    wanted = _bilinear(image.astype(float).tolist(), height, width)
    made = resize(image[None, :, :, None], Resize(height=height, width=width))
    assert made[0, :, :, 0].tolist() == wanted


def test_resizing_twice_equals_resizing_once() -> None:
    images = np.random.default_rng(2).random((2, 5, 9, 3))
    to = Resize(height=4, width=4)
    once = resize(images, to)
    assert np.array_equal(resize(once, to), once)


def test_nearest() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    made = resize(image, Resize(height=4, width=3, method="nearest"))
    assert made[0, :, :, 0].tolist() == [[0, 1, 1], [0, 1, 1], [2, 3, 3], [2, 3, 3]]


def test_scale_mean_and_std_per_channel_in_doubles() -> None:
    x = np.asarray([[[[0, 128, 255]]]], dtype=np.uint8)
    preprocess = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    wanted = [
        np.float32((v * (1 / 255) - m) / s)
        for v, m, s in zip((0.0, 128.0, 255.0), preprocess.mean, preprocess.std, strict=True)
    ]
    made = apply(preprocess, x)
    assert made.dtype == np.float32
    assert made.reshape(-1).tolist() == wanted


def test_wrong_channel_counts_and_zero_std() -> None:
    x = np.zeros((1, 2, 2, 3), np.uint8)
    with pytest.raises(InputError) as caught:
        apply(Preprocess(mean=(1.0, 2.0)), x)
    assert "preprocess.mean has 2 values, the samples have 3 channels" in caught.value.render()
    with pytest.raises(InputError, match="a std of 0 would divide by zero"):
        apply(Preprocess(std=(0.0,)), x)
    with pytest.raises(InputError, match="resize wants images"):
        apply(Preprocess(resize=Resize(height=2, width=2)), np.zeros((1, 4)))


def _dataset(tmp_path: Path, x: Any) -> Any:
    np.save(tmp_path / "x.npy", x)
    return load_dataset("x.npy", tmp_path / "work", Reading(role="calibration", base=tmp_path))


def _spec(*shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name="image", shape=shape, dtype=dtype)


def test_prepare_writes_model_units_once(tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(0, 256, (7, 4, 4, 1)).astype(np.uint8)
    dataset = _dataset(tmp_path, x)
    preprocess = Preprocess(scale=1 / 255)
    path = prepare(dataset, preprocess, _spec(1, 4, 4, 1), tmp_path / "work")
    assert np.array_equal(np.load(path), apply(preprocess, x))
    stamp = path.stat().st_mtime_ns
    assert prepare(dataset, preprocess, _spec(1, 4, 4, 1), tmp_path / "work") == path
    assert path.stat().st_mtime_ns == stamp


def test_a_missing_channel_axis_is_added(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, np.ones((3, 8, 8), np.float32))
    assert np.load(prepare(dataset, Preprocess(), _spec(1, 8, 8, 1), tmp_path / "work")).shape == (3, 8, 8, 1)


def test_token_ids_stay_integers(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, np.full((2, 5), 2**25 + 1, np.int64))
    made = np.load(prepare(dataset, Preprocess(), _spec(1, 5, dtype="int64"), tmp_path / "work"))
    assert (made.dtype, int(made[0, 0])) == (np.int64, 2**25 + 1)


def test_an_input_without_a_batch_axis_takes_a_whole_sample(tmp_path: Path) -> None:
    """A sound classifier's [15600], a spectrogram's [49, 40]: the first axis is none of samples."""
    waves = np.random.default_rng(4).normal(size=(3, 40)).astype(np.float32)
    made = np.load(prepare(_dataset(tmp_path, waves), Preprocess(), _spec(40), tmp_path / "work"))
    assert np.array_equal(made, waves)
    assert sample_shape((49, 40), (49, 40, 1)) == (49, 40)
    assert sample_shape((4,), ()) == () and sample_shape((4, 40), (40,)) == (40,), "a batch of four"
    assert sample_shape((1, 40), (40,)) == (40,) and sample_shape((), (1,)) == ()


@pytest.mark.parametrize(
    ("sample", "wanted", "hint"),
    [
        ((3, 8, 9), (1, 8, 9, 3), "x = x.transpose(0, 2, 3, 1)"),
        ((8, 9, 3), (1, 3, 8, 9), "channels last"),
        ((6, 6, 3), (1, 8, 8, 3), "preprocess: {resize: {height: 8, width: 8}}"),
        ((8, 8, 1), (1, 8, 8, 3), "the samples have 1 channel(s), the model wants 3"),
        ((8, 8), (1, 8, 8, 3), "numpy.repeat"),
        ((64,), (1, 8, 8, 1), "x = x.reshape(len(x), 8, 8, 1)"),
        ((5, 8, 8, 3), (1, 8, 8, 3), "x = x.reshape(-1, 8, 8, 3)"),
    ],
)
def test_shapes_that_do_not_fit(
    tmp_path: Path, sample: tuple[int, ...], wanted: tuple[int, ...], hint: str
) -> None:
    dataset = _dataset(tmp_path, np.zeros((2, *sample), np.float32))
    with pytest.raises(InputError) as caught:
        prepare(dataset, Preprocess(), _spec(*wanted), tmp_path / "work")
    text = caught.value.render()
    assert text.startswith("error: dataset-wrong-shape\n")
    assert (
        f"a sample has the shape {list(sample)}, the model's input 'image' wants {list(wanted[1:])}" in text
    )
    assert hint in text.rpartition("hint: ")[2]


def test_doubtful_normalisation_is_noted(tmp_path: Path, notes: Any, builder: Any) -> None:
    scaled = _dataset(tmp_path, np.random.default_rng(0).random((3, 4)).astype(np.float32))
    prepare(scaled, Preprocess(scale=1 / 255), _spec(1, 4), tmp_path / "work", progress=notes)
    assert "normalised twice?" in notes.notes[0]
    raw = _dataset(tmp_path, np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    prepare(raw, Preprocess(), _spec(1, 4), tmp_path / "work", progress=notes)
    assert "goes in as it is, 0..220: right only if" in notes.notes[1]
    x = builder.tensor("x", [1, 4])
    c = builder.tensor("c", [], data=np.float32(1 / 255).tobytes())
    y = builder.tensor("y", [1, 4])
    builder.op("MUL", [x, c], [y], builder.schema.MulOptionsT())
    (tmp_path / "m.tflite").write_bytes(builder.build([x], [y]))
    inside = rescalings_of(read_tflite(tmp_path / "m.tflite"))[0]
    prepare(
        raw,
        Preprocess(scale=1 / 255),
        _spec(1, 4),
        tmp_path / "work",
        progress=notes,
        rescaling=inside,
    )
    assert "the model itself begins with a scaling by 0.00392157" in notes.notes[2]
    prepare(
        raw,
        Preprocess(),
        _spec(1, 4),
        tmp_path / "other",
        progress=notes,
        rescaling=inside,
    )
    assert len(notes.notes) == 3
