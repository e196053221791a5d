"""What variants answered to the same samples, read for a cascade: only where they are classes, labels among them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeship.pipeline.answering import MOST, _few, _gives_classes, _read
from edgeship.score.runs import FLOAT, Ran
from edgeship.values import PreparedSamples


def ran(folder: Path, **outputs: Any) -> Any:
    """Return a Ran over outputs by the name of a file's digest."""
    for name, values in outputs.items():
        np.save(folder / f"{name}.0.npy", np.asarray(values, np.float32))
    return Ran(folder, dict.fromkeys(outputs, 1), {})


def artifacts(*names: str) -> Any:
    return {f"digest of {name}": SimpleNamespace(sha256=name) for name in names}


def scores(count: int = 120, classes: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((count, classes))


def test_classes_margins_and_the_float_models_classes(tmp_path: Path) -> None:
    one, other = scores(), scores(seed=1)
    found = _read(
        ran(tmp_path, a=one, b=other[:, None, :], **{FLOAT: other}), artifacts("a", "b"), None, False
    )
    assert found is not None and found.labels is None and found.about == "120 samples of the calibration data"
    assert (found.classes["digest of a"] == one.argmax(axis=1)).all()
    assert found.reference is not None and (found.reference == found.classes["digest of b"]).all()
    labels = np.arange(120) % 3
    told = _read(ran(tmp_path, a=one, b=other), artifacts("a", "b"), labels, True)
    assert told is not None and told.reference is None and (told.labels == labels).all()
    one_hot = np.eye(3)[labels]
    told = _read(ran(tmp_path, a=one, b=other), artifacts("a", "b"), one_hot, True)
    assert told is not None and (told.labels == labels).all()


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        (scores(classes=4), None),
        (np.full((120, 3), np.nan), None),
        (scores(count=20), None),
        (scores(), np.full(120, 7)),
        (scores(), np.full((120, 2), 0.5)),
        (None, None),
    ],
    ids=[
        "other classes",
        "no numbers",
        "too few",
        "a label beyond",
        "labels are no classes",
        "it did not run",
    ],
)
def test_what_is_no_classes_makes_no_cascade(tmp_path: Path, other: Any, labels: Any) -> None:
    outputs = {"a": scores(), **({} if other is None else {"b": other})}
    assert _read(ran(tmp_path, **outputs), artifacts("a", "b"), labels, True) is None


@pytest.mark.parametrize(
    ("shapes", "joined", "answer"),
    [
        ([(1, 10)], None, True),
        ([(-1, 1, 1, 10)], None, True),
        ([(1, 1)], None, False),
        ([(1, 5, 10)], None, False),
        ([(10,)], None, False),
        ([(1, 10), (1, 4)], None, False),
        ([(1, 10)], Path("joined.tflite"), False),
    ],
)
def test_one_list_of_class_scores(shapes: Any, joined: Any, answer: bool) -> None:
    outputs = [SimpleNamespace(shape=shape) for shape in shapes]
    artifact: Any = SimpleNamespace(signature=SimpleNamespace(outputs=outputs), joined=joined)
    assert _gives_classes(artifact) == answer


def test_large_data_is_thinned_evenly(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3 * MOST))
    prepared = PreparedSamples(paths=(tmp_path / "x.npy",), sha256="ab")
    few, picked = _few(prepared, tmp_path)
    held = np.load(few.paths[0])
    assert len(held) == MOST == len(set(held)) and (held == picked).all() and held[-1] == 3 * MOST - 1
    np.save(tmp_path / "x.npy", np.arange(5))
    assert _few(prepared, tmp_path)[0] is prepared
