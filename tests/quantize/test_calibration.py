"""Calibration sets that would make a bad model are refused with a reason; odd ones get a note."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.errors import InputError
from edgeship.quantize.calibration import check
from edgeship.values import Preprocess, Resize, TensorSpec

INPUT = TensorSpec(name="x", shape=(1, 8, 8, 3), dtype="float32")


def test_good_samples_need_no_words(tiny: ModuleType, make_dataset: Any, tmp_path: Path) -> None:
    calibration = make_dataset(tiny.pictures(120), tmp_path)
    evaluation = make_dataset(tiny.pictures(50, seed=9), tmp_path, "e")
    assert check(calibration, (INPUT,), evaluation) == ()


def refused(dataset: Any, evaluation: Any = None, preprocess: Preprocess | None = None) -> str:
    with pytest.raises(InputError) as caught:
        check(dataset, (INPUT,), evaluation, (preprocess,) if preprocess else ())
    assert caught.value.exit_code == 2
    return caught.value.render()


def test_zero_samples(make_dataset: Any, tmp_path: Path) -> None:
    text = refused(make_dataset(np.zeros((0, 8, 8, 3), np.float32), tmp_path))
    assert "error: calibration-empty\n  0 calibration samples say nothing about ranges" in text
    assert "--calibration samples.npz" in text


def test_one_sample(tiny: ModuleType, make_dataset: Any, tmp_path: Path) -> None:
    assert "error: calibration-too-few" in refused(make_dataset(tiny.pictures(1), tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_names_the_sample(
    tiny: ModuleType, make_dataset: Any, tmp_path: Path, value: float
) -> None:
    x = tiny.pictures(10)
    x[4, 2, 2, 1] = value
    text = refused(make_dataset(x, tmp_path))
    assert "error: calibration-not-finite\n  sample 4 holds NaN or infinity" in text


def test_all_zeros(make_dataset: Any, tmp_path: Path) -> None:
    text = refused(make_dataset(np.zeros((10, 8, 8, 3), np.uint8), tmp_path))
    assert "error: calibration-constant\n  all 10 samples hold zeros" in text


def test_the_same_sample_again_and_again(tiny: ModuleType, make_dataset: Any, tmp_path: Path) -> None:
    text = refused(make_dataset(np.repeat(tiny.pictures(1), 10, axis=0), tmp_path))
    assert "all 10 samples are the same one" in text


def test_wrong_shape(make_dataset: Any, tmp_path: Path, tiny: ModuleType) -> None:
    flat = tiny.pictures(10).reshape(10, 192)
    text = refused(make_dataset(flat, tmp_path))
    assert "error: calibration-shape\n  samples are [192], the model's input 'x' takes [8, 8, 3]" in text
    assert "x.reshape(-1, 8, 8, 3)" in text
    text = refused(make_dataset(np.zeros((10, 9, 9, 3)), tmp_path))
    assert "preprocess.resize" in text


def test_resizing_makes_shapes_fit(make_dataset: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, 16, 12, 3)).astype(np.uint8)
    notes = check(
        make_dataset(images, tmp_path), (INPUT,), None, (Preprocess(resize=Resize(height=8, width=8)),)
    )
    assert notes == ("the calibration samples look like random noise: neighbouring values do not correlate",)


@pytest.mark.parametrize(("factor", "guess"), [(1 / 255, "normalised twice"), (255.0, "not normalised")])
def test_another_unit_than_the_evaluation_set(
    tiny: ModuleType, make_dataset: Any, tmp_path: Path, factor: float, guess: str
) -> None:
    calibration = make_dataset(tiny.pictures(120) * np.float32(factor), tmp_path, "c")
    text = refused(calibration, make_dataset(tiny.pictures(50, seed=9), tmp_path, "e"))
    assert "error: calibration-range" in text
    assert guess in text
    assert "evaluation:  e.npz" in text


def test_notes(tiny: ModuleType, make_dataset: Any, tmp_path: Path) -> None:
    x = tiny.pictures(20)
    x[3] = 0.5
    x[5] = x[6]
    notes = check(make_dataset(x, tmp_path), (INPUT,), make_dataset(x[10:], tmp_path, "e"))
    assert notes == (
        "only 20 calibration samples: ranges are a guess below 100",
        "1 of 20 calibration samples hold one value throughout (black images?)",
        "1 of 20 calibration samples are copies of others",
        "10 of 20 calibration samples are evaluation samples too: scores will flatter a little",
    )
