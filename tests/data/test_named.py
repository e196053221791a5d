"""Datasets with an array an input: every form gives the same samples, in the model's order and of its types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeship.data.dataset import load_dataset
from edgeship.data.named import as_said, bind, match
from edgeship.data.samples import Reading
from edgeship.errors import InputError
from edgeship.values import Dataset, Resize, TensorSpec

CAMERA = TensorSpec(name="camera", shape=(1, 6, 6, 3), dtype="float32")
SPEED = TensorSpec(name="speed", shape=(1, 1), dtype="float32")
IDS = TensorSpec(name="serving_default_ids:0", shape=(1, 2), dtype="int32")
SOURCE = np.random.default_rng(4)
PICTURES = SOURCE.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
SPEEDS = np.asarray([[1.5], [2.25], [3.0], [40.0], [0.5]], np.float32)
PLACES = np.asarray([[3, 1], [4, 1], [5, 9], [2, 6], [5, 3]], np.int32)
CLASSES = np.asarray([0, 1, 2, 1, 0])


def _load(
    here: Path, reference: str, specs: tuple[TensorSpec, ...], *, known: bool = True, **more: Any
) -> Dataset:
    inputs = tuple(spec.name for spec in specs) if known else ()
    reading = Reading(role="calibration", base=here, inputs=inputs, **more)
    return bind(load_dataset(reference, here / "work", reading), specs)


def _npz(here: Path) -> str:
    np.savez(here / "d.npz", y=CLASSES, ids=PLACES, speed=SPEEDS, camera=PICTURES)
    return "d.npz"


def _folder(here: Path) -> str:
    (here / "d").mkdir()
    for name, values in (("camera", PICTURES), ("speed", SPEEDS), ("ids", PLACES), ("y", CLASSES)):
        np.save(here / "d" / f"{name}.npy", values)
    return "d"


def _table(here: Path) -> str:
    (here / "t" / "seen").mkdir(parents=True)
    lines = ["speed,label,ids[0],ids[1],camera"]
    for k, (picture, speed, ids, label) in enumerate(zip(PICTURES, SPEEDS, PLACES, CLASSES, strict=True)):
        Image.fromarray(picture).save(here / "t" / "seen" / f"{k}.png")
        lines.append(f"{speed[0]}, {'abc'[label]}, {ids[0]}, {ids[1]}, seen/{k}.png")
    (here / "t" / "list.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n\r\n", encoding="utf-8")
    return "t"


def _table_of_arrays(here: Path) -> str:
    lines = ["camera;speed;ids[1];ids[0];y"]
    for k, (picture, speed, ids, label) in enumerate(zip(PICTURES, SPEEDS, PLACES, CLASSES, strict=True)):
        np.save(here / f"{k}.npy", picture)
        lines.append(f"{k}.npy;{speed[0]};{ids[1]};{ids[0]};{label}")
    (here / "list.csv").write_text("\n".join(lines))
    return "list.csv"


def _callable(body: str) -> Any:
    def write(here: Path) -> str:
        np.savez(here / "held.npz", camera=PICTURES, speed=SPEEDS, ids=PLACES, y=CLASSES)
        lines = [
            "import numpy as np",
            f"d = np.load({str(here / 'held.npz')!r})",
            "def samples():",
            f"    {body}",
        ]
        name = f"named_{abs(hash(body))}"
        (here / f"{name}.py").write_text("\n".join(lines))
        return f"{name}:samples"

    return write


LOOP = "for c, s, i, y in zip(d['camera'], d['speed'], d['ids'], d['y']): yield "
FORMS: dict[str, Any] = {
    "npz": _npz,
    "folder": _folder,
    "table": _table,
    "table of arrays": _table_of_arrays,
    "dicts": _callable(LOOP + "{'ids': i, 'speed': s, 'camera': c}, y"),
    "tuples": _callable(LOOP + "(c, s, i), y"),
    "whole": _callable("return {n: d[n] for n in ('speed', 'camera', 'ids')}, d['y']"),
}


@pytest.mark.parametrize("known", [True, False], ids=["names known", "names unknown"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form: str, known: bool, tmp_path: Path) -> None:
    specs = (CAMERA, SPEED, IDS)
    dataset = _load(tmp_path, FORMS[form](tmp_path), specs, known=known)
    assert [a.name for a in dataset.info.arrays] == ["camera", "speed", "ids"]
    held = [np.load(path) for path in dataset.paths]
    for have, wanted in zip(held, (PICTURES, SPEEDS, PLACES), strict=True):
        assert np.array_equal(have, wanted) and have.dtype == wanted.dtype
    assert dataset.y_path is not None and np.load(dataset.y_path).tolist() == CLASSES.tolist()
    assert (dataset.info.arrays[1].minimum, dataset.info.arrays[1].maximum) == (0.5, 40.0)
    assert dataset.info.classes == (("a", "b", "c") if form == "table" else ())


def test_the_digest_does_not_depend_on_the_form(tmp_path: Path) -> None:
    specs = (CAMERA, SPEED, IDS)
    digests = {
        _load(tmp_path, FORMS[form](tmp_path), specs).info.sha256 for form in ("npz", "folder", "dicts")
    }
    assert len(digests) == 1


def test_one_input_may_be_called_by_its_name_or_x(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=SPEEDS, y=CLASSES, camera=PICTURES)
    np.savez(tmp_path / "n.npz", speed=SPEEDS, y=CLASSES)
    (tmp_path / "d.csv").write_text(
        "how fast,y\n" + "\n".join(f"{s[0]},{y}" for s, y in zip(SPEEDS, CLASSES, strict=True))
    )
    made = [_load(tmp_path, name, (SPEED,)) for name in ("x.npz", "n.npz", "d.csv")]
    assert len({dataset.info.sha256 for dataset in made}) == 1
    assert all(np.array_equal(np.load(dataset.x_path), SPEEDS) for dataset in made)


def test_images_beside_a_table_stay_images_for_a_model_of_one_input(tmp_path: Path) -> None:
    _table(tmp_path)
    Image.fromarray(PICTURES[0]).save(tmp_path / "t" / "loose.png")
    for path in (tmp_path / "t" / "seen").iterdir():
        path.rename(tmp_path / "t" / path.name)
    (tmp_path / "t" / "seen").rmdir()
    assert _load(tmp_path, "t", (CAMERA,)).info.count == 6


def test_images_of_several_sizes_are_resized_for_their_own_input(tmp_path: Path) -> None:
    specs = (CAMERA, SPEED, IDS)
    _table(tmp_path)
    Image.new("RGB", (9, 12)).save(tmp_path / "t" / "seen" / "3.png")
    with pytest.raises(InputError) as caught:
        _load(tmp_path, "t", specs)
    assert "preprocess: {camera: {resize: {height: H, width: W}}}" in caught.value.render()
    made = _load(tmp_path, "t", specs, resizes={"camera": Resize(height=6, width=6)})
    assert made.info.arrays[0].shape == (6, 6, 3)


def test_an_input_called_y_has_labels_beside_it(tmp_path: Path) -> None:
    x, y = (TensorSpec(name=name, shape=(1, 1), dtype="float32") for name in "xy")
    np.savez(tmp_path / "d.npz", x=SPEEDS, y=SPEEDS * 2, labels=CLASSES)
    dataset = _load(tmp_path, "d.npz", (x, y))
    assert np.array_equal(np.load(dataset.paths[1]), SPEEDS * 2)
    assert dataset.y_path is not None and np.load(dataset.y_path).tolist() == CLASSES.tolist()


def test_fractions_for_an_input_that_looks_up(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("camera,ids[0],ids[1]\n1,2,3\n1,2.5,3\n")
    with pytest.raises(InputError) as caught:
        _load(tmp_path, "d.csv", (SPEED, IDS), known=False)
    assert "dataset-keys" in caught.value.render()
    (tmp_path / "d.csv").write_text("speed,ids[0],ids[1]\n1,2,3\n1,2.5,3\n")
    with pytest.raises(InputError) as caught:
        _load(tmp_path, "d.csv", (SPEED, IDS))
    assert "column 'ids' holds fractions, and the model takes int32" in caught.value.render()


def test_names_as_people_say_them() -> None:
    assert as_said("serving_default_front-camera:0") == "front_camera"
    assert match(["speed", "front-camera"], ["serving_default_front-camera:0", "speed"], "d.npz") == [
        "front-camera",
        "speed",
    ]
