"""Chains of training steps on a small model: what each promises is in the file at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeship.tflite.flat import parse
from edgeship.tflite.refit import unpacked
from edgeship.tflite.weights import Layer, constant, layers_of, weight_limits
from edgeship.toolchain import run_worker

pytestmark = pytest.mark.slow
SETTINGS = ",epochs=2,steps=8,batch=32,augment=none"
CHAINS = [
    (["finetune" + SETTINGS], "float_fp32"),
    (["prune-60" + SETTINGS], "static_wi8_ai8"),
    (["prune-60" + SETTINGS, "cluster-8" + SETTINGS], "static_wi8_ai8"),
    (["prune-60" + SETTINGS, "cluster-8" + SETTINGS, "qat-int8" + SETTINGS], "static_wi8_ai8"),
    (["qat-int4" + SETTINGS], "static_wi4_ai8"),
    (["cluster-8" + SETTINGS], "float_fp32"),
    (["prune-2x4" + SETTINGS], "float_fp32"),
]


class Made:
    """The file of one chain."""

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self.content = path.read_bytes()
        self.file, self.told = parse(path, self.content, ""), told
        self.layers = layers_of(self.file.main)

    def weight(self, layer: Layer) -> np.ndarray[Any, Any]:
        return np.asarray(constant(self.file, layer.weight))

    @property
    def large(self) -> list[Layer]:
        total = sum(self.weight(layer).size for layer in self.layers)
        return [layer for layer in self.layers if self.weight(layer).size >= 0.01 * total]

    def limits(self, layer: Layer) -> np.ndarray[Any, Any]:
        told, axis = weight_limits(unpacked(self.content)[0])[self.file.main.tensors[layer.weight].name]
        shape = [1] * self.weight(layer).ndim
        if told.size > 1:
            shape[axis] = told.size
        return told.reshape(shape)


@pytest.fixture(scope="module")
def made(once: Callable[..., Path], tiny_models: ModuleType) -> list[Made]:
    """What came of every chain, done once."""
    import json

    def fill(folder: Path) -> None:
        path = tiny_models.classifier(folder / "model.tflite")
        np.save(folder / "x.npy", tiny_models.pictures(200))
        graph = parse(path, path.read_bytes(), "").main
        payload = {
            "model": str(path),
            "folder": str(folder),
            "train": {"inputs": [str(folder / "x.npy")], "labels": None},
            "ranges": {t.name: [-4.0, 4.0] for t in graph.tensors if t.dtype == "float32" and not t.has_data},
            "chains": CHAINS,
        }
        told = run_worker("chains:run", payload, python_path=(Path(__file__).parent,)).value
        (folder / "told.json").write_text(json.dumps(told))

    folder = once("compress-chains", fill)
    told = json.loads((folder / "told.json").read_text())
    return [Made(folder / f"{k}.tflite", told[str(k)]) for k in range(len(CHAINS))]


def test_pruned_files_hold_the_zeros_and_tell_them(made: list[Made]) -> None:
    pruned = made[1]
    weights = np.concatenate([pruned.weight(layer).reshape(-1) for layer in pruned.large])
    assert 0.57 < (weights == 0).mean() < 0.63


def test_later_steps_keep_zeros_and_shared_values(made: list[Made]) -> None:
    zeros = {layer.weight: made[1].weight(layer) == 0 for layer in made[1].large}
    for number in (2, 3):
        for layer in made[number].large:
            weight = made[number].weight(layer)
            assert (weight[zeros[layer.weight]] == 0).all()
            integers = weight / made[number].limits(layer) * 127
            np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
            assert np.unique(np.rint(integers)).size <= 8
    assert made[3].told["figures"]["zeros"] > 0.5


def test_trained_ranges_and_grids_are_in_the_file(made: list[Made]) -> None:
    for layer in made[4].layers:
        integers = made[4].weight(layer) / made[4].limits(layer) * 7
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() < 7.01
    tensors = made[4].file.main.tensors
    assert len(tensors[made[4].layers[0].operator.outputs[0]].maximum) == 1
    assert made[1].file.main.tensors[made[1].layers[0].operator.outputs[0]].maximum == ()


def test_without_a_grid_the_values_themselves_are_shared(made: list[Made]) -> None:
    for layer in made[5].large:
        assert np.unique(made[5].weight(layer)).size <= 8


def test_two_of_four_are_zero(made: list[Made]) -> None:
    for layer in made[6].large:
        weight = made[6].weight(layer)
        if weight.shape[-1] % 4 == 0:
            assert ((weight.reshape(-1, 4) == 0).sum(axis=1) >= 2).all()


def test_the_teacher_itself_is_not_made_worse(made: list[Made]) -> None:
    figures = made[0].told["figures"]
    assert figures["held_out_loss"] <= figures["held_out_loss_before"] < 1e-6
