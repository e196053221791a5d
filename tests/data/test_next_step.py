"""What people bring first is nearly right: the next step that is told works as typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeship.data.dataset import load_dataset
from edgeship.data.samples import Reading
from edgeship.data.unbatched import one_by_one
from edgeship.errors import InputError

X, Y = np.arange(24, dtype="float32").reshape(6, 4), np.arange(6)


@pytest.mark.parametrize(
    ("arrays", "labelled"),
    [
        ({"x_train": X + 1, "y_train": Y, "x_test": X, "y_test": Y}, True),
        ({"X_train": X + 1, "X_test": X, "y_train": Y, "y_test": Y}, True),
        ({"x0": X, "x1": X + 1}, False),
        ({"images": X, "labels": Y}, True),
        ({"data": X, "targets": Y}, True),
        ({"X": X, "y": Y}, True),
    ],
)
def test_the_line_that_renames_arrays_works_as_typed(
    tmp_path: Path, arrays: dict[str, Any], labelled: bool
) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    reading = Reading(role="evaluation", base=tmp_path, inputs=("input_1",))
    with pytest.raises(InputError) as caught:
        load_dataset("mine.npz", tmp_path / "work", reading)
    assert caught.value.reference == "dataset-keys"
    line = str(caught.value.hint)
    subprocess.run([sys.executable, "-c", line], cwd=tmp_path, check=True, timeout=60)
    made = load_dataset("data.npz", tmp_path / "work", reading)
    assert np.array_equal(np.load(made.paths[0]), X)
    assert (made.y_path is not None) == labelled


class Shape:
    def __init__(self, rank: int) -> None:
        self.rank = rank


class Spec:
    def __init__(self, rank: int) -> None:
        self.shape = Shape(rank)


class Dataset:
    """What is looked at of a tf.data.Dataset."""

    def __init__(self, inner: Any = None) -> None:
        self.element_spec = (Spec(4), Spec(1))
        if inner is not None:
            self._input_dataset = inner

    def unbatch(self) -> str:
        return "samples"


class _BatchDataset(Dataset):
    pass


class _UnbatchDataset(Dataset):
    pass


def test_batches_are_taken_apart_and_that_is_told() -> None:
    told: list[str] = []

    def report(text: str, **_: Any) -> None:
        told.append(text)

    for made in (_BatchDataset(Dataset()), Dataset(_BatchDataset(Dataset()))):
        assert one_by_one(made, report) == "samples"
    assert len(told) == 2
    assert "one at a time" in told[0]
    for whole in (Dataset(), _UnbatchDataset(_BatchDataset(Dataset())), [X], iter([X])):
        assert one_by_one(whole, report) is whole
    assert len(told) == 2


@pytest.mark.slow
def test_batches_of_tf_data(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np, tensorflow as tf\n"
        "def batched():\n"
        "    x, y = np.arange(24, dtype='float32').reshape(6, 4), np.arange(6)\n"
        "    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4).prefetch(2)\n"
    )
    made = load_dataset("mine:batched", tmp_path / "work", Reading(role="evaluation", base=tmp_path))
    assert np.array_equal(np.load(made.paths[0]), X)
    assert made.y_path is not None
    assert np.array_equal(np.load(made.y_path), Y)
